"""Tokens of one step as rows of arrays: where each one lies, what it may attend to, what it sees.

Every tile has a memory: slot 0 for the beginning (or the class label), then its tokens in the order in
which they become known. A token's *query* attends to the slots below its group's first, its *memory*
row also to the slots of its own group; both are one number, the count of slots in sight.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from dqcodec.bitstream.tokens import Ladder
from dqcodec.prior.config import PriorConfig
from dqcodec.prior.order import group_count, group_of


@dataclass(frozen=True)
class StepRows:
    """Cells of one step in coding order: by group, then tile, then raster order.

    cell (n,) flat index into the step's grid; y, x (n,) its row and column; tile (n,) index of its tile;
    slot (n,) its place in the tile's memory; position (n,) its row in the step's position embedding;
    group (n,); query_sight, memory_sight (n,) slots in sight.
    """

    cell: np.ndarray
    y: np.ndarray
    x: np.ndarray
    tile: np.ndarray
    slot: np.ndarray
    position: np.ndarray
    group: np.ndarray
    query_sight: np.ndarray
    memory_sight: np.ndarray

    def __len__(self) -> int:
        return len(self.cell)

    def take(self, order: np.ndarray) -> StepRows:
        """The same cells in another order, (n,) row indices."""
        return StepRows(**{f.name: getattr(self, f.name)[order] for f in fields(self)})


def tile_grid(config: PriorConfig, rows: int, cols: int) -> tuple[int, int]:
    """Tiles (down, across) that cover rows x cols regions."""
    return -(-rows // config.tile), -(-cols // config.tile)


def step_rows(config: PriorConfig, step: int, levels: np.ndarray, base: np.ndarray) -> StepRows:
    """The cells present at `step`.

    levels (rows, cols) as known at that step; base (tiles,) slots that the tiles' memories have before it.
    """
    ladder = config.ladder
    side = ladder.side(step)
    rows, cols = levels.shape
    across = tile_grid(config, rows, cols)[1]
    present = np.repeat(np.repeat(levels >= step, side, 0), side, 1)
    y, x = np.nonzero(present)
    span = config.tile * side
    tile = (y // span) * across + x // span
    group = group_of(config, step, y, x)
    order = np.lexsort((x, y, tile, group))
    y, x, tile, group = y[order], x[order], tile[order], group[order]
    count = group_count(config, step)
    # Tokens of a tile that come in earlier groups, and the rank within the own group.
    size = np.bincount(tile * count + group, minlength=len(base) * count).reshape(len(base), count)
    before = np.cumsum(size, 1) - size
    run = np.flatnonzero(np.diff(np.stack([tile, group]), axis=1, prepend=-1).any(0))
    rank = np.arange(len(tile)) - np.repeat(run, np.diff(np.append(run, len(tile))))
    sight = base[tile] + before[tile, group]
    return StepRows(
        cell=y * (cols * side) + x, y=y, x=x, tile=tile, slot=sight + rank,
        position=(y % span) * span + x % span, group=group, query_sight=sight,
        memory_sight=sight + size[tile, group],
    )


def candidates(levels: np.ndarray, step: int) -> np.ndarray:
    """Flat indices of the regions that may refine to `step`, in raster order; levels as known or complete."""
    return np.flatnonzero(levels.reshape(-1) >= step - 1)


def region_rows(ladder: Ladder, step: int, levels: np.ndarray, row_of_cell: np.ndarray,
                regions: np.ndarray) -> np.ndarray:
    """For each of the regions (n,), the rows (n, side**2) of its tokens of `step`.

    row_of_cell: the step's grid, flat, with the row of each present cell.
    """
    side = ladder.side(step)
    cols = levels.shape[1]
    r, c = regions // cols, regions % cols
    dy, dx = np.divmod(np.arange(side * side), side)
    cells = (r[:, None] * side + dy) * (cols * side) + c[:, None] * side + dx
    return row_of_cell[cells]
