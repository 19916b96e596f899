"""Building blocks of the VQGAN family (Esser et al., CVPR 2021), for any image size."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def group_norm(channels: int, groups: int) -> nn.GroupNorm:
    """GroupNorm with the family's epsilon."""
    return nn.GroupNorm(groups, channels, eps=1e-6)


class ResBlock(nn.Module):
    """Two norm-swish-conv layers beside a skip; (B, Cin, H, W) -> (B, Cout, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, groups: int):
        super().__init__()
        self.norm1 = group_norm(in_channels, groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = group_norm(out_channels, groups)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.skip = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))  # (B, Cout, H, W)
        h = self.conv2(F.silu(self.norm2(h)))  # (B, Cout, H, W)
        return self.skip(x) + h


class Attention(nn.Module):
    """Single-head self-attention over all cells of a map, beside a skip; shape is kept."""

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm(x)).flatten(2).transpose(1, 2)  # (B, HW, 3C)
        q, k, v = (part.unsqueeze(1) for part in qkv.chunk(3, dim=-1))  # each (B, 1, HW, C)
        h = F.scaled_dot_product_attention(q, k, v).squeeze(1)  # (B, HW, C)
        return x + self.out(h.transpose(1, 2).unflatten(2, x.shape[2:]))


class Downsample(nn.Module):
    """Halve both sides: zeros at the right and bottom, then a strided convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # (B, C, H/2, W/2)


class Upsample(nn.Module):
    """Double both sides: nearest neighbour, then a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))  # (B, C, 2H, 2W)


def octave(in_channels: int, out_channels: int, blocks: int, attend: bool, groups: int) -> nn.Sequential:
    """Residual blocks at one resolution, each followed by attention if `attend`."""
    layers: list[nn.Module] = []
    for index in range(blocks):
        layers.append(ResBlock(in_channels if index == 0 else out_channels, out_channels, groups))
        if attend:
            layers.append(Attention(out_channels, groups))
    return nn.Sequential(*layers)


def bottleneck(channels: int, groups: int) -> nn.Sequential:
    """Residual block, attention, residual block: the family's middle."""
    return nn.Sequential(
        ResBlock(channels, channels, groups),
        Attention(channels, groups),
        ResBlock(channels, channels, groups),
    )
