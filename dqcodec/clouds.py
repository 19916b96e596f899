"""Clouds: what a decoded picture is off by over tens of pixels, which shows where the picture is smooth.

No code stands for each exact colour, so in a sky each region is a level or two too bright or too dark, and neighbours
with the same error make a cloud. The closed loop (feedback.py) takes such errors for several times what they are, so
that the codes of a neighbourhood make them good together, as noise shaping does (Spang & Schultheiss 1962).
"""

from __future__ import annotations

import numpy as np
from PIL import Image

CELL = 16  # pixels
# How many times more an error of this kind counts, and the deviation of luma over some 32 pixels, in levels, at which
# that is halved: chosen on validation pictures (docs/experiments.md, section 2).
MORE, SMOOTH = 2.0, 8.0


def exaggerated(shown: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """`shown` with its clouds MORE times stronger than they are; both (H, W, 3) uint8, `pixels` what it should be."""
    clouds = MORE * _smoothness(pixels) * _blurred(_means(shown) - _means(pixels))  # (rows, cols, 3)
    height, width = shown.shape[:2]
    whole = (clouds.shape[1] * CELL, clouds.shape[0] * CELL)
    found = np.empty_like(shown)
    for channel in range(3):
        more = np.asarray(Image.fromarray(clouds[..., channel]).resize(whole, Image.Resampling.BILINEAR))
        np.clip(np.rint(shown[..., channel] + more[:height, :width]), 0, 255, out=found[..., channel], casting="unsafe")
    return found


def _smoothness(pixels: np.ndarray) -> np.ndarray:
    """How smooth pixels (H, W, 3) uint8 are, (rows, cols, 1) float32, 0..1."""
    luma = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    mean, square = _blurred(_means(luma)), _blurred(_means(np.square(luma, dtype=np.uint16)))
    return SMOOTH**2 / (SMOOTH**2 + np.maximum(square - np.square(mean), 0))


def _means(image: np.ndarray) -> np.ndarray:
    """Means (rows, cols, C) float32 over the cells of an image (H, W, C), of what there is of those at the edge."""
    rows, cols = (np.arange(0, side, CELL) for side in image.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(image, rows, 0, dtype=np.int64), cols, 1)
    tall, wide = (np.diff(starts, append=side) for starts, side in zip((rows, cols), image.shape, strict=False))
    return (sums / (tall[:, None] * wide)[..., None]).astype(np.float32)


def _blurred(means: np.ndarray) -> np.ndarray:
    """Means (rows, cols, C) with a quarter from either neighbour along rows and along columns."""
    for axis in (0, 1):
        places = np.arange(means.shape[axis])
        before, after = means.take(places - 1, axis, mode="clip"), means.take(places + 1, axis, mode="clip")
        means = means / 2 + (before + after) / 4
    return means
