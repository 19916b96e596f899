"""Rules that could take the router's place: which regions get the finer grains.

The paper compares its learned router with random choice (section 4.4); an entropy rule and a pattern that is the same
for every picture, a fixed-length code, are further points of comparison.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

POLICIES = ("learned", "random", "entropy", "fixed")
BINS = 32  # grey levels that the entropy rule tells apart
_BAYER = torch.tensor([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], dtype=torch.float32)


def region_scores(policy: str, x: Tensor, region: int) -> Tensor:
    """How much each region of x (B, 3, H, W) in [-1, 1] wants a fine grain: (B, H/region, W/region) float32.

    policy: "random" draws it, "entropy" is the entropy of the region's grey levels, "fixed" an ordered-dither pattern,
    the same for every picture of one size.
    """
    rows, cols = x.shape[2] // region, x.shape[3] // region
    if policy == "random":
        return torch.rand(x.shape[0], rows, cols, device=x.device)
    if policy == "fixed":
        tile = _BAYER.to(x.device).repeat(-(-rows // 4), -(-cols // 4))[:rows, :cols]
        return tile.expand(x.shape[0], rows, cols)
    return _entropy(x, region)


def logits_of(scores: Tensor, grains: int) -> Tensor:
    """Scores (B, Hr, Wr) as the logits (B, G, Hr, Wr) of a router that prefers finer grains for higher scores."""
    return scores[:, None] * torch.arange(grains, device=scores.device, dtype=scores.dtype)[:, None, None]


def _entropy(x: Tensor, region: int) -> Tensor:
    grey = (x.float() * x.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)  # (B, 1, H, W)
    bins = ((grey + 1) / 2 * BINS).long().clamp(0, BINS - 1)[:, 0]  # (B, H, W)
    share = F.avg_pool2d(F.one_hot(bins, BINS).permute(0, 3, 1, 2).float(), region)  # (B, BINS, Hr, Wr)
    return -(share * share.clamp_min(1e-9).log()).sum(1)
