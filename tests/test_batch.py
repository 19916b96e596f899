"""Several files at a time."""

import os
import signal
import subprocess
import time

import numpy as np
import pytest
from PIL import Image

from dqcodec import batch
from dqcodec.errors import WorkerError
from dqcodec.files import Job
from tests.conftest import synthetic
from tests.test_cli import COMMAND, dq


def die(job, say, progress):
    os._exit(9)


def test_a_worker_that_dies_is_one_clear_error():
    with pytest.raises(WorkerError, match="fewer --jobs"):
        list(batch.run([Job("a", "b"), Job("c", "d")], die, 2))


def test_a_folder_by_two_processes(tmp_path):
    """Good files are done, bad ones named, and files are the same as one after another with as many threads."""
    source = tmp_path / "in"
    source.mkdir()
    for i in range(4):
        Image.fromarray(synthetic(64, 96, i)).save(source / f"{i}.png")
    (source / "broken.png").write_bytes(b"no picture")
    done = dq("compress", source, "-o", tmp_path / "two", "--jobs", 2)
    text = done.stderr.decode()
    assert done.returncode == 1 and "broken.png: not an image" in text and "1 of 5 files failed" in text, text
    (source / "broken.png").unlink()
    assert dq("compress", source, "-o", tmp_path / "one").returncode == 0
    assert {p.name: p.read_bytes() for p in (tmp_path / "two").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "one").iterdir()}
    done = dq("decompress", tmp_path / "two", "-o", tmp_path / "back", "--jobs", 8)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert sorted(p.name for p in (tmp_path / "back").iterdir()) == [f"{i}.png" for i in range(4)]
    assert Image.open(tmp_path / "back" / "0.png").size == (96, 64)


def test_skipped_files_stay_and_the_rest_is_done(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    for i in range(2):
        Image.fromarray(synthetic(48, 64, i)).save(source / f"{i}.png")
    (out / "0.dq").write_bytes(b"was there")
    done = dq("compress", source, "-o", out, "--skip-existing")
    assert (done.returncode, done.stderr.decode()) == (0, "dqcodec: 1 of 2 files are there already\n")
    assert (out / "0.dq").read_bytes() == b"was there" and dq("info", out / "1.dq").returncode == 0
    done = dq("compress", source, "-o", out, "--skip-existing", "--jobs", 2)
    assert (done.returncode, done.stderr.decode()) == (0, "dqcodec: 2 of 2 files are there already\n")
    done = dq("decompress", out / "1.dq", "-o", tmp_path / "1.png", "--skip-existing", "--force")
    assert done.returncode == 2 and b"only one of --force and --skip-existing" in done.stderr


def test_an_interrupt_ends_the_workers_and_leaves_no_half_file(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(6):
        Image.fromarray(np.tile(synthetic(256, 256, i), (4, 4, 1))).save(tmp_path / "in" / f"{i}.png")
    process = subprocess.Popen([*COMMAND, "compress", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--jobs", "2"],
                               stderr=subprocess.PIPE, start_new_session=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    deadline = time.monotonic() + 120
    while not (tmp_path / "out").is_dir() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, text = process.communicate(timeout=60)  # ends when the workers, who share stderr, have gone too
    assert process.returncode == 130 and text.decode().strip() == "dqcodec: interrupted"
    names = [p.name for p in (tmp_path / "out").iterdir()]
    assert len(names) < 6 and all(name.endswith(".dq") and not name.startswith(".") for name in names)
