"""Quantizer of the paper's exclusive choice, in the codec's network: one grain for each region.

Kept for the comparison in docs/experiments.md. Level l means the l-th grain alone; all grains
share one codebook, as in Huang et al. 2023. Where a region is fine, the coarser maps get the mean
of its codes, so that the decoder's coarse layers are not blind there.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dqcodec.models.codebook import Codebook, perplexity
from dqcodec.models.config import CodecConfig
from dqcodec.models.ladder import Quantised, expand


class ExclusiveQuantizer(nn.Module):
    """Same interface as LadderQuantizer (config.exclusive is True, one step for each grain)."""

    def __init__(self, config: CodecConfig):
        super().__init__()
        self.ladder = config.ladder
        self.codebook = Codebook(config.codebook_size, config.code_dim, config.ema_decay, config.normalised)

    def forward(self, latents: dict[int, Tensor]) -> Quantised:
        codes, residuals, vectors, energy = [], [], [], []
        for step, factor in enumerate(self.ladder.factors):
            y = latents[factor].float()
            y = F.normalize(y, dim=1) if self.codebook.normalised else y
            b, d, h, w = y.shape
            index, vector = self.codebook.quantise(y.permute(0, 2, 3, 1).reshape(-1, d))
            vector = vector.view(b, h, w, d).permute(0, 3, 1, 2)
            codes.append(index.view(b, h, w))
            residuals.append(y)
            vectors.append(vector)
            left = (y - vector).detach().square().mean(1, keepdim=True)
            energy.append(F.avg_pool2d(left, self.ladder.side(step)))
        return Quantised(codes, residuals, vectors, vectors, torch.cat(energy, 1))

    def commitment(self, q: Quantised, levels: Tensor) -> Tensor:
        loss = levels.new_zeros((), dtype=torch.float32)
        for step in range(len(self.ladder)):
            used = expand(levels == step, self.ladder.side(step))[:, None]
            gap = (q.residuals[step] - q.vectors[step].detach()).square() * used
            loss = loss + gap.sum() / (used.sum().clamp_min(1) * gap.shape[1])
        return loss

    @torch.no_grad()
    def update(self, q: Quantised, levels: Tensor) -> dict[str, float]:
        cells, used_codes = [], []
        for step in range(len(self.ladder)):
            used = expand(levels == step, self.ladder.side(step))
            cells.append(q.residuals[step].permute(0, 2, 3, 1)[used])
            used_codes.append(q.codes[step][used])
        codes = torch.cat(used_codes)
        self.codebook.update(torch.cat(cells), codes)
        return {"perplexity": perplexity(codes, self.codebook.size)}

    def values(self, partial: list[Tensor], latents: dict[int, Tensor] | None, levels: Tensor):
        out: dict[int, Tensor] = {}
        finer = None
        for step in reversed(range(len(self.ladder))):
            factor = self.ladder.factors[step]
            value = partial[step]
            if latents is not None:
                y = latents[factor].float()
                y = F.normalize(y, dim=1) if self.codebook.normalised else y
                value = y + (value - y).detach()
            value = value * expand(levels == step, self.ladder.side(step))[:, None]
            if finer is not None:
                value = value + F.avg_pool2d(finer, finer.shape[-1] // value.shape[-1])
            out[factor] = finer = value
        return out
