import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dqcodec import workers
from tests import sleeper

SCRIPT = """
import sys
from dqcodec import workers
from tests import sleeper
list(workers.each(getattr(sleeper, sys.argv[2]), [(0, sys.argv[1]), (1, sys.argv[1])], 2))
"""


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not yet waited for does not."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def until(condition) -> bool:
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
@pytest.mark.parametrize(("how", "work"), [(signal.SIGTERM, "sleep"), (signal.SIGKILL, "sleep"),
                                           (signal.SIGKILL, "write_slowly")])
def test_workers_go_with_a_parent_that_is_killed_and_leave_whole_files(tmp_path, how, work):
    parent = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path), work], stderr=subprocess.DEVNULL,
                              cwd=Path(__file__).parents[1])
    started = lambda: [int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()]  # noqa: E731
    assert until(lambda: len(started()) == 2)
    found = started()
    assert all(map(alive, found))
    parent.send_signal(how)
    parent.wait(60)
    try:
        assert until(lambda: not any(map(alive, found)))
    finally:
        for pid in filter(alive, found):
            os.kill(pid, signal.SIGKILL)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir() if not path.name.isdigit()}
    whole = {f"{pid}.whole": b"first half, second half" for pid in found}
    assert written == (whole if work == "write_slowly" else {})


@pytest.mark.parametrize("asked", [None, "ACTIVE"])
def test_workers_have_their_threads_and_the_parent_its_environment(asked, monkeypatch):
    for name in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    if asked:
        monkeypatch.setenv("OMP_WAIT_POLICY", asked)
    before = dict(os.environ)
    names = [(name, name) for name in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "MKL_NUM_THREADS")]
    found = dict(workers.each(sleeper.environment, names, jobs=1, threads=3))
    assert found == {"OMP_WAIT_POLICY": asked or "PASSIVE", "OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3"}
    assert dict(os.environ) == before
