"""Sampling of tokens: the loop of the bitstream's step_coder, with random words in place of a file."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from dqcodec.bitstream.code_model import Known
from dqcodec.bitstream.tokens import ABSENT, Ladder, Tokens
from dqcodec.prior import context, sampling
from dqcodec.prior.config import PriorConfig
from dqcodec.prior.given import Given
from dqcodec.prior.integer_network import IntegerNetwork
from dqcodec.prior.sampling import Sampling
from dqcodec.prior.sequence import tile_grid
from dqcodec.prior.state import CHUNK, ImageState


def draw(network: IntegerNetwork, given: Given, count: int, seed: int, settings: Sampling | None = None,
         label: int = 0) -> Iterator[Tokens]:
    """Sample `count` images, each with the tokens that `given` keeps.

    seed: 0..2**64-1; image i depends on the seed and i alone, not on `count`. label: class label, 0 for none.
    """
    settings = settings or Sampling()
    network = network.in_order(settings.order)
    most = images_at_once(network.config, *given.tokens.levels.shape)
    for first in range(0, count, most):
        yield from Drawing(network, given, range(first, min(first + most, count)), seed, settings, label).run()


def images_at_once(config: PriorConfig, rows: int, cols: int) -> int:
    """Images of rows x cols regions that are sampled together.

    Never more than fit one chunk of tiles: the order of an image's tokens is then that of the image alone.
    """
    down, across = tile_grid(config, _apart(config, rows), cols)
    return max(1, CHUNK // (down * across))


def _apart(config: PriorConfig, rows: int) -> int:
    """Rows from one image to the next below it: whole tiles, and a margin in which nothing sees the other."""
    return -(-(rows + context.MARGIN) // config.tile) * config.tile


class _Sheet:
    """Images of one size one below another on one grid, with regions outside of all (level -1) between them."""

    def __init__(self, config: PriorConfig, given: Given, images: range):
        self.ladder: Ladder = config.ladder
        self.images = images
        self.rows, self.cols = given.tokens.levels.shape
        self.pitch = _apart(config, self.rows) if len(images) > 1 else self.rows
        height = self.pitch * (len(images) - 1) + self.rows
        levels = np.full((height, self.cols), -1, np.int8)
        sides = [self.ladder.side(s) for s in range(len(self.ladder))]
        codes = tuple(np.full((height * n, self.cols * n), ABSENT, np.int32) for n in sides)
        self.known = Known(given.tokens.width, given.tokens.height, levels, codes)
        for i in range(len(images)):
            self.part(levels, i)[:] = 0

    def part(self, grid: np.ndarray, i: int) -> np.ndarray:
        """Image i's part of a grid of regions or of a step's cells."""
        side = grid.shape[1] // self.cols
        return grid[i * self.pitch * side : (i * self.pitch + self.rows) * side]

    def locate(self, side: int, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(image, flat index in the image's own grid) of flat cells (n,) of a grid of `side` cells to a region."""
        return np.divmod(cells, self.pitch * side * self.cols * side)

    def tokens(self, i: int) -> Tokens:
        codes = tuple(self.part(c, i).copy() for c in self.known.codes)
        return Tokens(self.known.width, self.known.height, self.part(self.known.levels, i).astype(np.uint8), codes)


class Drawing:
    """One run over a sheet of images."""

    def __init__(self, network: IntegerNetwork, given: Given, images: range, seed: int, settings: Sampling,
                 label: int):
        self.network, self.given, self.settings, self.seed = network, given, settings, seed
        self.sheet = _Sheet(network.config, given, images)
        self.known = self.sheet.known
        guided = label and settings.guidance_16 != sampling.GUIDANCE
        # Without the class first. Both read the same tokens.
        self.states = [ImageState(network, self.known, shown) for shown in ((0, label) if guided else (label,))]
        self.table = network.exp_table.cpu().numpy().astype(np.int64)

    @torch.inference_mode()
    def run(self) -> list[Tokens]:
        for step in range(self.given.last_step + 1):
            if step:
                self._map(step)
            if (self.known.levels < step).all():
                break
            self._codes(step)
        return [self.sheet.tokens(i) for i in range(len(self.sheet.images))]

    def _words(self, stream: int, count: int) -> np.ndarray:
        return np.stack([sampling.words(self.seed, i, stream, count) for i in self.sheet.images])

    def _logits(self, ask) -> np.ndarray:
        z = [ask(state).cpu().numpy().astype(np.int64) for state in self.states]
        return z[0] if len(z) == 1 else sampling.guide(*z, self.settings.guidance_16)

    def _map(self, step: int) -> None:
        levels, given = self.known.levels.reshape(-1), self.given
        kept = given.bits[step].reshape(-1)
        bits = (given.tokens.levels >= step).reshape(-1).astype(np.uint8)
        random = self._words(2 * step, kept.size)
        for regions in [state.map_turns(step) for state in self.states][0]:
            image, at = self.sheet.locate(1, regions)
            drawn = bits[at]
            free = ~kept[at]
            if free.any():
                z = self._logits(lambda state, regions=regions: state.map_logits(step, regions))
                drawn[free] = sampling.choose_bits(z[free], self.settings, self.network.map_table,
                                                   random[image[free], at[free]])
            levels[regions] += drawn.astype(np.int8)

    def _codes(self, step: int) -> None:
        grid, given = self.known.codes[step], self.given
        kept, source = given.codes[step].reshape(-1), given.tokens.codes[step].reshape(-1)
        if given.ahead:
            for i in range(len(self.sheet.images)):
                self.sheet.part(grid, i)[given.codes[step]] = given.tokens.codes[step][given.codes[step]]
        grid = grid.reshape(-1)
        random = self._words(2 * step + 1, kept.size)
        for group, cells in enumerate([state.begin_step(step) for state in self.states][0]):
            image, at = self.sheet.locate(self.sheet.ladder.side(step), cells)
            drawn = source[at]
            free = ~kept[at]
            if free.any():
                z = self._logits(lambda state, group=group: state.logits(group))
                weights = sampling.code_weights(z[free], self.settings, self.table)
                drawn[free] = sampling.choose(weights, random[image[free], at[free]])
            else:
                for state in self.states:
                    state.turn_to(group)
            grid[cells] = drawn
