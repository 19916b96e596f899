"""What the prior remembers of an image while it is coded: keys and values of known tokens, tile by tile."""

from __future__ import annotations

from copy import copy

import numpy as np
import torch
from torch import Tensor

from dqcodec.prior.fixed_point import INT8_MAX
from dqcodec.prior.integer_network import IntegerLayer, IntegerNetwork
from dqcodec.prior.integers import attend, normalise, to_int8
from dqcodec.prior.places import Places


class Memory:
    """Keys and values of some tiles for every layer of both stacks, (tiles, heads, slots, c) each.

    Slot 0 of each tile is the beginning, with the class `label`. Integers of int8: as float32, which attention
    computes in, or while the memory is packed, as int8.
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
        # numpy takes the zeros from the system, at no cost until they are touched.
        return torch.from_numpy(np.zeros(shape, np.float32)).to(self.network.device)

    def fork(self) -> Memory:
        """A memory with the same slots. What either adds may lie where the other's would, so only one may go on."""
        other = copy(self)
        other._keys, other._values = list(self._keys), list(self._values)
        return other

    def pack(self) -> None:
        """Take a quarter of the room until `unpack`; nothing else may be asked of a packed memory."""
        self._convert(torch.int8)

    def unpack(self) -> None:
        """Be ready for use again."""
        self._convert(torch.float32)

    def _convert(self, dtype: torch.dtype) -> None:
        for cache in (self._keys, self._values):
            for i, old in enumerate(cache):
                cache[i] = old.to(dtype)

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
        at = Places(tile, sight, self.tiles, self.network)
        places = at.memory_rows(slot, self._keys[0].shape[2])
        h = at.sorted(h)
        depth = len(self.network.position_stack)
        for i, layer in enumerate(self.network.position_stack):
            self._store(i, layer, normalise(h), places)
            h = self._layer(i, layer, h, at)
        out = normalise(h)
        for i, layer in enumerate(self.network.content_stack):
            self._store(depth + i, layer, out, places)
        return at.as_given(out)

    def ask(self, h: Tensor, tile: np.ndarray, sight: np.ndarray) -> Tensor:
        """Run the Content-Transformer on queries' streams h (n, d); returns normalised outputs (n, d) int8."""
        at = Places(tile, sight, self.tiles, self.network)
        h = at.sorted(h)
        depth = len(self.network.position_stack)
        for i, layer in enumerate(self.network.content_stack):
            h = self._layer(depth + i, layer, h, at)
        return at.as_given(normalise(h))

    def _store(self, i: int, layer: IntegerLayer, source: Tensor, places: Tensor) -> None:
        kv = layer.key_value(source).clamp_(-INT8_MAX, INT8_MAX)  # (n, 2 d)
        for cache, part in zip((self._keys[i], self._values[i]), kv.chunk(2, 1), strict=True):
            cache.view(-1, cache.shape[3]).index_copy_(0, places, part.reshape(-1, cache.shape[3]))

    def _layer(self, i: int, layer: IntegerLayer, h: Tensor, at: Places) -> Tensor:
        """Stream h (n, d) after a layer; h is sorted by tile."""
        heads = self._keys[i].shape[1]
        q = layer.query(normalise(h)).clamp_(-INT8_MAX, INT8_MAX)  # (n, d)
        mixed = []
        for part in at.parts:
            k, v = (cache[i][part.tiles, :, : part.slots] for cache in (self._keys, self._values))
            padded = part.pad(q).view(len(k), part.width, heads, -1)
            got = attend(padded.transpose(1, 2), k, v, part.hidden)  # (tiles, h, width, c)
            mixed.append(part.crop(got.transpose(1, 2).flatten(2).flatten(0, 1)))
        mixed = mixed[0] if at.whole else torch.cat(mixed).index_select(0, at.rows_in_parts)
        return layer.finish(h, to_int8(mixed))
