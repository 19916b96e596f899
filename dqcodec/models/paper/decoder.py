"""Decoder: quantised map on the finest grid and grain map -> image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dqcodec.models.paper.blocks import Upsample, bottleneck, group_norm, octave
from dqcodec.models.paper.config import PaperConfig


class PositionEncoding(nn.Module):
    """Learned Fourier features of normalised coordinates plus learned rows and columns.

    Coordinates run over [-1, 1] whatever the size, and the row and column tables are interpolated
    linearly, so any grid works; a grid of the table's own size gets the table unchanged.
    """

    def __init__(self, channels: int, grid: int):
        super().__init__()
        self.fourier = nn.Conv2d(2, channels, 1)
        self.rows = nn.Parameter(0.02 * torch.randn(1, channels, grid))
        self.columns = nn.Parameter(0.02 * torch.randn(1, channels, grid))

    def forward(self, height: int, width: int) -> Tensor:
        """Returns (1, D, height, width)."""
        like = {"device": self.rows.device, "dtype": self.rows.dtype}
        y = torch.linspace(-1, 1, height, **like)[:, None].expand(height, width)
        x = torch.linspace(-1, 1, width, **like).expand(height, width)
        waves = torch.sin(self.fourier(torch.stack((x, y)).unsqueeze(0)))  # (1, D, height, width)
        rows = F.interpolate(self.rows, size=height, mode="linear", align_corners=True)  # (1, D, height)
        columns = F.interpolate(self.columns, size=width, mode="linear", align_corners=True)
        return waves + rows.unsqueeze(3) + columns.unsqueeze(2)


class Decoder(nn.Module):
    """VQGAN decoder that is told the grain of every cell.

    Without the grain a flat fine region and a replicated coarse code look alike, though the first
    states that nothing is there and the second that detail was left out.
    """

    def __init__(self, config: PaperConfig):
        super().__init__()
        groups, widths = config.norm_groups, [config.base_channels * m for m in config.decoder_multipliers]
        factors = [2**index for index in range(len(widths))]
        self.position = PositionEncoding(config.latent_channels, config.position_grid)
        self.grain = nn.Embedding(len(config.grains), config.latent_channels)
        layers: list[nn.Module] = [
            nn.Conv2d(config.latent_channels, widths[-1], 3, padding=1),
            bottleneck(widths[-1], groups),
        ]
        before = widths[-1]
        for factor, width in zip(factors[::-1], widths[::-1], strict=True):
            attend = factor in config.decoder_attention_factors
            layers.append(octave(before, width, config.res_blocks + 1, attend, groups))
            if factor > 1:
                layers.append(Upsample(width))
            before = width
        self.body = nn.Sequential(*layers, group_norm(before, groups), nn.SiLU())
        self.out = nn.Conv2d(before, 3, 3, padding=1)

    def forward(self, z: Tensor, grain_grid: Tensor) -> Tensor:
        """z (B, D, Hf, Wf), grain_grid (B, Hf, Wf) int64 -> image (B, 3, H, W) around [-1, 1]."""
        grains = self.grain(grain_grid).permute(0, 3, 1, 2)  # (B, D, Hf, Wf)
        h = z + grains + self.position(*z.shape[2:])  # (B, D, Hf, Wf)
        return self.out(self.body(h))  # (B, 3, H, W)
