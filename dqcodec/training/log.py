"""CSV log of a run, one row each `log_every` steps, and pictures of reconstructions."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image


class CsvLog:
    """Appends rows of named figures; a resumed run drops rows past its checkpoint first."""

    def __init__(self, path: Path, resume_step: int | None):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._columns: list[str] | None = None
        rows: list[dict] = []
        if resume_step is not None and path.exists():
            with path.open(newline="") as f:
                rows = [r for r in csv.DictReader(f) if int(r["step"]) < resume_step]
        path.unlink(missing_ok=True)
        for row in rows:
            self.write(row)

    def write(self, row: dict) -> None:
        new = self._columns is None
        if new:
            self._columns = list(row)
        with self.path.open("a", newline="") as f:
            writer = csv.DictWriter(f, self._columns, restval="", extrasaction="ignore")
            if new:
                writer.writeheader()
            writer.writerow(row)


def contact_sheet(path: Path, columns: list[torch.Tensor]) -> None:
    """Save batches (B, 3, H, W) in [-1, 1] side by side, one picture of the batch to a row."""
    rows = torch.cat([c.float().cpu() for c in columns], 3)  # (B, 3, H, W * columns)
    pixels = ((rows.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    temporary = path.with_suffix(".part")
    Image.fromarray(np.concatenate(list(pixels))).save(temporary, format="PNG")
    temporary.replace(path)
