"""Grain: noise of a photograph that no code describes, measured before coding and made anew after decoding.

Sensor noise and film grain cost bits and are the first that a codec loses, yet a picture without them looks, and to
networks that judge pictures is, too smooth. As in AV1's film grain synthesis (Norkin & Birkbeck, "Film Grain Synthesis
for AV1 Video Codec", DCC 2018) a file says how strong the missing grain is, in one byte, and a reader adds some.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from dqcodec.bitstream.frame import GRAIN_UNIT, MOST_GRAIN

# Of the missing grain that is put back: all of it would be no nearer to the picture's own, which it does not match dot
# for dot. Chosen on validation pictures (docs/experiments.md, section 2).
PART = 0.7
LEAST = 4  # sixteenths of a level: less does not survive the rounding to whole levels
BLOCK = 16  # pixels
FLATTEST = 10  # per cent of blocks that show the grain alone
ROWS = 256  # pixels: grain is added to so many rows at a time


def strength(pixels: np.ndarray) -> float:
    """Standard deviation of the luma noise of pixels (H, W, 3) uint8, in levels of 0..255.

    The difference of two Laplacians is blind to what an image consists of (Immerkaer, "Fast Noise Variance Estimation",
    1996); its mean square in the flattest blocks is that of the noise.
    """
    y = np.asarray(Image.fromarray(pixels).convert("L"), np.float32)
    if min(y.shape) < BLOCK + 2:
        return 0.0
    rows = y[:-2] - 2 * y[1:-1] + y[2:]
    both = (rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]) / 6  # (H - 2, W - 2), of white noise as strong as that
    down, across = both.shape[0] // BLOCK, both.shape[1] // BLOCK
    blocks = both[: down * BLOCK, : across * BLOCK].reshape(down, BLOCK, across, BLOCK)
    return float(np.percentile(np.sqrt(np.square(blocks).mean((1, 3))), FLATTEST))


def missing(pixels: np.ndarray, shown: np.ndarray) -> int:
    """The byte for a file that shows `shown` in place of pixels, both (H, W, 3) uint8: 0 for none."""
    gap = max(0.0, strength(pixels) ** 2 - strength(shown) ** 2) ** 0.5
    found = round(gap * PART * GRAIN_UNIT)
    return min(found, MOST_GRAIN) if found >= LEAST else 0


def added(pixels: np.ndarray, grain: int) -> np.ndarray:
    """Pixels (H, W, 3) uint8 with grain, the same each time. grain: a file's byte, or a part of it."""
    if not grain:
        return pixels
    rng = np.random.default_rng(0)
    out = np.empty_like(pixels)
    for top in range(0, len(pixels), ROWS):
        rows = pixels[top : top + ROWS]
        noise = rng.standard_normal(rows.shape[:2], np.float32) * np.float32(grain / GRAIN_UNIT)
        out[top : top + ROWS] = np.rint(rows + noise[..., None]).clip(0, 255)
    return out
