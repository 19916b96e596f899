"""One image on its way through the prior: which group comes next, and what the tiles remember.

Tiles are worked on in chunks, so that memory stays bounded: within a step, a chunk's groups come one
after the other, then the next chunk's. An encoder, which knows all tokens, takes a chunk's step in one
pass; a decoder goes group by group. The integers are the same.
"""

from __future__ import annotations

import weakref
from copy import copy

import numpy as np
import torch
from torch import Tensor

from dqcodec.bitstream.code_model import Known
from dqcodec.prior import context, sequence
from dqcodec.prior.adaptation import CodeAdaptation
from dqcodec.prior.integer_network import IntegerNetwork
from dqcodec.prior.integers import mean_int8
from dqcodec.prior.memory import Memory
from dqcodec.prior.order import group_count

CHUNK = 32  # tiles
_ROWS = 8192  # queries taken at once


class ImageState:
    """Progress of one image.

    known: grows as the image is coded; the caller keeps it alive. label: class label given to every tile, 0 for none.
    """

    def __init__(self, network: IntegerNetwork, known: Known, label: int = 0):
        self.network, self.config = network, network.config
        # `known` may hold this state: in a cycle its memories would stay until the garbage is collected.
        self._known = weakref.ref(known)
        rows, cols = known.levels.shape
        down, across = sequence.tile_grid(self.config, rows, cols)
        self.tiles = down * across
        self._bounds = [(a, min(a + CHUNK, self.tiles)) for a in range(0, self.tiles, CHUNK)]
        self._memories = [Memory(network, b - a, label) for a, b in self._bounds]
        self._base = np.ones(self.tiles, np.int64)
        self._step, self._chunk = -1, -1
        self._outputs: Tensor | None = None  # memory outputs (n, d) int8 of the step's tokens
        self._row_of_cell: np.ndarray | None = None
        self.adaptation: CodeAdaptation | None = None  # of the step at hand; the coder's, not the network's

    def fork(self, known: Known) -> ImageState:
        """This state, of an encoder at the end of a step, for other tokens, `known.complete`, that agree so far."""
        other = copy(self)
        other._known = weakref.ref(known)
        other._memories = [memory.fork() for memory in self._memories]
        return other

    @property
    def known(self) -> Known:
        """What is known of the image."""
        return self._known()

    # -- maps

    def map_turns(self, step: int) -> list[np.ndarray]:
        """The candidates of `step` in four turns; none of a turn may be empty."""
        self._end_step()
        levels = self.known.levels
        regions = sequence.candidates(levels, step)
        phase = context.map_phase(*levels.shape).reshape(-1)[regions]
        self._map_mean = self._region_means(step, regions)
        self._map_index = np.full(levels.size, -1)
        self._map_index[regions] = np.arange(len(regions))
        return [turn for turn in (regions[phase == p] for p in range(4)) if len(turn)]

    def map_logits(self, step: int, regions: np.ndarray) -> Tensor:
        """Logits (n,) in 1/32 nat that `regions` (n,), all of one turn, refine."""
        levels = self.known.levels
        r, c = regions // levels.shape[1], regions % levels.shape[1]
        hot = context.map_hot(step, r, c, levels, context.map_phase(*levels.shape))
        mean = self._map_mean[torch.from_numpy(self._map_index[regions]).to(self.network.device)]
        return self.network.map_logits(step, mean, hot)

    def _region_means(self, step: int, regions: np.ndarray) -> Tensor:
        rows = sequence.region_rows(self.config.ladder, step - 1, self.known.levels, self._row_of_cell, regions)
        at = torch.from_numpy(rows).to(self.network.device)
        return mean_int8(self._outputs[at.flatten()].view(*at.shape, self.config.dim))

    # -- codes

    def begin_step(self, step: int) -> list[np.ndarray]:
        """Groups of `step`, as flat indices into its grid, chunk by chunk; empty ones are left out."""
        self._end_step()
        levels = self.known.levels
        ladder = self.config.ladder
        chunk_of = np.repeat(np.arange(len(self._bounds)), [b - a for a, b in self._bounds])
        everything = sequence.step_rows(self.config, step, levels, self._base)
        # Stable: by chunk, and within a chunk by group, tile and raster order as before.
        order = np.argsort(chunk_of[everything.tile], kind="stable")
        self._rows = everything.take(order)
        turn = chunk_of[self._rows.tile] * group_count(self.config, step) + self._rows.group
        cuts = np.flatnonzero(np.diff(turn, prepend=-1))
        self._starts = np.append(cuts, len(turn))
        self._chunks = chunk_of[self._rows.tile[cuts]]
        self._step, self._chunk, self._remembered = step, -1, 0
        self._coarser = [self._grid(s, self.known.codes) for s in range(step)]
        side = ladder.side(step)
        self._row_of_cell = np.full(levels.size * side * side, -1)
        self._row_of_cell[self._rows.cell] = np.arange(len(self._rows))
        self._turns = np.full((levels.shape[0] * side, levels.shape[1] * side), np.iinfo(np.int64).max)
        self._turns.reshape(-1)[self._rows.cell] = turn
        self._turns = np.pad(self._turns, context.MARGIN, constant_values=np.iinfo(np.int64).max)
        last = step + 1 == len(ladder)
        d, device = self.config.dim, self.network.device
        self._outputs = None if last else torch.empty(len(self._rows), d, dtype=torch.int8, device=device)
        return self.groups()

    def groups(self) -> list[np.ndarray]:
        """The groups of the step that has begun."""
        return [self._rows.cell[a:b] for a, b in zip(self._starts, self._starts[1:], strict=False)]

    def logits(self, group: int) -> Tensor:
        """Logits (n, K) in 1/32 nat of the codes of `group`, an index into what `begin_step` gave."""
        part = slice(int(self._starts[group]), int(self._starts[group + 1]))
        if self.known.complete is not None:
            if self._chunk != self._chunks[group]:
                self._answer_chunk(int(self._chunks[group]))
            hidden = self._answers[part.start - self._from : part.stop - self._from]
        else:
            self.turn_to(group)
            hidden = self._ask(part)
        return self.network.head[self._step](hidden)

    def turn_to(self, group: int) -> None:
        """Decoder: what comes before asking for `group`; enough by itself where its codes are known already."""
        part = slice(int(self._starts[group]), int(self._starts[group + 1]))
        self._remember_up_to(part.start)
        self._enter(int(self._chunks[group]))
        grids = [*self._coarser, self._grid(self._step, self.known.codes)]
        self._queries, self._from = self._embed(part, grids, None), part.start

    def _grid(self, step: int, codes: tuple[np.ndarray, ...]) -> np.ndarray:
        levels = np.minimum(self.known.levels, self._step)
        return context.content_grid(self.config.ladder, step, levels, codes[step])

    def _enter(self, chunk: int) -> None:
        """Make room in the chunk's memory; what the last step leaves in another chunk's is not needed again."""
        if chunk == self._chunk:
            return
        if self._chunk >= 0 and self._step + 1 == len(self.config.ladder):
            self._memories[self._chunk] = None
        self._chunk = chunk
        for other in self._memories:
            if other is self._memories[chunk]:
                other.unpack()
            elif other is not None:
                other.pack()
        in_chunk = self._rows.tile // CHUNK == chunk
        self._memories[chunk].reserve(int(self._rows.memory_sight[in_chunk].max(initial=1)))

    def _embed(self, part: slice, grids: list[np.ndarray], turns: np.ndarray | None) -> Tensor:
        rows, ladder = self._rows, self.config.ladder
        y, x = rows.y[part], rows.x[part]
        near = context.neighbourhood(ladder, self._step, y, x, grids, turns)
        hot = context.level_hot(ladder, self._step, y, x, self.known.levels)
        return self.network.embed_queries(self._step, near, hot, rows.position[part])

    def _ask(self, part: slice) -> Tensor:
        tile = self._rows.tile[part] - self._bounds[self._chunk][0]
        return self._memories[self._chunk].ask(self._queries, tile, self._rows.query_sight[part])

    def _remember(self, part: slice, codes: np.ndarray) -> None:
        rows = self._rows
        h = self.network.embed_tokens(self._step, self._queries, codes.reshape(-1)[rows.cell[part]])
        tile = rows.tile[part] - self._bounds[self._chunk][0]
        out = self._memories[self._chunk].remember(h, tile, rows.slot[part], rows.memory_sight[part])
        if self._outputs is not None:
            self._outputs[part] = out

    def _remember_up_to(self, row: int) -> None:
        """Decoder: take in the groups whose codes have become known."""
        part = slice(self._remembered, row)
        if part.start < part.stop:
            self._remember(part, self.known.codes[self._step])
            self._remembered = row

    def _answer_chunk(self, chunk: int) -> None:
        """Encoder: all queries of a chunk in one pass over its memory."""
        self._enter(chunk)
        turns = np.flatnonzero(self._chunks == chunk)
        part = slice(int(self._starts[turns[0]]), int(self._starts[turns[-1] + 1]))
        codes = self.known.complete.codes
        grids = [*self._coarser, self._grid(self._step, codes)]
        pieces = [slice(a, min(a + _ROWS, part.stop)) for a in range(part.start, part.stop, _ROWS)]
        self._queries = torch.cat([self._embed(piece, grids, self._turns) for piece in pieces])
        self._remember(part, codes[self._step])
        self._remembered = part.stop
        self._answers = self._ask(part)
        self._from = part.start

    def _end_step(self) -> None:
        """Take in the last group of the step before, if a later step will ask for it."""
        if self._step >= 0 and self._outputs is not None and self._remembered < len(self._rows):
            self._remember_up_to(len(self._rows))
        if self._step >= 0:
            # Slots per tile so far; a step's end is counted once.
            self._base = self._base + np.bincount(self._rows.tile, minlength=self.tiles)
            self._step = -1
