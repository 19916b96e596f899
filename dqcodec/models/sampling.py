"""Level maps for training: any budget, its extremes included, so that one model serves all rates."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dqcodec.models.allocation import levels_for_bits

P_ROUTED = 0.6  # by the router's own estimate, at a random budget
P_CONSTANT = 0.2  # one level everywhere: extremes decode badly unless they are trained
# The rest are random blobs: the router sees levels it would not have chosen, so its regression
# is not confined to its own decisions.


@torch.no_grad()
def sample_levels(distortion: Tensor, bits: Tensor) -> Tensor:
    """Random level maps (B, Hr, Wr) int64, one kind and budget for each image.

    distortion (B, L, Hr, Wr) predicted; bits (L,) raw bits of a region at each level.
    """
    b, count, rows, cols = distortion.shape
    device = distortion.device
    low, high = bits.min().log(), bits.max().log()
    budget = (low + torch.rand(b, device=device) * (high - low)).exp() * rows * cols
    noisy = distortion * torch.exp(0.3 * torch.randn(b, 1, rows, cols, device=device))
    routed = levels_for_bits(noisy, bits, budget)
    constant = torch.randint(count, (b, 1, 1), device=device).expand(b, rows, cols)
    field = torch.randn(b, 1, -(-rows // 2), -(-cols // 2), device=device)
    field = F.interpolate(field, size=(rows, cols), mode="bilinear")[:, 0]
    field = field + 0.3 * torch.randn(b, rows, cols, device=device)
    centre = torch.rand(b, 1, 1, device=device) * (count - 1)
    blobs = (centre + 1.2 * field).round().clamp(0, count - 1).long()
    kind = torch.rand(b, 1, 1, device=device)
    return torch.where(kind < P_ROUTED, routed, torch.where(kind < P_ROUTED + P_CONSTANT, constant, blobs))
