"""Pictures coded at less than their size.

A photograph that is soft at its own size, as most are that come straight from a camera, has little to lose by being
reduced before it is coded, and a reader enlarges it again: each code then says something of more pixels, and the
networks see pictures as sharp as those that they were trained with. The same is known of block codecs at low rates
(Lin & Dong 2006, "Adaptive downsampling to improve image compression at low bit rates"), and of AV1's superres.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from dqcodec.bitstream import WHOLE, Frame

SCALES = (230, 205, 182, 154, 128, 108, 91, 64)  # in 256ths
# The most that reducing may lose, as a share of the squared error of luma that coding at the whole size makes, up to
# SHARE_BPP bits per pixel; beyond, it falls as the rate grows. Chosen on validation pictures as they are and enlarged
# (docs/experiments.md, section 2).
SHARE, SHARE_BPP = 0.006, 0.05
MOST_JUDGED = 2**20  # pixels
WINDOW = 256  # pixels
LEAST_SIDE = 64  # pixels: below that the regions that stand over the edges eat the gain


def reduced(pixels: np.ndarray, frame: Frame) -> np.ndarray:
    """Pixels (H, W, 3) uint8 of the picture that is coded."""
    return _resized(pixels, frame.coded)


def enlarged(pixels: np.ndarray, frame: Frame) -> np.ndarray:
    """Pixels (H, W, 3) uint8 of the picture that is delivered."""
    return _resized(pixels, (frame.width, frame.height))


def sample(pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """A part of pixels (H, W, 3) uint8 to choose a scale by, and its share of them: everything up to MOST_JUDGED, of
    larger pictures up to 16 windows from all over, put together."""
    height, width = pixels.shape[:2]
    if height * width <= MOST_JUDGED:
        return pixels, 1.0
    down = min(4, max(1, height // WINDOW))
    across = min(16 // down, max(1, width // WINDOW))
    down = min(16 // across, max(1, height // WINDOW))
    tall, wide = min(WINDOW, height), min(WINDOW, width)
    tops = np.linspace(0, height - tall, down).astype(int)
    lefts = np.linspace(0, width - wide, across).astype(int)
    windows = [np.concatenate([pixels[top : top + tall, left : left + wide] for left in lefts], 1) for top in tops]
    found = np.concatenate(windows)
    return found, found.shape[0] * found.shape[1] / (height * width)


def chosen(pixels: np.ndarray, shown: np.ndarray, bpp: float) -> int:
    """The scale in 256ths at which pixels (H, W, 3) uint8 are best coded, given what coding at their own size with
    `bpp` bits per pixel shows.

    Of a picture or its `sample`.
    """
    luma = Image.fromarray(pixels).convert("L")
    most = _squared_error(luma, Image.fromarray(shown).convert("L")) * SHARE * SHARE_BPP / max(SHARE_BPP, bpp)
    best = WHOLE
    for scale in SCALES:
        frame = Frame(*luma.size, scale=scale)
        if not _large_enough(frame):
            break
        back = luma.resize(frame.coded, Image.Resampling.LANCZOS).resize(luma.size, Image.Resampling.LANCZOS)
        if _squared_error(luma, back) > most:
            break
        best = scale
    return best


def others(frame: Frame, scale: int, part: float) -> list[int]:
    """The scales to try next where `scale` gives no file of the wanted bytes, nearest first.

    part: the wanted bytes over those of the smallest file at `scale`, if that is too large, or of the largest one, if
    that is too small. Bytes fall more slowly than pixels, so scales with more pixels than that are left out, but for
    the last.
    """
    ladder = [s for s in (WHOLE, *SCALES) if s == WHOLE or _large_enough(replace(frame, scale=s))]
    if part >= 1:
        return [s for s in reversed(ladder) if s > scale]
    smaller = [s for s in ladder if s < scale]
    return [s for s in smaller if (s / scale) ** 2 <= part] or smaller[-1:]


def _large_enough(frame: Frame) -> bool:
    return min(frame.coded) >= LEAST_SIDE


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if pixels.shape[1::-1] == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def _squared_error(a: Image.Image, b: Image.Image) -> float:
    return float(np.square(np.subtract(a, b, dtype=np.float32)).mean())
