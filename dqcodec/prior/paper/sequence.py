"""Grain maps and codes as sequences of tokens, and back.

    start of f16 | (position, content) ... | start of f8 | (position, content) ...

All grains are in one run without padding between them; shorter pictures are padded at the right end, which
a causal network never looks at. The end of a grain is a symbol of the position stream only: what is read
after it is the start of the next grain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from dqcodec.models.paper.dqvae import PaperCodes
from dqcodec.models.paper.grains import merge
from dqcodec.prior.paper.config import PaperPriorConfig
from dqcodec.prior.paper.layout import Layout


@dataclass(frozen=True)
class PaperBatch:
    """Sequences of a batch of B pictures, L tokens at most; all int64.

    grain: (B, L). position: (B, L) cell of the grain's grid, or P + label for its start. content: (B, L)
    code, or K + label for a start. length: (B,) tokens of each picture. levels: (B, N) grain of each region.
    """

    grain: Tensor
    position: Tensor
    content: Tensor
    length: Tensor
    levels: Tensor

    @property
    def real(self) -> Tensor:
        """(B, L) bool: false where a row is padded."""
        return torch.arange(self.grain.shape[1], device=self.grain.device) < self.length[:, None]

    def to(self, device: torch.device | str) -> PaperBatch:
        """The same batch on `device`."""
        return PaperBatch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def pack(config: PaperPriorConfig, codes: PaperCodes, labels: Tensor) -> PaperBatch:
    """Sequences of pictures. codes: levels (B, rows, cols) and indices of the DQ-VAE. labels: (B,), 0 for none."""
    layout, batch = config.layout, len(labels)
    levels = codes.levels.flatten(1)  # (B, N)
    grains, positions, contents, keep = [], [], [], []
    for grain, step in enumerate(layout.replications):
        count = layout.cells(grain)
        cells = torch.arange(count, device=levels.device).expand(batch, count)
        positions += [count + labels[:, None], cells]
        contents += [config.codebook_size + labels[:, None], codes.indices[:, ::step, ::step].flatten(1)]
        keep += [torch.ones_like(labels[:, None], dtype=torch.bool),
                 (levels == grain)[:, layout.region_of(grain, levels.device)]]
        grains.append(torch.full((batch, 1 + count), grain, device=levels.device))
    kept = torch.cat(keep, 1)  # (B, all cells of all grains)
    length = kept.sum(1)
    order = kept.logical_not().to(torch.uint8).argsort(dim=1, stable=True)[:, : int(length.max())]  # (B, L)
    real = kept.gather(1, order)

    def chosen(parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts), 1).gather(1, order) * real

    return PaperBatch(chosen(grains), chosen(positions), chosen(contents), length, levels)


def assemble(layout: Layout, levels: Tensor, codes: Sequence[Tensor]) -> PaperCodes:
    """What the DQ-VAE decodes. levels: (B, N). codes: for each grain (B, P), read where the region is of it."""
    grid = levels.unflatten(1, (layout.rows, layout.cols))  # (B, rows, cols)
    maps = [c.unflatten(1, (layout.rows * side, layout.cols * side)).unsqueeze(1)
            for c, side in zip(codes, layout.sides, strict=True)]
    return PaperCodes(grid, merge(maps, grid, layout.replications)[:, 0])
