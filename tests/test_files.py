import os
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
