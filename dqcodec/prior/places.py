"""Where the rows of one call to a memory lie, and in which parts their attention is computed.

A part is a run of neighbouring tiles, so that their keys and values need not be copied, and in it a band of each
tile's rows. The rows are padded to the same number in each tile.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from dqcodec.prior.integer_network import IntegerNetwork

SCORES = 1 << 20  # attention scores of a part
PADDED = 1 << 16  # scores that cost as much as one part more
BANDS, BAND = 4, 32  # most bands of a run; slots by which the sights of a tile must differ for one more


class Part:
    """Some rows of some tiles.

    tiles: which of the memory; width: places for rows in each; slots: most that a row sees; hidden: what a place does
    not see (tiles, 1, width, slots), None if all see all.
    """

    def __init__(self, rows: np.ndarray, tiles: slice, place: np.ndarray, width: int, sight: np.ndarray, device):
        """rows (n,): rows of the call; place (n,): index of each among the tiles * width places."""
        self.tiles, self.width, self.slots = tiles, width, int(sight.max())
        count = (tiles.stop - tiles.start) * width
        self._count = count
        run = rows[-1] - rows[0] + 1 == len(rows)
        self._rows = slice(int(rows[0]), int(rows[-1]) + 1) if run else torch.from_numpy(rows).to(device)
        self._place = None if len(place) == count else torch.from_numpy(place).to(device)
        self.hidden = None
        if sight.min() < self.slots:
            seen = np.ones(count, np.int64)
            seen[place] = sight
            hidden = np.arange(self.slots) >= seen.reshape(-1, 1, width, 1)
            self.hidden = torch.from_numpy(hidden).to(device)

    def pad(self, x: Tensor) -> Tensor:
        """The part's rows of x (rows of the call, d) at their places (tiles * width, d), zeros elsewhere."""
        own = x[self._rows]
        return own if self._place is None else x.new_zeros(self._count, x.shape[1]).index_copy_(0, self._place, own)

    def crop(self, x: Tensor) -> Tensor:
        """Back from places (tiles * width, d) to rows (n, d)."""
        return x if self._place is None else x.index_select(0, self._place)


class Places:
    """Rows of one call, sorted by tile: tile, sight (n,), how many slots each sees, in a memory of `tiles`.

    whole: whether there is one part, which has all rows in order.
    """

    def __init__(self, tile: np.ndarray, sight: np.ndarray, tiles: int, network: IntegerNetwork):
        self._device, self._tiles, self._heads = network.device, tiles, network.config.heads
        self._order = None
        if (np.diff(tile) < 0).any():
            self._order = np.argsort(tile, kind="stable")
            tile, sight = tile[self._order], sight[self._order]
        self._tile, self._sight = tile, sight
        rows: list[np.ndarray] = []
        self.parts: list[Part] = []
        for part_rows, part in self._split():
            rows.append(part_rows)
            self.parts.append(part)
        self.whole = len(rows) == 1
        if not self.whole:
            self.rows_in_parts = self._tensor(np.argsort(np.concatenate(rows)))

    def _tensor(self, x: np.ndarray) -> Tensor:
        return torch.from_numpy(x).to(self._device)

    def sorted(self, x: Tensor) -> Tensor:
        """Rows (n, d), as the call gave them, sorted by tile."""
        return x if self._order is None else x.index_select(0, self._tensor(self._order))

    def as_given(self, x: Tensor) -> Tensor:
        """Rows (n, d), sorted by tile, as the call gave them."""
        return x if self._order is None else x.index_select(0, self._tensor(np.argsort(self._order)))

    def memory_rows(self, slot: np.ndarray, slots: int) -> Tensor:
        """For each sorted row and head, where its vector goes in a cache (tiles * heads * slots, c); slot (n,)."""
        slot = slot if self._order is None else slot[self._order]
        head = (self._tile[:, None] * self._heads + np.arange(self._heads)) * slots
        return self._tensor((head + slot[:, None]).reshape(-1))

    def _split(self) -> Iterator[tuple[np.ndarray, Part]]:
        if not len(self._tile):
            return
        count = np.bincount(self._tile, minlength=self._tiles)
        first = np.cumsum(count) - count
        seen = np.zeros(self._tiles, np.int64)
        np.maximum.at(seen, self._tile, self._sight)
        start = stop = most = slots = 0  # of the run: its tiles, most rows and slots of one
        for t in np.flatnonzero(count).tolist():
            wide, deep = max(most, int(count[t])), max(slots, int(seen[t]))
            together = (t + 1 - start) * wide * deep * self._heads
            apart = ((stop - start) * most * slots + int(count[t] * seen[t])) * self._heads
            if stop and together <= SCORES and together - apart <= PADDED:
                stop, most, slots = t + 1, wide, deep
                continue
            if stop:
                yield from self._bands(start, stop, first[start], count[start:stop])
            start, stop, most, slots = t, t + 1, int(count[t]), int(seen[t])
        yield from self._bands(start, stop, first[start], count[start:stop])

    def _bands(self, a: int, b: int, first: int, count: np.ndarray) -> Iterator[tuple[np.ndarray, Part]]:
        """An encoder's rows see ever more slots: in bands of rows, the first need not look at the last slots."""
        rows = np.arange(first, first + count.sum())
        tile = np.repeat(np.arange(b - a), count)
        rank = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
        sight, width = self._sight[rows], int(count.max())
        begin = (np.cumsum(count) - count)[count > 0]
        spread = int((np.maximum.reduceat(sight, begin) - np.minimum.reduceat(sight, begin)).max())
        band = -(-width // min(BANDS, 1 + spread // BAND))
        for low in range(0, width, band):
            wide = min(band, width - low)
            inside = (rank >= low) & (rank < low + wide)
            place = tile[inside] * wide + rank[inside] - low
            yield rows[inside], Part(rows[inside], slice(int(a), int(b)), place, wide, sight[inside], self._device)
