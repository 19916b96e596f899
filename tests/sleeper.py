"""Work for the workers of tests."""

import os
import time
from pathlib import Path

from dqcodec import files


def environment(name: str) -> str | None:
    """What stands in the environment of this process."""
    return os.environ.get(name)


def sleep(folder: str) -> None:
    """Leave the number of this process in `folder`, and stay."""
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)


def write_slowly(folder: str) -> None:
    """Leave the number of this process in `folder` amid writing a file there."""

    def write(path: Path) -> None:
        path.write_bytes(b"first half, ")
        (Path(folder) / str(os.getpid())).touch()
        time.sleep(3)
        with path.open("ab") as f:
            f.write(b"second half")

    files.write_whole(str(Path(folder) / f"{os.getpid()}.whole"), write)
    time.sleep(600)
