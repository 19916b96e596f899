"""Quantizer of the ladder: residual depth within a grain, prediction from one grain to the next.

Residual quantisation after Zeghidour et al. 2021 (SoundStream), section III-C. What a finer
grain codes is the rest after a linear prediction from the coarser grain's *complete* code of the
same region. Hence the codes of a region do not depend on the levels chosen around it: all steps
are quantised once, and the grain map only says how many of them are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dqcodec.models.codebook import Codebook, perplexity
from dqcodec.models.config import CodecConfig


@dataclass
class Quantised:
    """All steps of the ladder for a batch.

    codes: per step (B, h, w) int64.  latents: per step the residual that it coded, (B, D, h, w).
    partial: per step the sum of its grain's vectors up to it (prediction included), (B, D, h, w).
    energy: (B, steps, Hr, Wr), mean squared residual of a region left *after* each step.
    """

    codes: list[Tensor]
    residuals: list[Tensor]
    vectors: list[Tensor]
    partial: list[Tensor]
    energy: Tensor


def expand(levels: Tensor, side: int) -> Tensor:
    """Repeat a map (B, Hr, Wr) to (B, Hr*side, Wr*side)."""
    return levels.repeat_interleave(side, 1).repeat_interleave(side, 2) if side > 1 else levels


class LadderQuantizer(nn.Module):
    """Codebooks and predictors of a residual ladder (config.exclusive is False)."""

    def __init__(self, config: CodecConfig):
        super().__init__()
        self.ladder = config.ladder
        self.codebooks = nn.ModuleList(
            Codebook(k, config.code_dim, config.ema_decay, config.normalised)
            for k in self.ladder.codebook_sizes
        )
        grains = config.grains
        # 1x1, so that a region's finer codes see no other region's coarse code.
        self.predictors = nn.ModuleDict(
            {str(fine): nn.Conv2d(config.code_dim, config.code_dim * (coarse // fine) ** 2, 1)
             for coarse, fine in zip(grains, grains[1:], strict=False)}
        )
        for conv in self.predictors.values():
            nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)

    def _predict(self, factor: int, coarse: Tensor) -> Tensor:
        """Prediction (B, D, h, w) at `factor` from the complete coarser grain (B, D, h/r, w/r)."""
        with torch.autocast(coarse.device.type, enabled=False):
            out = self.predictors[str(factor)](coarse.detach().float())
        ratio = int((out.shape[1] // coarse.shape[1]) ** 0.5)
        return F.pixel_shuffle(out, ratio)

    def forward(self, latents: dict[int, Tensor]) -> Quantised:
        """Quantise every step everywhere; no side effects."""
        codes, residuals, vectors, partial, energy = [], [], [], [], []
        above = None
        for step, factor in enumerate(self.ladder.factors):
            y = latents[factor].float()
            if step == 0:
                base = torch.zeros_like(y)
            elif factor != self.ladder.factors[step - 1]:
                base = self._predict(factor, above)
            else:
                base = above
            residual = y - base if factor != self.ladder.factors[max(step - 1, 0)] else y - base.detach()
            flat = residual.permute(0, 2, 3, 1).reshape(-1, y.shape[1])
            index, vector = self.codebooks[step].quantise(flat)
            b, d, h, w = y.shape
            vector = vector.view(b, h, w, d).permute(0, 3, 1, 2)
            above = base + vector
            codes.append(index.view(b, h, w))
            residuals.append(residual)
            vectors.append(vector)
            partial.append(above)
            left = (residual - vector).detach().square().mean(1, keepdim=True)
            energy.append(F.avg_pool2d(left, self.ladder.side(step)))
        return Quantised(codes, residuals, vectors, partial, torch.cat(energy, 1))

    def commitment(self, q: Quantised, levels: Tensor) -> Tensor:
        """Mean squared distance of latents to their (fixed) codes, over the codes in use."""
        loss = levels.new_zeros((), dtype=torch.float32)
        for step in range(len(self.ladder)):
            used = expand(levels >= step, self.ladder.side(step))[:, None]
            gap = (q.residuals[step] - q.vectors[step].detach()).square() * used
            loss = loss + gap.sum() / (used.sum().clamp_min(1) * gap.shape[1])
        return loss

    @torch.no_grad()
    def update(self, q: Quantised, levels: Tensor) -> dict[str, float]:
        """One codebook step from the cells in use (each once); returns perplexities."""
        metrics = {}
        for step, book in enumerate(self.codebooks):
            used = expand(levels >= step, self.ladder.side(step))
            book.update(q.residuals[step].permute(0, 2, 3, 1)[used], q.codes[step][used])
            metrics[f"perplexity_{step}"] = perplexity(q.codes[step][used], book.size)
        return metrics

    def values(self, partial: list[Tensor], latents: dict[int, Tensor] | None, levels: Tensor):
        """Decoder input {factor: (B, D, h, w)}: each grain's sum as deep as the level says.

        With `latents` the gradient passes straight through to them (Bengio et al. 2013).
        """
        out: dict[int, Tensor] = {}
        for step, factor in enumerate(self.ladder.factors):
            used = expand(levels >= step, self.ladder.side(step))[:, None]
            below = out.get(factor, torch.zeros_like(partial[step]))
            out[factor] = torch.where(used, partial[step], below)
        if latents is not None:
            for factor, y in self.continuous(latents, levels).items():
                out[factor] = y + (out[factor] - y).detach()
        return out

    def continuous(self, latents: dict[int, Tensor], levels: Tensor) -> dict[int, Tensor]:
        """Decoder input without quantisation: latents, zero where a grain is absent."""
        out = {}
        for factor, y in latents.items():
            first = self.ladder.factors.index(factor)
            out[factor] = y.float() * expand(levels >= first, self.ladder.side(first))[:, None]
        return out

    def lookup(self, codes: list[Tensor], levels: Tensor) -> dict[int, Tensor]:
        """Decoder input from codes alone: codes per step (B, h, w) int64, any value where absent."""
        partial: list[Tensor] = []
        for step, factor in enumerate(self.ladder.factors):
            vector = self.codebooks[step].lookup(codes[step].clamp_min(0)).permute(0, 3, 1, 2)
            if step and factor == self.ladder.factors[step - 1]:
                vector = vector + partial[-1]
            elif step:
                vector = vector + self._predict(factor, partial[-1])
            partial.append(vector)
        return self.values(partial, None, levels)
