"""The DQ-VAE on numpy images: pixels to codes and back, in tiles, at the precision the machine likes."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from dqcodec.bitstream.tokens import Tokens
from dqcodec.errors import DqError
from dqcodec.models.detail import PATCH, REGION, Detail
from dqcodec.models.dqvae import DQVAE
from dqcodec.models.precision import autocast
from dqcodec.models.receptive import decoder_radius, encoder_radius
from dqcodec.tiles import TILE, WHOLE, Tile, tiles


@dataclass(frozen=True)
class Analysis:
    """What the encoder found in an image, before any rate is chosen.

    codes: per step an int32 grid (rows * side, cols * side), complete.
    distortion: (L, rows, cols) float64, predicted distortion of each region at each level.
    latents: per grain, coarse to fine, (D, rows * side, cols * side) float32, what the codes stand for.
    """

    width: int
    height: int
    codes: tuple[np.ndarray, ...]
    distortion: np.ndarray
    latents: tuple[np.ndarray, ...] = ()


def pick_device(device: str) -> torch.device:
    """torch device of "auto", "cpu" or "cuda"; raises DqError if there is no such device."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise DqError("--device cuda: this machine has no usable CUDA device; use --device cpu")
    return torch.device(device)


@contextmanager
def _inference(device: torch.device):
    """At the precision the machine likes, for pixels are rounded anyway.

    Codes may differ in rare near-ties between machines; files do not care, they carry the codes.
    """
    with torch.inference_mode(), autocast(device):
        yield


def analyse(vae: DQVAE, pixels: np.ndarray, device: torch.device, whole: int = WHOLE, tile: int = TILE) -> Analysis:
    """Latents, codes and predicted distortions of pixels (H, W, 3) uint8, of any size.

    The right and bottom are padded to whole regions by repeating the last pixels.
    """
    height, width = pixels.shape[:2]
    ladder = vae.ladder
    rows, cols = ladder.grid(width, height)
    found = Analysis(width, height, _code_grids(vae, rows, cols), np.empty((len(ladder), rows, cols)),
                     _latent_grids(vae, rows, cols))
    with _inference(device):
        for t in tiles(rows, cols, ladder.region, encoder_radius(vae.config), whole, tile):
            features, latents = vae.encoder(padded(pixels, t, ladder.region, device))
            q = vae.quantizer(latents)
            _put(found.distortion[None], vae.router(features, q.energy), t, 1)
            _put_codes(vae, found.codes, q.codes, t)
            put_latents(vae, found.latents, latents, t)
    return found


def latents_of(vae: DQVAE, pixels: np.ndarray, device: torch.device, whole: int = WHOLE,
               tile: int = TILE) -> tuple[np.ndarray, ...]:
    """The latents alone of pixels (H, W, 3) uint8, as in an Analysis."""
    region = vae.ladder.region
    rows, cols = vae.ladder.grid(pixels.shape[1], pixels.shape[0])
    found = _latent_grids(vae, rows, cols)
    with _inference(device):
        for t in tiles(rows, cols, region, encoder_radius(vae.config), whole, tile):
            put_latents(vae, found, vae.encoder(padded(pixels, t, region, device))[1], t)
    return found


