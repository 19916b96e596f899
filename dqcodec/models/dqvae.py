"""Codec-mode DQ-VAE: image to ladder tokens and back.

    image -> Encoder -> latents {f16, f8, f4} -> quantizer -> codes of every step
                  \\-> features, residual energy -> GainRouter -> distortion at every level
    levels (chosen) + codes -> values {f16, f8, f4} -> Decoder -> image
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dqcodec.models.allocation import levels_for_bits
from dqcodec.models.config import CodecConfig
from dqcodec.models.decoder import Decoder
from dqcodec.models.encoder import Encoder
from dqcodec.models.exclusive import ExclusiveQuantizer
from dqcodec.models.ladder import LadderQuantizer, Quantised
from dqcodec.models.output import AutoencoderOutput
from dqcodec.models.router import GainRouter
from dqcodec.models.sampling import sample_levels


class DQVAE(nn.Module):
    """Encoder, quantizer, router and decoder of the codec mode (design after Huang et al. 2023)."""

    def __init__(self, config: CodecConfig):
        super().__init__()
        self.config = config
        self.ladder = config.ladder
        self.encoder = Encoder(config)
        self.quantizer = ExclusiveQuantizer(config) if config.exclusive else LadderQuantizer(config)
        self.router = GainRouter(config)
        self.decoder = Decoder(config)
        sides = [self.ladder.side(s) ** 2 for s in range(len(self.ladder))]
        codes = sides if config.exclusive else [sum(sides[: s + 1]) for s in range(len(sides))]
        bits = torch.tensor(codes, dtype=torch.float32) * math.log2(config.codebook_size)
        self.register_buffer("level_bits", bits, persistent=False)  # (L,) raw bits of a region

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight whose gradient balances the adversarial loss (Esser et al. 2021)."""
        return self.decoder.to_image.weight

    def analyse(self, x: Tensor) -> tuple[dict[int, Tensor], Quantised, Tensor]:
        """Latents, codes of every step, and predicted distortion (B, L, Hr, Wr) of x (B, 3, H, W)."""
        features, latents = self.encoder(x)
        q = self.quantizer(latents)
        return latents, q, self.router(features, q.energy)

    def forward(self, x: Tensor, step: int = 0, levels: Tensor | None = None) -> AutoencoderOutput:
        """One training pass with random level maps unless `levels` (B, Hr, Wr) are given.

        The codebooks move once if the quantizer is in training mode; otherwise nothing has side effects.
        """
        latents, q, distortion = self.analyse(x)
        if levels is None:
            levels = sample_levels(distortion, self.level_bits)
        values = self.quantizer.values(q.partial, latents, levels)
        if self.training and self.config.bypass:
            free = torch.rand(x.shape[0], 1, 1, 1, device=x.device) < self.config.bypass
            smooth = self.quantizer.continuous(latents, levels)
            values = {f: torch.where(free, smooth[f], v) for f, v in values.items()}
        metrics = self.quantizer.update(q, levels) if self.quantizer.training else {}
        return AutoencoderOutput(
            reconstruction=self.decoder(values, levels),
            commitment_loss=self.quantizer.commitment(q, levels),
            auxiliary_loss=x.new_zeros(()),
            levels=levels,
            bits=self.level_bits[levels].sum((1, 2)),
            predicted_distortion=distortion,
            metrics=metrics,
        )

    @torch.no_grad()
    def reconstruct(self, x: Tensor, bpp: float) -> tuple[Tensor, Tensor]:
        """(image (B, 3, H, W), raw bits (B,)) at a budget of `bpp` raw code bits a pixel, map not counted."""
        latents, q, distortion = self.analyse(x)
        target = torch.full((x.shape[0],), bpp * x.shape[2] * x.shape[3], device=x.device)
        levels = levels_for_bits(distortion, self.level_bits, target)
        values = self.quantizer.values(q.partial, None, levels)
        return self.decoder(values, levels), self.level_bits[levels].sum((1, 2))
