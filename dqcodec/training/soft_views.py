"""Views of sharp pictures as a camera would deliver them: enlarged, sharpened, with noise."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SHARPENED, MOST_SHARP = 0.3, 1.5
NOISY, MOST_NOISE = 0.6, 4 / 127.5  # share of views, and the largest deviation, of pictures in [-1, 1]


def soft_view(x: Tensor, enlargement: float) -> Tensor:
    """A random part of pictures (B, 3, N, N) in [-1, 1], enlarged to their size, some sharpened or with noise."""
    pictures, side = len(x), x.shape[-1]
    window = max(16, round(side / enlargement))
    top, left = (int(torch.randint(side - window + 1, ())) for _ in range(2))
    x = x[..., top : top + window, left : left + window]
    if window < side:
        x = F.interpolate(x, size=(side, side), mode="bicubic", align_corners=False)
    one = (pictures, 1, 1, 1)
    strength = MOST_SHARP * torch.rand(one, device=x.device) * (torch.rand(one, device=x.device) < SHARPENED)
    x = x + strength * (x - _blurred(x))
    white = torch.randn(pictures, 1, side, side, device=x.device)
    share = torch.rand(one, device=x.device).clamp_min(0.2)  # of white noise, the rest correlated as a film's grain
    noise = share * white + (1 - share) * _blurred(white)
    strength = MOST_NOISE * torch.rand(one, device=x.device) * (torch.rand(one, device=x.device) < NOISY)
    return (x + strength * noise / noise.std((1, 2, 3), keepdim=True)).clamp(-1, 1)


def _blurred(x: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), 3, 1)
