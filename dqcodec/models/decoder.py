"""Decoder: a top-down pyramid that is told the grain map and takes each grain's codes where they are."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from dqcodec.models.blocks import ResidualBlock, up
from dqcodec.models.config import CodecConfig


class Decoder(nn.Module):
    """forward: values {factor: (B, D, H/factor, W/factor)}, zero where a grain has no code, and
    levels (B, H/16, W/16) int64 -> image (B, 3, H, W), about [-1, 1], not clamped."""

    def __init__(self, config: CodecConfig):
        super().__init__()
        widths = dict(zip((16, 8, 4, 2, 1), config.decoder_channels, strict=True))
        blocks = dict(zip((16, 8, 4, 2, 1), config.decoder_blocks, strict=True))
        self.level_embedding = nn.Embedding(len(config.factors), widths[16])
        nn.init.normal_(self.level_embedding.weight, std=0.02)
        self.inputs = nn.ModuleDict({str(f): nn.Conv2d(config.code_dim, widths[f], 1) for f in config.grains})
        self.stages = nn.ModuleDict(
            {str(f): nn.Sequential(*[ResidualBlock(widths[f]) for _ in range(blocks[f])]) for f in widths}
        )
        self.ups = nn.ModuleDict({str(f): up(widths[f], widths[f // 2]) for f in (16, 8, 4, 2)})
        # Two convolutions at full resolution: a pixel shuffle alone leaves a visible grid.
        self.refine = nn.Conv2d(widths[1], widths[1], 3, padding=1)
        self.to_image = nn.Conv2d(widths[1], 3, 3, padding=1)

    def forward(self, values: dict[int, Tensor], levels: Tensor) -> Tensor:
        h = self.level_embedding(levels).permute(0, 3, 1, 2)  # (B, C16, H/16, W/16)
        for factor in (16, 8, 4, 2, 1):
            if factor in values:
                h = h + self.inputs[str(factor)](values[factor])
            h = self.stages[str(factor)](h)  # (B, C, H/factor, W/factor)
            if factor > 1:
                h = self.ups[str(factor)](h)
        h = h + self.refine(F.leaky_relu(h, 0.1))
        return self.to_image(F.leaky_relu(h, 0.1))
