"""Budget of codes: the training loss, and exact counts for evaluation. Both hold for every image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dqcodec.errors import RateError
from dqcodec.models.paper.config import PaperConfig


def budget_loss(gates: Tensor, ratios: Sequence[float], gamma: float) -> Tensor:
    """gamma * sum over finer grains of (rho - r)^2, where rho is one image's share of regions.

    gates: (B, G, Hr, Wr) one-hot in value. ratios: the wanted share r of each grain but the coarsest.
    Returns the scalar mean over images of the images' own deviations. The mean is taken last on
    purpose: the deviation of a batch mean would let one image spend what another saves.
    """
    shares = gates[:, 1:].mean(dim=(2, 3))  # (B, G - 1)
    deviation = shares - shares.new_tensor(ratios)
    return gamma * deviation.square().sum(dim=1).mean()


def levels_for_ratios(logits: Tensor, ratios: Sequence[float]) -> Tensor:
    """The grain map that has exactly round(r * regions) regions of each finer grain in each image.

    logits: (B, G, Hr, Wr). ratios: share of every grain but the coarsest, coarse to fine, in [0, 1].
    The finest grain chooses first, by the margin of its logit over the best coarser one; then the
    next among what is left. Returns int64 (B, Hr, Wr). Raises RateError for impossible ratios.
    """
    grains = logits.shape[1]
    if len(ratios) != grains - 1:
        raise RateError(f"{len(ratios)} ratios for {grains} grains: give one for each grain but the coarsest")
    if any(not 0 <= ratio <= 1 for ratio in ratios) or sum(ratios) > 1 + 1e-6:
        raise RateError(f"ratios {tuple(ratios)} must be shares in 0..1 that sum to at most 1")
    flat = logits.flatten(2)  # (B, G, R)
    regions = flat.shape[2]
    levels = flat.new_zeros(flat.shape[0], regions, dtype=torch.int64)  # (B, R)
    left = regions
    for grain in range(grains - 1, 0, -1):
        count = min(round(ratios[grain - 1] * regions), left)
        margin = flat[:, grain] - flat[:, :grain].amax(dim=1)  # (B, R)
        margin = margin.masked_fill(levels > 0, -torch.inf)
        # A stable sort settles ties by raster order, the same on every machine.
        chosen = margin.sort(dim=1, descending=True, stable=True).indices[:, :count]
        levels.scatter_(1, chosen, grain)
        left -= count
    return levels.unflatten(1, logits.shape[2:])


def ratios_for_codes(codes: float, config: PaperConfig) -> tuple[float, ...]:
    """Ratios at which a region carries `codes` codes on average.

    They lie on the path from all coarsest through the trained budget to all finest, so the model is
    used near the mixture that it was trained on. Beyond the ends, the nearer end.
    """
    extra = [count - 1 for count in config.codes_per_region[1:]]
    none, trained = (0.0,) * len(extra), config.budget_ratios
    path = [none, trained, (*none[1:], 1.0)]
    wanted = min(max(codes - 1, 0.0), float(extra[-1]))
    middle = sum(ratio * more for ratio, more in zip(trained, extra, strict=True))
    start, low, high = (0, 0.0, middle) if wanted <= middle else (1, middle, float(extra[-1]))
    t = (wanted - low) / (high - low) if high > low else 0.0
    return tuple(a + t * (b - a) for a, b in zip(path[start], path[start + 1], strict=True))
