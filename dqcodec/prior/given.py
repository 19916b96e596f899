"""Which tokens of an image are given when the others are sampled."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dqcodec.bitstream.tokens import ABSENT, Ladder, Tokens
from dqcodec.prior import context, sequence
from dqcodec.prior.config import PriorConfig
from dqcodec.prior.state import CHUNK


@dataclass(frozen=True, eq=False)
class Given:
    """Tokens, and which of their symbols are kept.

    bits: per step (rows, cols) bool, whether the region's map bit of that step is kept (none at step 0).
    codes: per step (rows * side, cols * side) bool, whether the cell's code is. last_step: sampling goes no
    further. ahead: sampled cells see kept codes around them also where those come later in the order.
    """

    tokens: Tokens
    bits: tuple[np.ndarray, ...]
    codes: tuple[np.ndarray, ...]
    last_step: int
    ahead: bool = False

    @classmethod
    def nothing(cls, ladder: Ladder, width: int, height: int) -> Given:
        """An image of width x height pixels of which nothing is known."""
        rows, cols = ladder.grid(width, height)
        sides = [ladder.side(s) for s in range(len(ladder))]
        grids = tuple(np.full((rows * n, cols * n), ABSENT, np.int32) for n in sides)
        return cls._none_kept(ladder, Tokens(width, height, np.zeros((rows, cols), np.uint8), grids))

    @classmethod
    def first(cls, config: PriorConfig, tokens: Tokens, fraction: float) -> Given:
        """The first `fraction` (0..1) of the tokens, map bits and codes counted alike in the order of a file."""
        given = cls._none_kept(config.ladder, tokens)
        symbols = list(coding_order(config, tokens))
        left = math.floor(fraction * sum(len(at) for _, _, at in symbols))
        for step, is_map, at in symbols:
            kept = (given.bits if is_map else given.codes)[step]
            kept.reshape(-1)[at[:left]] = True
            left -= min(left, len(at))
        return given

    @classmethod
    def steps(cls, ladder: Ladder, tokens: Tokens, last_kept: int, last_step: int | None = None) -> Given:
        """Steps 0..last_kept; those after it are sampled, up to `last_step` (default: the ladder's last)."""
        given = cls._none_kept(ladder, tokens, last_step)
        for step in range(last_kept + 1):
            given.bits[step][:] = True
            given.codes[step][:] = tokens.codes[step] >= 0
        return given

    @classmethod
    def outside(cls, ladder: Ladder, tokens: Tokens, box: tuple[int, int, int, int]) -> Given:
        """All but the regions that the box (x, y, width, height) in pixels touches."""
        x, y, width, height = box
        kept = np.ones(tokens.levels.shape, bool)
        kept[y // ladder.region : -(-(y + height) // ladder.region),
             x // ladder.region : -(-(x + width) // ladder.region)] = False
        cells = [np.kron(kept, np.ones((ladder.side(s),) * 2, bool)) for s in range(len(ladder))]
        codes = tuple(c & (t >= 0) for c, t in zip(cells, tokens.codes, strict=True))
        return cls(tokens, tuple(kept.copy() for _ in cells), codes, len(ladder) - 1, ahead=True)

    @classmethod
    def _none_kept(cls, ladder: Ladder, tokens: Tokens, last_step: int | None = None) -> Given:
        bits = tuple(np.zeros(tokens.levels.shape, bool) for _ in tokens.codes)
        codes = tuple(np.zeros(c.shape, bool) for c in tokens.codes)
        return cls(tokens, bits, codes, len(ladder) - 1 if last_step is None else last_step)


def coding_order(config: PriorConfig, tokens: Tokens) -> Iterator[tuple[int, bool, np.ndarray]]:
    """(step, whether they are map bits, flat indices) of all symbols in the order of a file."""
    rows, cols = tokens.levels.shape
    down, across = sequence.tile_grid(config, rows, cols)
    base = np.zeros(down * across, np.int64)
    phase = context.map_phase(rows, cols).reshape(-1)
    for step in range(int(tokens.levels.max()) + 1):
        if step:
            regions = sequence.candidates(tokens.levels, step)
            for turn in range(4):
                yield step, True, regions[phase[regions] == turn]
        cells = sequence.step_rows(config, step, np.minimum(tokens.levels, step), base)
        yield step, False, cells.cell[np.argsort(cells.tile // CHUNK, kind="stable")]
