"""Decoder: a top-down pyramid that is told the grain map and takes each grain's codes where they are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dqcodec.models.blocks import ResidualBlock, up
from dqcodec.models.config import CodecConfig
from dqcodec.models.noise import noise


def random_origins(pictures: int, device: torch.device) -> Tensor:
    """Random places (pictures, 2) for `Decoder.forward`."""
    return torch.randint(1 << 20, (pictures, 2), device=device)


class Decoder(nn.Module):
    """forward: values {factor: (B, D, H/factor, W/factor)}, zero where a grain has no code, and
    levels (B, H/16, W/16) int64 -> image (B, 3, H, W), about [-1, 1], not clamped.

    origin: row and column of the first region in the whole picture, where the input is a tile of it, or of each
    picture, (B, 2) int64; without, (0, 0), and in training a random place for each picture's noise.
    """

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
        # Not zero: the loss is even in a strength, so that zero would have no gradient.
        self.noise = nn.ParameterDict(
            {str(f): nn.Parameter(0.05 * torch.randn(widths[f], 1, 1)) for f in config.noise_factors})
        # Two convolutions at full resolution: a pixel shuffle alone leaves a visible grid.
        self.refine = nn.Conv2d(widths[1], widths[1], 3, padding=1)
        self.to_image = nn.Conv2d(widths[1], 3, 3, padding=1)

    def forward(self, values: dict[int, Tensor], levels: Tensor,
                origin: tuple[int, int] | Tensor | None = None) -> Tensor:
        h = self.level_embedding(levels).permute(0, 3, 1, 2)  # (B, C16, H/16, W/16)
        if origin is None:
            origin = random_origins(len(h), h.device) if self.training else (0, 0)
        place = torch.as_tensor(origin, device=h.device).expand(len(h), 2)
        for factor in (16, 8, 4, 2, 1):
            if factor in values:
                h = h + self.inputs[str(factor)](values[factor])
            if str(factor) in self.noise:
                h = h + (self.noise[str(factor)] * self._noise(factor, h, place)).to(h.dtype)
            h = self.stages[str(factor)](h)  # (B, C, H/factor, W/factor)
            if factor > 1:
                h = self.ups[str(factor)](h)
        h = h + self.refine(F.leaky_relu(h, 0.1))
        return self.to_image(F.leaky_relu(h, 0.1))

    def _noise(self, factor: int, h: Tensor, place: Tensor) -> Tensor:
        """Noise (B, 1, H/factor, W/factor) of pictures whose first regions are at place (B, 2)."""
        first = place[:, :, None] * (16 // factor)  # (B, 2, 1)
        rows = first[:, 0] + torch.arange(h.shape[2], device=h.device)
        cols = first[:, 1] + torch.arange(h.shape[3], device=h.device)
        return noise(rows, cols, factor)