def quantise(vae: DQVAE, latents: tuple[np.ndarray, ...], device: torch.device, whole: int = WHOLE,
             tile: int = TILE) -> tuple[np.ndarray, ...]:
    """Codes of latents, both as in an Analysis."""
    factors, region = vae.config.grains, vae.ladder.region
    rows, cols = latents[0].shape[1] * factors[0] // region, latents[0].shape[2] * factors[0] // region
    found = _code_grids(vae, rows, cols)
    with _inference(device):
        for t in tiles(rows, cols, region, 0, whole, tile):
            part = {f: torch.from_numpy(y[(slice(None), *_places(t, region // f)[0])]).to(device)[None]
                    for f, y in zip(factors, latents, strict=True)}
            _put_codes(vae, found, vae.quantizer(part).codes, t)
    return found


def _code_grids(vae: DQVAE, rows: int, cols: int) -> tuple[np.ndarray, ...]:
    sides = [vae.ladder.side(step) for step in range(len(vae.ladder))]
    return tuple(np.empty((rows * side, cols * side), np.int32) for side in sides)


def _latent_grids(vae: DQVAE, rows: int, cols: int) -> tuple[np.ndarray, ...]:
    sides = [vae.ladder.region // factor for factor in vae.config.grains]
    return tuple(np.empty((vae.config.code_dim, rows * side, cols * side), np.float32) for side in sides)


def padded(pixels: np.ndarray, t: Tile, region: int, device: torch.device) -> torch.Tensor:
    """What a tile with its halo covers of pixels (H, W, 3) uint8, as (1, 3, h, w) in [-1, 1]."""
    part = pixels[t.outer_top * region : t.outer_bottom * region, t.outer_left * region : t.outer_right * region]
    missing = ((t.outer_bottom - t.outer_top) * region - part.shape[0],
               (t.outer_right - t.outer_left) * region - part.shape[1])
    part = np.pad(part, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    x = torch.from_numpy(part).to(device).permute(2, 0, 1)[None].float() / 127.5 - 1
    return x.contiguous(memory_format=torch.channels_last)


def _places(t: Tile, side: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a tile's own cells lie in the whole grid, and where in the tile with its halo; `side` cells a region."""
    return ((slice(t.top * side, t.bottom * side), slice(t.left * side, t.right * side)),
            (slice((t.top - t.outer_top) * side, (t.bottom - t.outer_top) * side),
             slice((t.left - t.outer_left) * side, (t.right - t.outer_left) * side)))


def _put(grid: np.ndarray, values: torch.Tensor, t: Tile, side: int) -> None:
    """Put a tile's own cells of values (..., h, w) into grid (..., H, W)."""
    place, inner = _places(t, side)
    grid[(..., *place)] = values[(..., *inner)].float().cpu().numpy()


def _put_codes(vae: DQVAE, grids: tuple[np.ndarray, ...], codes: list[torch.Tensor], t: Tile) -> None:
    for step, (grid, values) in enumerate(zip(grids, codes, strict=True)):
        _put(grid, values[0], t, vae.ladder.side(step))


def put_latents(vae: DQVAE, grids: tuple[np.ndarray, ...], latents: dict[int, torch.Tensor], t: Tile) -> None:
    for grid, factor in zip(grids, vae.config.grains, strict=True):
        _put(grid, latents[factor][0], t, vae.ladder.region // factor)


def synthesise(vae: DQVAE, tokens: Tokens, device: torch.device, whole: int = WHOLE, tile: int = TILE) -> np.ndarray:
    """Pixels (H, W, 3) uint8 of tokens."""
    ladder = vae.ladder
    region = ladder.region
    rows, cols = tokens.levels.shape
    out = np.empty((tokens.height, tokens.width, 3), np.uint8)
    with _inference(device):
        for t in tiles(rows, cols, region, decoder_radius(vae.config), whole, tile):
            outer = (slice(t.outer_top, t.outer_bottom), slice(t.outer_left, t.outer_right))
            levels = torch.from_numpy(tokens.levels[outer].astype(np.int64)).to(device)[None]
            codes = []
            for step, grid in enumerate(tokens.codes):
                side = ladder.side(step)
                part = grid[tuple(slice(o.start * side, o.stop * side) for o in outer)]
                codes.append(torch.from_numpy(part.astype(np.int64)).to(device)[None])
            values = vae.quantizer.lookup(codes, levels)
            _put_pixels(out, vae.decoder(values, levels, (t.outer_top, t.outer_left))[0], t, region)
    return out


def detail_codes(detail: Detail, pixels: np.ndarray, shown: np.ndarray, device: torch.device, whole: int = WHOLE,
                 tile: int = TILE) -> np.ndarray:
    """Codes (rows * 4, cols * 4) int32 of what `shown` lacks of pixels, both (H, W, 3) uint8, in all regions."""
    rows, cols = (-(-side // REGION) for side in pixels.shape[:2])
    found = np.empty((rows * REGION // PATCH, cols * REGION // PATCH), np.int32)
    with _inference(device):
        for t in tiles(rows, cols, REGION, 0, whole, tile):
            codes = detail.quantise(padded(pixels, t, REGION, device), padded(shown, t, REGION, device))
            _put(found, codes[0], t, REGION // PATCH)
    return found


def with_detail(detail: Detail, shown: np.ndarray, codes: np.ndarray, device: torch.device, whole: int = WHOLE,
                tile: int = TILE) -> np.ndarray:
    """Pixels (H, W, 3) uint8: `shown` with detail of codes (rows * 4, cols * 4) int32, ABSENT where there is none."""
    side = REGION // PATCH
    rows, cols = codes.shape[0] // side, codes.shape[1] // side
    out = np.empty_like(shown)
    with _inference(device):
        for t in tiles(rows, cols, REGION, detail.radius, whole, tile):
            outer = (slice(t.outer_top * side, t.outer_bottom * side), slice(t.outer_left * side, t.outer_right * side))
            part = torch.from_numpy(codes[outer].astype(np.int64)).to(device)[None]
            present = (part >= 0)[:, None].float()
            image = detail.add(padded(shown, t, REGION, device), detail.lookup(part), present)[0]
            _put_pixels(out, image, t, REGION)
    return out


def _put_pixels(out: np.ndarray, image: torch.Tensor, t: Tile, region: int) -> None:
    """Put a tile's own pixels of image (3, h, w) in [-1, 1] into out (H, W, 3) uint8."""
    inner = image[:, (t.top - t.outer_top) * region : (t.bottom - t.outer_top) * region,
                  (t.left - t.outer_left) * region : (t.right - t.outer_left) * region]
    inner = ((inner.float() + 1) * 127.5).round_().clamp_(0, 255).byte().permute(1, 2, 0).cpu().numpy()
    place = out[t.top * region : t.bottom * region, t.left * region : t.right * region]
    place[:] = inner[: place.shape[0], : place.shape[1]]
