"""Work for a pool that is to be killed."""

import os
import time
from pathlib import Path


def sleep(folder: str) -> None:
    """Leave the number of this process in `folder`, and stay."""
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)
