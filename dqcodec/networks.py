"""The DQ-VAE on numpy images: pixels to codes and back, in tiles, at the precision the machine likes."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from dqcodec.bitstream.tokens import Tokens
from dqcodec.errors import DqError
from dqcodec.models.dqvae import DQVAE
from dqcodec.models.receptive import decoder_radius, encoder_radius
from dqcodec.tiles import TILE, WHOLE, tiles


@dataclass(frozen=True)
class Analysis:
    """What the encoder found in an image, before any rate is chosen.

    codes: per step an int32 grid (rows * side, cols * side), complete.
    distortion: (L, rows, cols) float64, predicted distortion of each region at each level.
    """

    width: int
    height: int
    codes: tuple[np.ndarray, ...]
    distortion: np.ndarray


def pick_device(device: str) -> torch.device:
    """torch device of "auto", "cpu" or "cuda"; raises DqError if there is no such device."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise DqError("--device cuda: this machine has no usable CUDA device; use --device cpu")
    return torch.device(device)


@contextmanager
def _inference(device: torch.device):
    """bfloat16 where the processor computes in it natively: half the time, and pixels are rounded anyway.

    Codes may differ in rare near-ties between machines; files do not care, they carry the codes.
    """
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)  # torch >= 2.6
    fast = device.type == "cuda" or native()
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=fast):
        yield


def analyse(vae: DQVAE, pixels: np.ndarray, device: torch.device, whole: int = WHOLE, tile: int = TILE) -> Analysis:
    """Codes and predicted distortions of pixels (H, W, 3) uint8, of any size.

    The right and bottom are padded to whole regions by repeating the last pixels.
    """
    height, width = pixels.shape[:2]
    ladder = vae.ladder
    rows, cols = ladder.grid(width, height)
    region = ladder.region
    codes = tuple(np.empty((rows * ladder.side(s), cols * ladder.side(s)), np.int32) for s in range(len(ladder)))
    distortion = np.empty((len(ladder), rows, cols))
    with _inference(device):
        for t in tiles(rows, cols, region, encoder_radius(vae.config), whole, tile):
            part = pixels[t.outer_top * region : t.outer_bottom * region,
                          t.outer_left * region : t.outer_right * region]
            missing = ((t.outer_bottom - t.outer_top) * region - part.shape[0],
                       (t.outer_right - t.outer_left) * region - part.shape[1])
            part = np.pad(part, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
            x = torch.from_numpy(part).to(device).permute(2, 0, 1)[None].float() / 127.5 - 1  # (1, 3, h, w)
            _, q, d = vae.analyse(x.contiguous(memory_format=torch.channels_last))
            cut = (slice(t.top - t.outer_top, t.bottom - t.outer_top),
                   slice(t.left - t.outer_left, t.right - t.outer_left))
            distortion[:, t.top : t.bottom, t.left : t.right] = d[0].float().cpu().numpy()[:, cut[0], cut[1]]
            for step, grid in enumerate(codes):
                side = ladder.side(step)
                inner = tuple(slice(c.start * side, c.stop * side) for c in cut)
                place = (slice(t.top * side, t.bottom * side), slice(t.left * side, t.right * side))
                grid[place] = q.codes[step][0].cpu().numpy()[inner]
    return Analysis(width, height, codes, distortion)


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
            image = vae.decoder(values, levels, (t.outer_top, t.outer_left))[0]  # (3, h, w)
            inner = image[:, (t.top - t.outer_top) * region : (t.bottom - t.outer_top) * region,
                          (t.left - t.outer_left) * region : (t.right - t.outer_left) * region]
            inner = ((inner.float() + 1) * 127.5).round_().clamp_(0, 255).byte().permute(1, 2, 0).cpu().numpy()
            place = out[t.top * region : t.bottom * region, t.left * region : t.right * region]
            place[:] = inner[: place.shape[0], : place.shape[1]]
    return out
