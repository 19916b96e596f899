"""DQ-Transformer in integers: the network that coding and sampling run.

It holds no state of an image (see memory.py) and computes, from integers, the integers that
network.py computes in training with `quantise`.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dqcodec.prior import context, limits
from dqcodec.prior import fixed_point as fp
from dqcodec.prior.adaptation import CodeAdaptation, MapAdaptation
from dqcodec.prior.config import PriorConfig
from dqcodec.prior.integers import IntegerLinear, normalise, to_int8

ONE = 2**fp.CONTENT  # an input that is on, beside content embeddings
MAP_ONE = 2**fp.NORM
ROWS = 1024  # of a hidden layer at once: they stay in the cache


@dataclass
class IntegerLayer:
    """Weights of one layer of either stack."""

    query: IntegerLinear
    key_value: IntegerLinear
    out: IntegerLinear
    wide: IntegerLinear
    narrow: IntegerLinear

    def finish(self, h: Tensor, mixed: Tensor) -> Tensor:
        """Stream h (n, d) after attention `mixed` (n, d) int8 and the hidden layer."""
        return torch.cat([self._finish(h[a : a + ROWS], mixed[a : a + ROWS]) for a in range(0, len(h), ROWS)])

    def _finish(self, h: Tensor, mixed: Tensor) -> Tensor:
        h = add(h, self.out(mixed))
        wide = to_int8(self.wide(normalise(h)), 0)
        return add(h, self.narrow(wide))


def add(h: Tensor, delta: Tensor) -> Tensor:
    """Sum of two streams (n, d) within the stream's limits; delta is used up."""
    return delta.add_(h).clamp_(-fp.STREAM_MAX, fp.STREAM_MAX)


class IntegerNetwork:
    """Integer weights of a prior. tensors: as quantised.py writes and model files hold them.

    Raises ValueError if they are not those of an exact prior (limits.py).
    """

    def __init__(self, config: PriorConfig, tensors: dict[str, np.ndarray], device: torch.device | str = "cpu"):
        limits.check(config, tensors)
        self.config, self.device = config, torch.device(device)
        self._tensors = tensors
        self.parameters = sum(value.size for value in tensors.values())
        steps = range(len(config.factors))
        self.content = torch.from_numpy(tensors["content"]).to(self.device)  # (rows, E) int8
        self.label = self._stream("label")  # (1 + classes, d)
        self.position = [self._stream(f"position.{s}") for s in steps]
        self.near = [self._linear(f"near.{s}", fp.CONTENT, fp.STREAM) for s in steps]
        self.token = [self._linear(f"token.{s}", fp.CONTENT, fp.STREAM) for s in steps]
        self.position_stack = [self._layer(f"position_stack.{i}.") for i in range(config.position_layers)]
        self.content_stack = [self._layer(f"content_stack.{i}.") for i in range(config.content_layers)]
        self.head = [self._linear(f"head.{s}", fp.NORM, fp.LOGIT) for s in steps]
        self.map_wide = [self._linear(f"map_wide.{s}", fp.NORM, fp.HEAD) for s in steps[:-1]]
        self.map_head = [self._linear(f"map_head.{s}", fp.HEAD, fp.LOGIT) for s in steps[:-1]]
        self.exp_table = torch.from_numpy(tensors["exp_table"].astype(np.int32)).to(self.device)
        self.map_table = tensors["map_table"].astype(np.int64)
        self.adapt_tables = [tensors[name] for name in ("log_table", "unbias_table") if config.adapts]
        del self._tensors

    def code_adaptation(self, step: int) -> CodeAdaptation | None:
        """Fresh counts for a step of an image, or None where the prior does not adapt."""
        if not self.config.adapts:
            return None
        return CodeAdaptation(self.config.codebook_sizes[step], *self.config.adapt_codes[step], *self.adapt_tables)

    def map_adaptation(self) -> MapAdaptation | None:
        """Fresh counts for the map of a step, or None where the prior does not adapt."""
        return MapAdaptation(*self.config.adapt_maps, self.adapt_tables[0]) if self.config.adapts else None

    def in_order(self, order: str) -> IntegerNetwork:
        """The same weights with cells in another order, "groups" or "raster": for comparison, not for files."""
        other = copy(self)
        other.config = replace(self.config, order=order)
        return other

    def _stream(self, name: str) -> Tensor:
        return torch.from_numpy(self._tensors[name].astype(np.float32)).to(self.device)

    def _linear(self, name: str, exponent_in: int, exponent_out: int) -> IntegerLinear:
        weight, bias = self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"]
        exponent = self._tensors[f"{name}.exponent"].astype(np.int64)
        scale = np.ldexp(np.float32(1), exponent_out - exponent_in - exponent).astype(np.float32)
        columns = np.ascontiguousarray(weight.T)  # (k, m)
        columns = np.pad(columns, ((0, -len(columns) % 8), (0, 0)))  # GPUs want multiples of 8
        return IntegerLinear(
            torch.from_numpy(columns.T.copy()).to(self.device).t(),
            torch.from_numpy(bias.astype(np.float32)).to(self.device),
            torch.from_numpy(scale).to(self.device),
        )

    def _layer(self, prefix: str) -> IntegerLayer:
        return IntegerLayer(
            self._linear(prefix + "query", fp.NORM, fp.HEAD), self._linear(prefix + "key_value", fp.NORM, fp.HEAD),
            self._linear(prefix + "out", fp.HEAD, fp.STREAM), self._linear(prefix + "wide", fp.NORM, fp.HEAD),
            self._linear(prefix + "narrow", fp.HEAD, fp.STREAM),
        )

    def embed_queries(self, step: int, near: np.ndarray, hot: np.ndarray, position: np.ndarray) -> Tensor:
        """Stream (n, d) of cells at positions (n,) with neighbourhoods near (n, slots) and levels hot (n, 9)."""
        n = len(near)
        rows = torch.from_numpy(near).to(self.device)
        width = self.near[step].weight.shape[0]
        x = torch.zeros(n, width, dtype=torch.int8, device=self.device)
        seen = context.slots(step) * self.config.embedding
        x[:, :seen] = self.content.index_select(0, rows.flatten()).view(n, seen)
        x.scatter_(1, torch.from_numpy(hot).to(self.device) + seen, ONE)
        place = self.position[step].index_select(0, torch.from_numpy(position).to(self.device))
        return add(place, self.near[step](x))

    def embed_tokens(self, step: int, queries: Tensor, codes: np.ndarray) -> Tensor:
        """Stream (n, d) of known cells: their queries and their codes (n,)."""
        first = context.first_row(self.config.ladder, step)
        rows = self.content.index_select(0, torch.from_numpy(codes.astype(np.int64) + first).to(self.device))
        return add(queries, self.token[step](rows))

    def map_logits(self, step: int, mean: Tensor, hot: np.ndarray) -> Tensor:
        """Logits (n,) in 1/32 nat that regions refine; mean (n, d) int8 memory, hot (n, 8) neighbours' bits."""
        layer = self.map_wide[step - 1]
        x = torch.zeros(len(mean), layer.weight.shape[0], dtype=torch.int8, device=self.device)
        x[:, : mean.shape[1]] = mean
        x.scatter_(1, torch.from_numpy(hot).to(self.device) + mean.shape[1], MAP_ONE)
        wide = to_int8(layer(x), 0)
        return self.map_head[step - 1](wide)[:, 0]
