"""What a cell sees directly, across the borders of tiles: known codes nearby, and the levels around it.

A cell's neighbourhood is a row of indices into the content embedding:

    0 outside the image, 1 no code there (its region is coarser), 2 not known yet, 3 + code (+ the sizes of
    the codebooks before it) otherwise.

Regions of level -1 lie outside as well: sampling sets them between the images that it lays out together.
"""

from __future__ import annotations

import numpy as np

from dqcodec.bitstream.tokens import Ladder

OUTSIDE, NO_CODE, PENDING, FIRST = 0, 1, 2, 3
NEAR = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if (dy, dx) != (0, 0)]  # same step
ABOVE = [(dy, dx) for dy in range(-1, 2) for dx in range(-1, 2)]  # each coarser step
MARGIN = 2


def slots(step: int) -> int:
    """Entries of a neighbourhood at `step`."""
    return len(NEAR) + len(ABOVE) * step


def embedding_rows(ladder: Ladder) -> int:
    """Rows of the content embedding."""
    return FIRST + sum(ladder.codebook_sizes)


def first_row(ladder: Ladder, step: int) -> int:
    """Row of code 0 of `step`."""
    return FIRST + sum(ladder.codebook_sizes[:step])


def content_grid(ladder: Ladder, step: int, levels: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Content rows of the step's grid with a margin of 2: (rows * side + 4, cols * side + 4) int64.

    levels: (rows, cols) as known at that step; codes: the step's grid, negative where unknown or absent.
    """
    side = ladder.side(step)
    present = np.repeat(np.repeat(levels >= step, side, 0), side, 1)
    grid = np.where(codes >= 0, codes + first_row(ladder, step), np.where(present, PENDING, NO_CODE))
    if levels.dtype != np.uint8 and (levels < 0).any():
        grid = np.where(np.repeat(np.repeat(levels < 0, side, 0), side, 1), OUTSIDE, grid)
    return np.pad(grid.astype(np.int64), MARGIN, constant_values=OUTSIDE)


def neighbourhood(ladder: Ladder, step: int, y: np.ndarray, x: np.ndarray, grids: list[np.ndarray],
                  rank: np.ndarray | None = None) -> np.ndarray:
    """Content rows (n, slots(step)) around the cells y, x (n,) of `step`.

    grids: content grids of the steps 0..step. rank: None if the codes of `step` in the grid are those
    known so far; or, to see all cells at once, the padded grid of each cell's turn in the order: cells
    whose turn has not come are pending.
    """
    columns = []
    own = grids[step]
    for dy, dx in NEAR:
        at = (y + dy + MARGIN, x + dx + MARGIN)
        rows = own[at]
        if rank is not None:
            late = (rank[at] >= rank[y + MARGIN, x + MARGIN]) & (rows >= FIRST)
            rows = np.where(late, PENDING, rows)
        columns.append(rows)
    for above in range(step):
        ratio = ladder.factors[above] // ladder.factors[step]
        for dy, dx in ABOVE:
            columns.append(grids[above][y // ratio + dy + MARGIN, x // ratio + dx + MARGIN])
    return np.stack(columns, 1)


def level_hot(ladder: Ladder, step: int, y: np.ndarray, x: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Which of 9 * (steps + 1) inputs are on, (n, 9): the levels of the 3x3 regions around each cell.

    levels: (rows, cols) as known at that step. Outside the image counts as a level of its own.
    """
    side, choices = ladder.side(step), len(ladder) + 1
    inside = np.where(levels < 0, len(ladder), np.minimum(levels, step).astype(np.int64))
    padded = np.pad(inside, 1, constant_values=len(ladder))
    r, c = y // side, x // side
    return np.stack([padded[r + 1 + dy, c + 1 + dx] + choices * i for i, (dy, dx) in enumerate(ABOVE)], 1)


def map_hot(step: int, r: np.ndarray, c: np.ndarray, levels: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Which of 8 * 3 inputs are on, (n, 8): whether the regions around r, c (n,) refine to `step`.

    levels: (rows, cols); those of regions whose phase (rows, cols) is not below that of the asking
    region count as unknown. 0: unknown or outside, 1: stays below, 2: refines.
    """
    state = np.pad(np.where(levels >= step, 2, 1), 1)
    # Regions below level step - 1 are no candidates: known to stay, whatever their phase.
    turn = np.where(levels < step - 1, -1, phase)
    turn = np.pad(np.where(levels < 0, 99, turn), 1, constant_values=99)
    columns = []
    around = [o for o in ABOVE if o != (0, 0)]
    for i, (dy, dx) in enumerate(around):
        at = (r + 1 + dy, c + 1 + dx)
        known = turn[at] < turn[r + 1, c + 1]
        columns.append(np.where(known, state[at], 0) + 3 * i)
    return np.stack(columns, 1)


def map_phase(rows: int, cols: int) -> np.ndarray:
    """Turn 0..3 of each region's map bit, (rows, cols): two diagonals of each 2x2 square, then the others."""
    return np.array([[0, 2], [3, 1]])[np.arange(rows)[:, None] % 2, np.arange(cols) % 2]
