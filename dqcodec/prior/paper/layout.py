"""Grids of the grains, and which position may come next.

A region is wholly of one grain. Within a grain its cells are named in raster order of that grain's grid
(the paper's row-first order), so a region of several cells is begun by its first cell and owes the rest:

    two regions of a middle grain, 2x2 cells each      a b | c d       order: a b c d e f g h
                                                       e f | g h

After `a`, `b` is certain. After `b` comes `c` (the second region joins) or `e` (it does not), and the
grain cannot end before `f`. The last grain owes every cell that is left. Nothing else may come, so each
sequence of legal symbols is one grain map, and each grain map one sequence: coverage is complete.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """rows, cols: regions of a picture. sides: cells along a region's side for each grain, e.g. (1, 2, 4)."""

    rows: int
    cols: int
    sides: tuple[int, ...]

    @property
    def grains(self) -> int:
        return len(self.sides)

    @property
    def regions(self) -> int:
        return self.rows * self.cols

    @property
    def replications(self) -> tuple[int, ...]:
        """Finest cells along one side of a cell of each grain, e.g. (4, 2, 1)."""
        return tuple(self.sides[-1] // side for side in self.sides)

    @property
    def longest(self) -> int:
        """Most tokens that the network is fed: starts and codes, less the last code, which nothing follows."""
        return self.cells(self.grains - 1) + self.grains - 1

    def cells(self, grain: int) -> int:
        """Cells P of the grain's grid. Position P stands for the end of the grain."""
        return self.regions * self.sides[grain] ** 2

    def region_of(self, grain: int, device: torch.device | str = "cpu") -> Tensor:
        """Region (P,) of each cell, int64."""
        y, x = self._cell(grain, device)
        return y // self.sides[grain] * self.cols + x // self.sides[grain]

    def first_cell(self, grain: int, device: torch.device | str = "cpu") -> Tensor:
        """First cell (N,) of each region, int64."""
        region, side = torch.arange(self.regions, device=device), self.sides[grain]
        return region // self.cols * side * (self.cols * side) + region % self.cols * side

    def legal(self, grain: int, last: Tensor, left: Tensor, begun: Tensor) -> Tensor:
        """Which positions may follow.

        last: (n,) the cell before, -1 at the start of the grain. left: (n, N) bool, regions that no
        coarser grain covers. begun: (n, N) bool, regions of which this grain has already named a cell.
        Returns (n, P + 1) bool with at least one true in every row; index P is the end of the grain.
        """
        count, side = self.cells(grain), self.sides[grain]
        y, x = self._cell(grain, last.device)
        region = self.region_of(grain, last.device)
        cell = torch.arange(count + 1, device=last.device)  # (P + 1,)
        owes = left if grain == self.grains - 1 else begun  # (n, N)
        ahead = cell[:-1] > last[:, None]  # (n, P)
        owed = owes[:, region] & ahead
        # The end of the grain is due where no cell is, and takes the place of one.
        due = torch.where(owed, cell[:-1], count).amin(1, keepdim=True)  # (n, 1)
        first = (y % side == 0) & (x % side == 0)  # (P,)
        free = left[:, region] & first & ahead & (cell[:-1] < due)
        return F.pad(free, (0, 1)) | (cell == due)

    def _cell(self, grain: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """Row and column (P,) of each cell."""
        cell, width = torch.arange(self.cells(grain), device=device), self.cols * self.sides[grain]
        return cell // width, cell % width
