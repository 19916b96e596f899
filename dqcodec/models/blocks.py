"""Residual block and resampling layers of the codec's networks.

No normalisation over space: what a pixel becomes then depends on a bounded neighbourhood only,
so that a large image can be computed in tiles without seams.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """x + conv(act(conv(act(x)))), 3x3, the last convolution starts at zero (Fixup, Zhang et al. 2019)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.kaiming_normal_(self.conv1.weight, a=0.1)
        nn.init.zeros_(self.conv1.bias)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> same
        h = self.conv1(F.leaky_relu(x, 0.1))
        return x + self.conv2(F.leaky_relu(h, 0.1))


def down(cin: int, cout: int) -> nn.Conv2d:
    """Halve the resolution by a strided 3x3 convolution."""
    return nn.Conv2d(cin, cout, 3, stride=2, padding=1)


def up(cin: int, cout: int) -> nn.Sequential:
    """Double the resolution by a 1x1 convolution and a pixel shuffle (Shi et al. 2016).

    The four subpixels start equal (ICNR, Aitken et al. 2017), so that no checkerboard has to be
    unlearned.
    """
    conv = nn.Conv2d(cin, 4 * cout, 1)
    base = conv.weight.data[::4].clone()  # one kernel for each output channel
    conv.weight.data = base.repeat_interleave(4, dim=0)
    nn.init.zeros_(conv.bias)
    return nn.Sequential(conv, nn.PixelShuffle(2))
