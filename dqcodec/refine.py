"""Codes refined by gradient: `--effort search`.

The encoder says in one pass what to send, for pictures in general; latents moved for this very picture say it better
(the amortisation gap, Cremer et al. 2018; for compression Campos et al. 2019, Yang et al. 2020). The loss of training,
L1 + LPIPS-VGG of the decoded picture, is differentiated through the decoder and, straight through the choice of codes
(Bengio et al. 2013), to the latents, which move against it. LPIPS sees the picture at its size and at half of it: codes
that please VGG at two sizes please other measures more (docs/experiments.md, section 2). Networks, format and decoder
stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dqcodec import networks
from dqcodec.models.dqvae import DQVAE
from dqcodec.models.ladder import expand
from dqcodec.models.perceptual import LpipsVgg
from dqcodec.models.precision import autocast
from dqcodec.networks import Analysis
from dqcodec.tiles import Tile, tiles

STEPS = 8
# The length of the first of STEPS, as a part of the codebooks' root mean square, and the power of their number by which
# more are shorter: chosen on validation pictures (docs/experiments.md, section 2).
FIRST, SHORTER = 0.075, 1 / 3
LAST = 0.2  # of that length, towards the end
MOMENTUM = 0.6
EVEN = 0.5  # a cell moves as its gradient to the power of 1 - EVEN: 0 moves some far, 1 those too that do not matter
# Pixels: gradients take some 4 kB each, so larger pictures are refined in tiles one after the other, each with HALO
# pixels of what is already chosen around it.
WHOLE, TILE, HALO = 1 << 19, 512, 48
LEAST = 16  # pixels that VGG pools to one


def length(steps: int) -> float:
    """Of the first of so many steps, as a part of the codebooks' root mean square."""
    return FIRST * (STEPS / max(steps, 1)) ** SHORTER


@dataclass(frozen=True)
class Search:
    """How codes are searched for.

    metric: what they shall please, besides L1. steps: of the gradient, 0 or more. progress: is told the share of the
    work, 0..1, that is done.
    """

    metric: LpipsVgg
    steps: int = STEPS
    progress: Callable[[float], None] = lambda share: None


def refined(vae: DQVAE, search: Search, pixels: np.ndarray, analysis: Analysis, levels: np.ndarray,
            device: torch.device, whole: int = WHOLE, tile: int = TILE) -> Analysis:
    """The analysis of pixels (H, W, 3) uint8 with latents and codes moved so that a file of about `levels` (rows, cols)
    uint8 looks more like the picture.

    vae: with the decoder that will show the file, frozen from here on.
    """
    vae.requires_grad_(False)
    latents = tuple(y.copy() for y in analysis.latents)
    parts = list(tiles(*levels.shape, vae.ladder.region, HALO, whole, tile))
    for i, t in enumerate(parts):
        x = networks.padded(pixels, t, vae.ladder.region, device)
        part = replace(search, progress=lambda share, i=i: search.progress((i + share) / len(parts)))
        _refine(vae, part, x, latents, levels, t)
    return replace(analysis, latents=latents, codes=networks.quantise(vae, latents, device))


def _refine(vae: DQVAE, search: Search, x: Tensor, latents: tuple[np.ndarray, ...], levels: np.ndarray,
            t: Tile) -> None:
    """Move the latents of a tile's own regions, in place. x: (1, 3, h, w) in [-1, 1], the tile with its halo."""
    metric, steps = search.metric, search.steps
    rows, cols = slice(t.outer_top, t.outer_bottom), slice(t.outer_left, t.outer_right)
    outer = torch.from_numpy(levels[rows, cols].astype(np.int64)).to(x.device)[None]  # (1, Hr, Wr)
    own = torch.zeros_like(outer, dtype=torch.bool)
    own[:, t.top - t.outer_top : t.bottom - t.outer_top, t.left - t.outer_left : t.right - t.outer_left] = True
    start, free = {}, {}
    for grain, factor in enumerate(vae.config.grains):
        side = vae.ladder.region // factor
        part = (slice(None), *(slice(s.start * side, s.stop * side) for s in (rows, cols)))
        start[factor] = torch.from_numpy(latents[grain][part]).to(x.device)[None]  # (1, D, h, w)
        free[factor] = expand(own, side)[:, None]
    unit = {factor: float(book.embedding.square().mean().sqrt())  # of the last step of each grain
            for factor, book in zip(vae.ladder.factors, vae.quantizer.codebooks, strict=True)}
    moves = {factor: torch.zeros_like(y, requires_grad=True) for factor, y in start.items()}
    speed: dict[int, Tensor] = {}
    best, least = None, float("inf")
    with torch.no_grad(), autocast(x.device):
        wanted = [metric.features(view) for view in _views(x)]
    for step in range(steps + 1):
        with torch.enable_grad(), autocast(x.device):
            y = {factor: start[factor] + unit[factor] * free[factor] * moves[factor] for factor in start}
            values = vae.quantizer.values(vae.quantizer(y).partial, y, outer)
            shown = vae.decoder(values, outer, (t.outer_top, t.outer_left)).float().clamp(-1, 1)
            gaps = [metric.distance(metric.features(view), features).mean()
                    for view, features in zip(_views(shown), wanted, strict=True)]
            loss = (shown - x).abs().mean() + torch.stack(gaps).mean()
        if float(loss.detach()) < least:
            best, least = {factor: v.detach() for factor, v in y.items()}, float(loss.detach())
        if step < steps:
            far = length(steps) * (1 - (1 - LAST) * step / steps)
            loss.backward()
            for factor, move in moves.items():
                way = _way(move.grad)
                speed[factor] = way if step == 0 else torch.lerp(way, speed[factor], MOMENTUM)
                move.data -= far * speed[factor]
                move.grad = None
        search.progress((step + 1) / (steps + 1))
    if best is not None:  # else no loss was a number
        networks.put_latents(vae, latents, best, t)


def _views(x: Tensor) -> list[Tensor]:
    """What LPIPS sees of pictures x (1, 3, h, w): them, and them at half their size where VGG can pool that."""
    return [x, F.avg_pool2d(x, 2)] if min(x.shape[-2:]) >= 2 * LEAST else [x]


def _way(slope: Tensor) -> Tensor:
    """How far each cell of a grain goes by its gradient (1, D, h, w), strong ones farther, but less than in proportion;
    with a root mean square of 1 over the cells that have any."""
    strength = slope.square().mean(1, keepdim=True).sqrt()  # (1, 1, h, w)
    way = slope / strength.clamp_min(1e-20).pow(EVEN)
    moving = (strength > 0).sum().clamp_min(1) * slope.shape[1]
    return way / (way.square().sum() / moving).sqrt().clamp_min(1e-20)
