"""Checkpoints: written to a temporary file, then renamed, so that a kill never leaves half of one."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from dqcodec.errors import DataError

NAME = "checkpoint.pt"


def save(folder: Path, state: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / (NAME + ".part")
    torch.save(state, temporary)
    os.replace(temporary, folder / NAME)


def load(folder: Path, device: torch.device | str = "cpu") -> dict:
    """State of the last checkpoint in `folder`; raises DataError if there is none or it is broken."""
    path = Path(folder) / NAME
    if not path.exists():
        raise DataError(f"{path}: nothing to resume; start without --resume")
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise DataError(f"{path}: broken checkpoint ({str(error).splitlines()[0]})") from error
