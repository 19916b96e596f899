"""DQ-Transformer, trainable: stacked Position-Transformer and Content-Transformer.

After Huang et al. 2023, section 3.3, changed for coding: a step's map comes before its codes, and codes
come in groups. The Position-Transformer turns known tokens into a memory and, from it, predicts which
regions refine; the Content-Transformer asks that memory for the codes at given positions. One content
embedding serves all grains; positions have an embedding of their own for each grain.

With `quantise` the forward pass computes the values of integer_network.py's integers, in floats.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dqcodec.prior import context, fixed_point
from dqcodec.prior.attention import attend
from dqcodec.prior.config import PriorConfig
from dqcodec.prior.fixed_point import HEAD, INT8_MAX, LOGIT, NORM, STREAM, STREAM_MAX, snap


@dataclass
class StepBatch:
    """Tokens of one step of a batch (all int64). row: their rows in the packed batch, (n,).

    near (n, slots), hot (n, 9), position, code (n,): see context.py and sequence.py. For steps >= 1 the
    map: map_rows (m, side**2) rows of the region's tokens of the step before, map_hot (m, 8), map_bit (m,).
    """

    row: Tensor
    near: Tensor
    hot: Tensor
    position: Tensor
    code: Tensor
    map_rows: Tensor | None = None
    map_hot: Tensor | None = None
    map_bit: Tensor | None = None


@dataclass
class PriorBatch:
    """A packed batch: tile after tile, in each its beginning and then its tokens by slot.

    label (tiles,): class label of each tile. starts: tiles + 1 rows where the tiles begin. query_sight,
    memory_sight (rows,): slots that a row's query and its memory see.
    """

    label: Tensor
    starts: list[int]
    query_sight: Tensor
    memory_sight: Tensor
    steps: list[StepBatch]

    def to(self, device: torch.device) -> PriorBatch:
        """The same batch with its tensors on `device`."""
        def moved(part):
            values = {f.name: getattr(part, f.name) for f in fields(part)}
            return replace(part, **{k: v.to(device) for k, v in values.items() if isinstance(v, Tensor)})

        return replace(moved(self), steps=[moved(s) for s in self.steps])


class FixedLinear(nn.Module):
    """Linear layer; its weights in training lie on the grid that its integers will have."""

    def __init__(self, columns: int, rows: int, shared: bool = False, scale: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(rows, columns) * (scale * columns**-0.5))
        self.bias = nn.Parameter(torch.zeros(rows))
        self.shared = shared  # one exponent for all rows: logits must be comparable

    def forward(self, x: Tensor, quantise: bool, exponent: int) -> Tensor:
        """x (n, columns) in units of 2**-exponent -> (n, rows), not yet rounded."""
        weight, bias = self.weight, self.bias
        if quantise:
            weight = fixed_point.snap_weight(weight, self.shared)
            scale = fixed_point.power_of_two(fixed_point.weight_exponents(self.weight, self.shared) + exponent)
            bias = bias + (torch.floor(bias * scale + 0.5) / scale - bias).detach()
        return F.linear(x, weight, bias.to(x.dtype))


def normalise(h: Tensor, quantise: bool) -> Tensor:
    """Root-mean-square normalisation (Zhang & Sennrich 2019) of the stream h (n, d), within +-4."""
    y = h * torch.rsqrt(h.square().mean(-1, keepdim=True) + 1e-4)
    if quantise:
        with torch.no_grad():
            units = h.double() * 2**STREAM
            n = torch.floor(units.square().sum(-1, keepdim=True) * 256 / h.shape[-1])
            root = fixed_point.integer_root(n).clamp_min(1)
            error = (torch.floor((1024 * units + root) / (2 * root)) * 2.0**-NORM).float() - y
        y = y + error
    return F.hardtanh(y, -INT8_MAX / 2**NORM, INT8_MAX / 2**NORM)


class Layer(nn.Module):
    """Pre-norm transformer layer over packed rows; keys and values come from the rows `source`."""

    def __init__(self, config: PriorConfig, depth: int):
        super().__init__()
        d, self.heads = config.dim, config.heads
        self.query = FixedLinear(d, d)
        self.key_value = FixedLinear(d, 2 * d)
        self.out = FixedLinear(d, d, scale=0.5 / depth**0.5)
        self.wide = FixedLinear(d, config.hidden, scale=1.4)
        self.narrow = FixedLinear(config.hidden, d, scale=0.5 / depth**0.5)

    def forward(self, h: Tensor, source: Tensor, starts: list[int], sight: Tensor, quantise: bool) -> Tensor:
        """h (rows, d) stream, source (rows, d) normalised, sight (rows,) -> h (rows, d)."""
        q = snap(self.query(normalise(h, quantise), quantise, NORM), HEAD, INT8_MAX, quantise)
        kv = snap(self.key_value(source, quantise, NORM), HEAD, INT8_MAX, quantise)
        mixed = attend(q, kv, starts, sight, self.heads, quantise)
        h = _add(h, self.out(snap(mixed, HEAD, INT8_MAX, quantise), quantise, HEAD), quantise)
        wide = snap(self.wide(normalise(h, quantise), quantise, NORM), HEAD, INT8_MAX, quantise, positive=True)
        return _add(h, self.narrow(wide, quantise, HEAD), quantise)


def _add(h: Tensor, delta: Tensor, quantise: bool) -> Tensor:
    """Residual sum on the grid of the stream."""
    if quantise:  # otherwise the limit of the sum is limit enough
        delta = snap(delta.float(), STREAM, 2**22, quantise)
    return F.hardtanh(h + delta, -STREAM_MAX / 2**STREAM, STREAM_MAX / 2**STREAM)


class DQTransformer(nn.Module):
    """forward: PriorBatch -> per step logits of codes (n, K) in nats and of map bits (m,) or None."""

    def __init__(self, config: PriorConfig):
        super().__init__()
        self.config = config
        ladder, d = config.ladder, config.dim
        steps = range(len(ladder))
        self.content = nn.Parameter(torch.randn(context.embedding_rows(ladder), config.embedding))
        self.label = nn.Parameter(0.5 * torch.randn(1 + len(config.classes), d))
        self.position = nn.ParameterList(
            nn.Parameter(0.5 * torch.randn((config.tile * ladder.side(s)) ** 2, d)) for s in steps)
        hot = 9 * (len(ladder) + 1)
        self.near = nn.ModuleList(FixedLinear(context.slots(s) * config.embedding + hot, d) for s in steps)
        self.token = nn.ModuleList(FixedLinear(config.embedding, d) for _ in steps)
        deep, wide = config.position_layers, config.content_layers
        self.position_stack = nn.ModuleList(Layer(config, deep) for _ in range(deep))
        self.content_stack = nn.ModuleList(Layer(config, wide) for _ in range(wide))
        self.head = nn.ModuleList(FixedLinear(d, k, shared=True, scale=0.3) for k in ladder.codebook_sizes)
        self.map_wide = nn.ModuleList(FixedLinear(d + 24, config.map_hidden) for _ in steps[1:])
        self.map_head = nn.ModuleList(FixedLinear(config.map_hidden, 1, shared=True) for _ in steps[1:])

    @torch.no_grad()
    def start_from(self, vectors: list[Tensor], frequencies: list[Tensor]) -> None:
        """Begin where the DQ-VAE's codebooks are: vectors (K, D) and frequencies (K,) of each step's codes.

        Codes with like vectors get like embeddings and like logits, and all their frequency as bias; otherwise
        thousands of codes would each have to learn what they are like.
        """
        for s, (vector, frequency) in enumerate(zip(vectors, frequencies, strict=True)):
            size, width = vector.shape[0], min(vector.shape[1], self.config.embedding)
            v = (vector / vector.std()).clamp(-3, 3)  # (K, D)
            first = context.first_row(self.config.ladder, s)
            rows = 0.3 * torch.randn(size, self.config.embedding)
            rows[:, :width] += v[:, :width]
            self.content[first : first + size] = rows
            mixing = torch.randn(v.shape[1], self.config.dim) * (v.shape[1] * self.config.dim) ** -0.5
            self.head[s].weight.mul_(0.3).add_(v @ mixing)
            self.head[s].bias.copy_((frequency / frequency.sum()).log())

    def _embed(self, batch: PriorBatch, quantise: bool) -> tuple[Tensor, Tensor]:
        """(queries, memory) (rows, d): what is known of a cell without and with its own code."""
        d = self.config.dim
        content = snap(self.content, fixed_point.CONTENT, fixed_point.CONTENT_MAX, quantise)
        label = snap(self.label, STREAM, STREAM_MAX, quantise)[batch.label]  # (tiles, d)
        first = torch.tensor(batch.starts[:-1], device=label.device)
        query = label.new_zeros(batch.starts[-1], d).index_copy(0, first, label)
        memory = query
        hot_width = 9 * (len(self.config.factors) + 1)
        for s, step in enumerate(batch.steps):
            hot = content.new_zeros(len(step.row), hot_width).scatter_(1, step.hot, 1.0)
            near = torch.cat([F.embedding(step.near, content).flatten(1), hot], 1)
            place = snap(self.position[s], STREAM, STREAM_MAX, quantise)[step.position]
            own = _add(place, self.near[s](near, quantise, fixed_point.CONTENT), quantise)
            code = F.embedding(step.code + context.first_row(self.config.ladder, s), content)
            query = query.index_copy(0, step.row, own)
            known = _add(own, self.token[s](code, quantise, fixed_point.CONTENT), quantise)
            memory = memory.index_copy(0, step.row, known)
        return query, memory

    def forward(self, batch: PriorBatch, quantise: bool = False) -> tuple[list[Tensor], list[Tensor | None]]:
        query, memory = self._embed(batch, quantise)
        for layer in self.position_stack:
            memory = layer(memory, normalise(memory, quantise), batch.starts, batch.memory_sight, quantise)
        memory = normalise(memory, quantise)
        for layer in self.content_stack:
            query = layer(query, memory, batch.starts, batch.query_sight, quantise)
        query = normalise(query, quantise)
        logits, maps = [], []
        for s, step in enumerate(batch.steps):
            z = self.head[s](query[step.row], quantise, NORM).float()
            logits.append(snap(z, LOGIT, 2**20, quantise))
            maps.append(self._map(s, step, memory, quantise) if step.map_rows is not None else None)
        return logits, maps

    def _map(self, s: int, step: StepBatch, memory: Tensor, quantise: bool) -> Tensor:
        """Logit (m,) that a region refines to step s."""
        mean = snap(memory[step.map_rows].mean(1), NORM, INT8_MAX, quantise)  # (m, d)
        hot = mean.new_zeros(len(mean), 24).scatter_(1, step.map_hot, 1.0)
        wide = self.map_wide[s - 1](torch.cat([mean, hot], 1), quantise, NORM)
        wide = snap(wide, HEAD, INT8_MAX, quantise, positive=True)
        return snap(self.map_head[s - 1](wide, quantise, HEAD)[:, 0].float(), LOGIT, 2**20, quantise)
