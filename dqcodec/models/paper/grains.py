"""Cells of mixed grain laid out on the finest grid, and which of them are one and the same code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def replicate(x: Tensor, factor: int) -> Tensor:
    """Repeat every cell `factor` times along both of the last two axes: (..., H, W) -> (..., fH, fW)."""
    return x.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)


def merge(maps: Sequence[Tensor], levels: Tensor, replications: Sequence[int]) -> Tensor:
    """Take each region from the map of its grain.

    maps: (B, D, H/grain, W/grain), coarse to fine. levels: (B, Hr, Wr) int64.
    Returns (B, D, Hf, Wf) on the finest grid, coarser cells replicated.
    """
    grid = replicate(levels, replications[0]).unsqueeze(1)  # (B, 1, Hf, Wf)
    merged = replicate(maps[0], replications[0])
    for grain in range(1, len(maps)):
        merged = torch.where(grid == grain, replicate(maps[grain], replications[grain]), merged)
    return merged


def code_slots(levels: Tensor, replications: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Number the codes of a batch, a replicated cell once.

    levels: (B, Hr, Wr) int64. Returns `first`, bool (B, Hf, Wf), true at the top-left finest cell of
    every code, and `slot`, int64 (B, Hf, Wf), the number of the code that covers the cell: with
    `vectors = x[first]`, `vectors[slot]` is `x` with each code's copies equal to its first cell.
    """
    side = levels.new_tensor(list(replications))[replicate(levels, replications[0])]  # (B, Hf, Wf)
    batch, height, width = side.shape
    rows = torch.arange(height, device=levels.device)[:, None]  # (Hf, 1)
    columns = torch.arange(width, device=levels.device)  # (Wf,)
    top, start = rows - rows % side, columns - columns % side  # (B, Hf, Wf) each
    first = (top == rows) & (start == columns)
    number = first.flatten().cumsum(0) - 1  # (B * Hf * Wf,)
    images = torch.arange(batch, device=levels.device)[:, None, None]
    return first, number[(images * height + top) * width + start]
