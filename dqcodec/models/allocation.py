"""Choice of levels for a rate: one Lagrangian slope for the whole image."""

from __future__ import annotations

import torch
from torch import Tensor


def levels_at_slope(distortion: Tensor, bits: Tensor, slope: Tensor) -> Tensor:
    """argmin over l of D_l + slope * bits_l.

    distortion (B, L, Hr, Wr); bits (L,) of a region at each level; slope (B,) distortion per bit.
    Returns levels (B, Hr, Wr) int64.
    """
    cost = distortion + slope.view(-1, 1, 1, 1) * bits.view(1, -1, 1, 1)
    return cost.argmin(1)


def levels_for_bits(distortion: Tensor, bits: Tensor, target: Tensor, rounds: int = 24) -> Tensor:
    """Levels (B, Hr, Wr) whose bits come closest to `target` (B,) from below, by bisection of the slope.

    An image whose all-coarse bits exceed its target stays all coarse.
    """
    low = torch.full_like(target, -20.0)  # log slope; small slope = many bits
    high = torch.full_like(target, 5.0)
    for _ in range(rounds):
        middle = (low + high) / 2
        levels = levels_at_slope(distortion, bits, middle.exp())
        over = bits[levels].sum((1, 2)) > target
        low, high = torch.where(over, middle, low), torch.where(over, high, middle)
    return levels_at_slope(distortion, bits, high.exp())
