"""LPIPS with VGG16 as a training loss, with a distance for each region.

Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric". Own
code because training must run on a machine that has only torch; evaluation uses the lpips package.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from dqcodec.errors import DataError

VGG_FILE = "vgg16_features_fp16.safetensors"
LINEAR_FILE = "lpips_lin_v0.1_vgg.safetensors"
# VGG16 as (torchvision layer index, channels), "pool" between; a tap after each block.
BLOCKS = (((0, 64), (2, 64)), ((5, 128), (7, 128)), ((10, 256), (12, 256), (14, 256)),
          ((17, 512), (19, 512), (21, 512)), ((24, 512), (26, 512), (28, 512)))


class LpipsVgg(nn.Module):
    """forward(a, b), both (B, 3, H, W) in [-1, 1], H and W multiples of 16 -> (B, H/16, W/16), whose
    mean is LPIPS-VGG v0.1. Gradient flows to `a` only."""

    def __init__(self, folder: str | Path):
        super().__init__()
        folder = Path(folder)
        for name in (VGG_FILE, LINEAR_FILE):
            if not (folder / name).exists():
                raise DataError(
                    f"{folder / name}: missing; LPIPS-VGG needs VGG16 and LPIPS weights as safetensors, "
                    "name their folder with --metric-weights, or set loss.lpips_vgg to 0"
                )
        weights = load_file(folder / VGG_FILE)
        linear = load_file(folder / LINEAR_FILE)
        self.blocks = nn.ModuleList()
        cin = 3
        for block in BLOCKS:
            convs = nn.ModuleList()
            for index, cout in block:
                conv = nn.Conv2d(cin, cout, 3, padding=1)
                conv.weight.data = weights[f"features.{index}.weight"].float()
                conv.bias.data = weights[f"features.{index}.bias"].float()
                convs.append(conv)
                cin = cout
            self.blocks.append(convs)
        for i, key in enumerate(sorted(linear)):
            self.register_buffer(f"linear{i}", linear[key].float().reshape(1, -1, 1, 1))
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))
        self.requires_grad_(False)

    def features(self, x: Tensor) -> list[Tensor]:
        """Activations (B, C, H/2**i, W/2**i) after block i = 0..4 of x (B, 3, H, W) in [-1, 1]."""
        h = (x - self.shift) / self.scale
        taps = []
        for i, convs in enumerate(self.blocks):
            if i:
                h = F.max_pool2d(h, 2)
            for conv in convs:
                h = F.relu(conv(h))
            taps.append(h)
        return taps

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """LPIPS (B, H/16, W/16) between pictures with the features a and b."""
        grid = (a[0].shape[2] // 16, a[0].shape[3] // 16)
        total = 0
        for i, (fa, fb) in enumerate(zip(a, b, strict=True)):
            gap = (unit(fa) - unit(fb)).square()
            gap = (gap * getattr(self, f"linear{i}")).sum(1, keepdim=True)  # (B, 1, h, w)
            total = total + F.adaptive_avg_pool2d(gap, grid)[:, 0]
        return total

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        with torch.no_grad():
            reference = self.features(b)
        return self.distance(self.features(a), reference)


def unit(f: Tensor) -> Tensor:
    """Features (B, C, h, w) scaled to unit length over channels, in float32."""
    f = f.float()
    return f / (f.square().sum(1, keepdim=True).sqrt() + 1e-10)
