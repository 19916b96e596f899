"""Encoder with one output map per grain."""

from __future__ import annotations

from torch import Tensor, nn

from dqcodec.models.paper.blocks import Downsample, bottleneck, group_norm, octave
from dqcodec.models.paper.config import PaperConfig


class Encoder(nn.Module):
    """Image -> one latent map for each grain.

    One trunk halves the image octave by octave; each grain's head taps the octave of its factor,
    before the next halving.
    """

    def __init__(self, config: PaperConfig):
        super().__init__()
        groups, widths = config.norm_groups, [config.base_channels * m for m in config.channel_multipliers]
        self.factors = [2**index for index in range(len(widths))]
        self.stem = nn.Conv2d(3, config.base_channels, 3, padding=1)
        befores = [config.base_channels, *widths[:-1]]
        self.octaves = nn.ModuleList(
            octave(before, width, config.res_blocks, factor in config.attention_factors, groups)
            for before, width, factor in zip(befores, widths, self.factors, strict=True)
        )
        self.downsamples = nn.ModuleList(Downsample(width) for width in widths[:-1])
        self.heads = nn.ModuleDict(
            {
                str(factor): nn.Sequential(
                    bottleneck(width, groups),
                    group_norm(width, groups),
                    nn.SiLU(),
                    nn.Conv2d(width, config.latent_channels, 3, padding=1),
                )
                for factor, width in zip(self.factors, widths, strict=True)
                if factor in config.grains
            }
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [-1, 1] -> maps (B, D, H/grain, W/grain), coarse to fine."""
        maps = []
        h = self.stem(x)  # (B, C, H, W)
        for index, factor in enumerate(self.factors):
            if index:
                h = self.downsamples[index - 1](h)
            h = self.octaves[index](h)  # (B, C * multiplier, H/factor, W/factor)
            if str(factor) in self.heads:
                maps.append(self.heads[str(factor)](h))  # (B, D, H/factor, W/factor)
        return maps[::-1]
