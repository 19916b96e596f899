"""DQ-Transformer as published: Position-Transformer, then Content-Transformer, token by token.

    tokens so far -> content + position + index + grain embeddings -> Position-Transformer -> next position
    its hidden state + embedding of that position -> Content-Transformer -> content there

Huang, Mao, Chen, Zhang, CVPR 2023 (arXiv 2305.11718), section 3.3: coarse to fine, one content embedding
for all grains, position and grain ("segment") embeddings for each. Blocks are minGPT's (pre-LN, GELU).
Departures from the reference release: positions that cannot come next have probability 0 (layout.py), each
grain has a position head of its own and the last needs none, and no padding lies inside a sequence.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dqcodec.prior.paper.config import PaperPriorConfig
from dqcodec.prior.paper.layout import Layout
from dqcodec.prior.paper.sequence import PaperBatch


class KeyValues:
    """Keys and values of one layer for the tokens read so far, in room for `longest` of them."""

    def __init__(self, longest: int):
        self.longest, self.count, self._kept = longest, 0, None

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add (B, H, 1, d) and return all (B, H, t, d)."""
        if self._kept is None:
            shape = (*k.shape[:2], self.longest, k.shape[3])
            self._kept = k.new_empty(shape), v.new_empty(shape)
        self.count += 1
        for kept, new in zip(self._kept, (k, v), strict=True):
            kept[:, :, self.count - 1 : self.count] = new
        keys, values = self._kept
        return keys[:, :, : self.count], values[:, :, : self.count]


class Block(nn.Module):
    """Causal attention and a four times wider MLP, each beside a skip; (B, T, D) -> (B, T, D)."""

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor, cache: KeyValues | None = None) -> Tensor:
        """With a cache, x (B, 1, D) is the next token alone."""
        split = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1))  # (B, T, 3, H, d)
        q, k, v = split.permute(2, 0, 3, 1, 4)  # (B, H, T, d) each
        if cache is not None:
            k, v = cache.append(k, v)
        dropped = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropped, is_causal=cache is None)
        x = x + self._drop(self.out(mixed.transpose(1, 2).flatten(2)))
        return x + self._drop(self.mlp(self.norm2(x)))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class Stack(nn.Module):
    """Blocks one after another."""

    def __init__(self, config: PaperPriorConfig, depth: int):
        super().__init__()
        self.blocks = nn.ModuleList(Block(config.dim, config.heads, config.dropout) for _ in range(depth))

    def forward(self, x: Tensor, caches: list[KeyValues] | None = None) -> Tensor:
        for index, block in enumerate(self.blocks):
            x = block(x, None if caches is None else caches[index])
        return x


def head(dim: int, symbols: int) -> nn.Sequential:
    """Hidden state -> logits."""
    return nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, symbols, bias=False))


