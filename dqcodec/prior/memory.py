"""What the prior remembers of an image while it is coded: keys and values of known tokens, tile by tile."""

from __future__ import annotations

from copy import copy

import numpy as np
import torch
from torch import Tensor

from dqcodec.prior.integer_network import IntegerLayer, IntegerNetwork
from dqcodec.prior.integers import attend, normalise, to_int8

_SCORES = 1 << 21  # attention scores of tiles taken together


class Memory:
    """Keys and values of some tiles for every layer of both stacks, (tiles, heads, slots, c) int8 each.

    Slot 0 of each tile is the beginning, with the class `label`.
    """

    def __init__(self, network: IntegerNetwork, tiles: int, label: int = 0):
        self.network, self.tiles = network, tiles
        self._layers = [*network.position_stack, *network.content_stack]
        self._keys = [self._empty(0) for _ in self._layers]
        self._values = [self._empty(0) for _ in self._layers]
        self.reserve(1)
        start = network.label[label].expand(tiles, -1)
        one = np.ones(tiles, np.int64)
        self.remember(start, np.arange(tiles), 0 * one, one)

    def _empty(self, slots: int) -> Tensor:
        config = self.network.config
        shape = (self.tiles, config.heads, slots, config.dim // config.heads)
        return torch.zeros(shape, dtype=torch.int8, device=self.network.device)

    def fork(self) -> Memory:
        """A memory that begins with the same slots."""
        other = copy(self)
        other._keys, other._values = ([x.clone() for x in cache] for cache in (self._keys, self._values))
        return other

    def reserve(self, slots: int) -> None:
        """Make room for `slots` slots in each tile."""
        for cache in (self._keys, self._values):
            for i, old in enumerate(cache):
                if old.shape[2] < slots:
                    cache[i] = self._empty(slots)
                    cache[i][:, :, : old.shape[2]] = old

    def remember(self, h: Tensor, tile: np.ndarray, slot: np.ndarray, sight: np.ndarray) -> Tensor:
        """Run the Position-Transformer on tokens' streams h (n, d) and keep their keys and values.

        tile, slot, sight (n,): where they lie and how many slots they see. Returns normalised outputs
        (n, d) int8, from which maps are predicted.
        """
        at = _Places(tile, slot, sight, h.device)
        depth = len(self.network.position_stack)
        for i, layer in enumerate(self.network.position_stack):
            self._store(i, layer, normalise(h), at)
            h = self._layer(i, layer, h, at)
        out = normalise(h)
        for i, layer in enumerate(self.network.content_stack):
            self._store(depth + i, layer, out, at)
        return out

    def ask(self, h: Tensor, tile: np.ndarray, sight: np.ndarray) -> Tensor:
        """Run the Content-Transformer on queries' streams h (n, d); returns normalised outputs (n, d) int8."""
        at = _Places(tile, None, sight, h.device)
        depth = len(self.network.position_stack)
        for i, layer in enumerate(self.network.content_stack):
            h = self._layer(depth + i, layer, h, at)
        return normalise(h)

    def _store(self, i: int, layer: IntegerLayer, source: Tensor, at: _Places) -> None:
        kv = to_int8(layer.key_value(source)).view(len(source), 2, self._keys[i].shape[1], -1)
        self._keys[i][at.tile, :, at.slot] = kv[:, 0]
        self._values[i][at.tile, :, at.slot] = kv[:, 1]

    def _layer(self, i: int, layer: IntegerLayer, h: Tensor, at: _Places) -> Tensor:
        heads = self._keys[i].shape[1]
        q = to_int8(layer.query(normalise(h))).float().view(len(h), heads, -1)  # (n, h, c)
        mixed = torch.empty_like(q)
        for part in at.parts(heads):
            tiles = part.tiles
            padded = q.new_zeros(len(tiles), part.width, heads, q.shape[2])
            padded[part.tile, part.rank] = q[part.row]
            sight = torch.ones(len(tiles), part.width, dtype=torch.int64, device=h.device)
            sight[part.tile, part.rank] = part.sight
            k, v = (cache[i][:, :, : part.slots] for cache in (self._keys, self._values))
            if len(tiles) < self.tiles or not part.in_order:
                k, v = k[tiles], v[tiles]
            got = attend(padded.transpose(1, 2), k.float(), v.float(), sight)  # (tiles, h, width, c)
            mixed[part.row] = got.transpose(1, 2)[part.tile, part.rank]
        return layer.finish(h, to_int8(mixed.flatten(1)))


class _Part:
    """Tiles whose attention is computed at once: rows of the call, their tile (within the part), their rank in it."""

    def __init__(self, row, tiles, tile, rank, sight, device):
        self.width, self.slots = int(rank.max()) + 1, int(sight.max())
        self.in_order = bool((np.diff(tiles) > 0).all())
        self.row, self.tiles, self.tile, self.rank, self.sight = (
            torch.from_numpy(a).to(device) for a in (row, tiles, tile, rank, sight))


class _Places:
    """Where the rows of one call lie: tile, slot (None for queries) and sight, (n,)."""

    def __init__(self, tile: np.ndarray, slot: np.ndarray | None, sight: np.ndarray, device: torch.device):
        self._tile, self._sight, self._device = tile, sight, device
        self.tile = torch.from_numpy(tile).to(device)
        self.slot = None if slot is None else torch.from_numpy(slot).to(device)
        self._parts: list[_Part] | None = None

    def parts(self, heads: int) -> list[_Part]:
        """Tiles of like numbers of rows together, so that little is padded, and no more than fits the cache."""
        if self._parts is None:
            self._parts = list(self._split(heads))
        return self._parts

    def _split(self, heads: int):
        order = np.argsort(self._tile, kind="stable")
        tiles, first, count = np.unique(self._tile[order], return_index=True, return_counts=True)
        by_size = np.argsort(-count, kind="stable")
        start = 0
        while start < len(tiles):
            most = count[by_size[start]]
            fit = max(1, _SCORES // (heads * most * int(self._sight.max())))
            # A tile with less than half the rows of the first is better off in another part.
            similar = int((count[by_size[start:]] * 2 >= most).sum())
            chosen = np.sort(by_size[start : start + min(fit, similar)])
            rows = np.concatenate([order[first[t] : first[t] + count[t]] for t in chosen])
            local = np.repeat(np.arange(len(chosen)), count[chosen])
            rank = np.concatenate([np.arange(count[t]) for t in chosen])
            yield _Part(rows, tiles[chosen], local, rank, self._sight[rows], self._device)
            start += len(chosen)
