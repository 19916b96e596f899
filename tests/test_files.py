import os
import stat
from pathlib import Path

import pytest

from dqcodec import files
from dqcodec.errors import DqError


def targets(*args):
    return [job.target for job in files.plan_jobs(*args)]


def test_outputs_by_the_kind_of_output(tmp_path):
    out = str(tmp_path)
    assert targets(["a/b.png"], None, [".png"], ".dq") == ["a/b.dq"]
    assert targets(["a/b.png"], "c.dq", [".png"], ".dq") == ["c.dq"]
    assert targets(["a/b.png"], out, [".png"], ".dq") == [f"{out}/b.dq"]
    assert targets(["a/b.png"], "new/", [".png"], ".dq") == ["new/b.dq"]
    assert targets(["a/b.png", "c.png"], "new", [".png"], ".dq") == ["new/b.dq", "new/c.dq"]
    assert targets(["-"], None, [".png"], ".dq") == ["-"]


def test_names_with_dots_keep_them(tmp_path):
    (tmp_path / "v1.2.png").touch()
    assert targets([str(tmp_path)], "o", [".png"], ".dq") == ["o/v1.2.dq"]


def test_clashes_empty_folders_and_many_to_one_stream_are_refused(tmp_path):
    for args, message in (((["x/a.png", "y/a.png"], "out"), "would both write"),
                          (([str(tmp_path)], None), "no files here"),
                          ((["a.png", "b.png"], "-"), "several inputs"),
                          ((["a.png", "b.png"], "c.dq"), "c.dq: several inputs"),
                          ((["a.png", "b.png"], "c.JPG"), "c.JPG: several inputs"),
                          ((["a.dq"], None), "overwrite itself")):
        with pytest.raises(DqError, match=message):
            files.plan_jobs(*args, [".png"], ".dq")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "x.dq"
    target.write_bytes(b"old")

    def interrupted(path: Path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_whole(str(target), interrupted)
    assert target.read_bytes() == b"old" and os.listdir(tmp_path) == ["x.dq"]


def test_a_written_file_has_the_usual_permissions(tmp_path):
    files.put_bytes(str(tmp_path / "sub" / "x.dq"), b"new")
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "sub" / "x.dq").stat().st_mode & 0o777 == 0o666 & ~umask


def test_several_files_go_to_a_folder_of_any_name_that_is_there(tmp_path):
    (tmp_path / "c.dq").mkdir()
    assert targets(["a.png", "b.png"], str(tmp_path / "c.dq"), [".png"], ".dq") == [
        str(tmp_path / "c.dq" / "a.dq"), str(tmp_path / "c.dq" / "b.dq")]
    assert targets(["a.png", "b.png"], "c.dq/", [".png"], ".dq") == ["c.dq/a.dq", "c.dq/b.dq"]


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    real, link = tmp_path / "there" / "x.dq", tmp_path / "link.dq"
    real.write_bytes(b"old")
    link.symlink_to(real)
    with pytest.raises(DqError, match="--force"):
        files.check_target(str(link), force=False)
    files.put_bytes(str(link), b"new")
    assert link.is_symlink() and real.read_bytes() == b"new"


def test_a_pipe_is_written_into_and_stays(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    files.check_target(str(pipe), force=False)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    files.put_bytes(str(pipe), b"new")
    assert os.read(reader, 10) == b"new"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode) and os.listdir(tmp_path) == ["pipe"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_device_is_written_into_and_its_failure_reported(tmp_path, monkeypatch):
    # A name that a write by renaming could replace without harm to the system.
    device = tmp_path / "device"
    device.symlink_to("/dev/full")
    monkeypatch.setattr(files, "write_whole", lambda *_: pytest.fail("would replace the device"))
    with pytest.raises(DqError, match="device: cannot be written: No space left"):
        files.put_bytes(str(device), b"x" * 100_000)