class PaperDQTransformer(nn.Module):
    """The paper's second stage, for any number of grains. forward: log-likelihoods of a batch."""

    def __init__(self, config: PaperPriorConfig):
        super().__init__()
        self.config, self.layout = config, config.layout
        dim, starts = config.dim, 1 + len(config.classes)
        cells = [self.layout.cells(grain) for grain in range(self.layout.grains)]
        self.content = nn.Embedding(config.codebook_size + starts, dim)
        # Rows of the position table: for each grain those of its cells, then its starts by label.
        rows, first_row = _position_rows(config, self.layout, starts)
        places = cells[-1] if config.share_positions else sum(cells)
        self.position = nn.Embedding(places + len(cells) * starts, dim)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("first_row", first_row, persistent=False)
        self.index = nn.Embedding(self.layout.longest, dim)
        self.grain = nn.Embedding(len(cells), dim)
        self.position_stack = Stack(config, config.position_layers)
        self.content_stack = Stack(config, config.content_layers)
        # The last grain names all cells that are left: its positions are certain.
        self.position_heads = nn.ModuleList(head(dim, count + 1) for count in cells[:-1])
        self.content_head = head(dim, config.codebook_size)
        self.apply(_initialise)

    def place(self, grain: Tensor, position: Tensor) -> Tensor:
        """Embedding (..., D) of positions (...), cells or starts, of grains (...)."""
        return self.position(self.rows[self.first_row[grain] + position])

    def embed(self, grain: Tensor, position: Tensor, content: Tensor, index: int = 0) -> Tensor:
        """Embedding (B, T, D) of tokens (B, T), of which the first is number `index` of its sequence."""
        t = torch.arange(index, index + grain.shape[1], device=grain.device)
        x = self.content(content) + self.place(grain, position) + self.index(t) + self.grain(grain)
        return F.dropout(x, self.config.dropout, self.training)

    def forward(self, batch: PaperBatch) -> tuple[Tensor, Tensor]:
        """Nats (B, L - 1) that the next position costs after each token, and the content there.

        They sum to a picture's negative log-likelihood; 0 where there is nothing to say (padding, the
        contents of starts, positions of the last grain).
        """
        x = self.embed(batch.grain[:, :-1], batch.position[:, :-1], batch.content[:, :-1])  # (B, T, D)
        h = self.position_stack(x)
        c = self.content_stack(h + self.place(batch.grain[:, 1:], batch.position[:, 1:]))
        return self._position_nats(batch, h), self._content_nats(batch, c)

    def position_logits(self, grain: int, hidden: Tensor) -> Tensor:
        """Hidden states (n, D) -> logits (n, P + 1) of the grain's next position, not yet masked."""
        return _wide(self.position_heads[grain](hidden))

    def content_logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (n, D) -> logits (n, K)."""
        return _wide(self.content_head(hidden))

    def _position_nats(self, batch: PaperBatch, hidden: Tensor) -> Tensor:
        size, real = self.config.codebook_size, batch.real[:, 1:]  # (B, T)
        begins, ends = batch.content[:, :-1] >= size, batch.content[:, 1:] >= size  # (B, T)
        nats = hidden.new_zeros(real.shape, dtype=_wide(hidden[:0]).dtype)
        for grain, own in enumerate(self.position_heads):
            rows = (real & (batch.grain[:, :-1] == grain)).nonzero(as_tuple=True)  # two of (n,)
            last = batch.position[:, :-1][rows].masked_fill(begins[rows], -1)  # (n,)
            levels = batch.levels[rows[0]]  # (n, N)
            begun = (levels == grain) & (self.layout.first_cell(grain, last.device) <= last[:, None])
            legal = self.layout.legal(grain, last, levels >= grain, begun)  # (n, P + 1)
            logits = _wide(own(hidden[rows])).masked_fill(~legal, -torch.inf)
            target = batch.position[:, 1:][rows].masked_fill(ends[rows], self.layout.cells(grain))
            nats = nats.index_put(rows, F.cross_entropy(logits, target, reduction="none"))
        return nats

    def _content_nats(self, batch: PaperBatch, hidden: Tensor) -> Tensor:
        codes = batch.content[:, 1:]  # (B, T)
        rows = (batch.real[:, 1:] & (codes < self.config.codebook_size)).nonzero(as_tuple=True)
        found = F.cross_entropy(self.content_logits(hidden[rows]), codes[rows], reduction="none")
        return found.new_zeros(codes.shape).index_put(rows, found)


def _position_rows(config: PaperPriorConfig, layout: Layout, starts: int) -> tuple[Tensor, Tensor]:
    """(row of the position table of every cell and start, grain after grain; (G,) where each grain begins)."""
    cells = [layout.cells(grain) for grain in range(layout.grains)]
    first = torch.tensor([sum(cells[:grain]) + grain * starts for grain in range(layout.grains)])
    if not config.share_positions:
        return torch.arange(sum(cells) + layout.grains * starts), first
    found, wide = [], layout.cols * layout.sides[-1]  # cells in a row of the finest grid
    for grain, step in enumerate(layout.replications):
        cell = torch.arange(cells[grain])
        across = layout.cols * layout.sides[grain]
        found += [cell // across * step * wide + cell % across * step,
                  cells[-1] + grain * starts + torch.arange(starts)]
    return torch.cat(found), first


def _wide(logits: Tensor) -> Tensor:
    """At least float32, also under autocast: a sum of a thousand probabilities needs it."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, 0, 0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
