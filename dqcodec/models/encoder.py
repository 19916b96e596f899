"""Encoder: image to one latent map for each grain."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from dqcodec.models.blocks import ResidualBlock, down
from dqcodec.models.config import CodecConfig


class Encoder(nn.Module):
    """A trunk that halves the resolution four times, with a latent head at every grain's resolution.

    forward: x (B, 3, H, W) in [-1, 1], H and W multiples of 16 ->
        features (B, C16, H/16, W/16), latents {factor: (B, D, H/factor, W/factor)}.
    """

    def __init__(self, config: CodecConfig):
        super().__init__()
        c16, c8, c4, c2 = config.encoder_channels
        n16, n8, n4, n2 = config.encoder_blocks
        self.stem = nn.Conv2d(12, c2, 3, padding=1)
        self.stages = nn.ModuleDict(
            {
                "2": nn.Sequential(*[ResidualBlock(c2) for _ in range(n2)]),
                "4": nn.Sequential(down(c2, c4), *[ResidualBlock(c4) for _ in range(n4)]),
                "8": nn.Sequential(down(c4, c8), *[ResidualBlock(c8) for _ in range(n8)]),
                "16": nn.Sequential(down(c8, c16), *[ResidualBlock(c16) for _ in range(n16)]),
            }
        )
        widths = {16: c16, 8: c8, 4: c4}
        self.heads = nn.ModuleDict({str(f): nn.Conv2d(widths[f], config.code_dim, 3, padding=1)
                                    for f in config.grains})

    def forward(self, x: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        h = self.stem(F.pixel_unshuffle(x, 2))  # (B, C2, H/2, W/2)
        latents = {}
        for factor, stage in self.stages.items():
            h = stage(h)  # (B, C, H/factor, W/factor)
            if factor in self.heads:
                latents[int(factor)] = self.heads[factor](F.leaky_relu(h, 0.1))
        return h, latents
