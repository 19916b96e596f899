"""Screen content: text, line art, screenshots and flat graphics, told from photographs by their pixels.

The codec was trained on photographs and codes the former badly (docs/reliability.md). Video encoders look for
the same thing, blocks of few levels and high contrast, before they switch their screen tools on (libaom's
av1_set_screen_content_options); noise and blur leave a photograph hardly any such block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIDE = 16  # pixels of a block
OFFSET = 8  # of the first block, so that edges on multiples of 16, common in graphics, fall inside blocks
MOST_BLOCKS = 4096  # looked at, about; of larger pictures every n-th row and column of them
ACTIVE = 32  # levels of luma between the darkest and the lightest pixel of a block that is not smooth
LEAST_SHARE = 0.02  # screen blocks among all blocks, below which there is nothing to speak of
WARNING = ("looks like text, line art or flat graphics, which the codec, made for photographs, codes badly; "
           "use PNG, lossless WebP or AVIF for it, or check the decoded picture")


@dataclass(frozen=True)
class Criterion:
    """A block is screen content if `pixels` of its 256 lie within `spread` levels of luma and its contrast is
    at least `contrast`; a picture is if such blocks are at least the share `threshold` of its active blocks."""

    pixels: int
    spread: int
    contrast: int
    threshold: float


# Drawn by a program and never compressed with losses; and after JPEG or WebP, which ripples the paper.
CRITERIA = (Criterion(77, 0, 64, 0.35), Criterion(103, 6, 96, 0.75))


def screen_score(pixels: np.ndarray) -> float:
    """How much pixels (H, W, 3) uint8 look like screen content: from 1 on they do, 0 is not at all.

    The largest ratio of a criterion's share of blocks to its threshold. Pictures with a side under 24 pixels
    score 0. Takes about 2 ms for any size.

    >>> import numpy as np
    >>> page = np.full((96, 96, 3), 255, np.uint8)
    >>> page[::12, 10:80] = 0
    >>> screen_score(page) >= 1, screen_score(np.full((96, 96, 3), 99, np.uint8))
    (True, 0.0)
    """
    rows, cols = ((length - OFFSET) // SIDE for length in pixels.shape[:2])
    if rows < 1 or cols < 1:
        return 0.0
    area = pixels[OFFSET : OFFSET + rows * SIDE, OFFSET : OFFSET + cols * SIDE]
    step = int(np.ceil(np.sqrt(rows * cols / MOST_BLOCKS)))
    blocks = area.reshape(rows, SIDE, cols, SIDE, 3)[::step, :, ::step].astype(np.uint16)  # (R, 16, C, 16, 3)
    luma = ((77 * blocks[..., 0] + 150 * blocks[..., 1] + 29 * blocks[..., 2]) >> 8).astype(np.uint8)
    ranked = np.sort(luma.swapaxes(1, 2).reshape(-1, SIDE * SIDE), axis=1, kind="stable")  # (N, 256)
    contrast = ranked[:, -1] - ranked[:, 0]
    score = 0.0
    for c in CRITERIA:
        screen = ((ranked[:, c.pixels - 1 :] - ranked[:, : 1 - c.pixels]) <= c.spread).any(1) & (contrast >= c.contrast)
        if screen.mean() >= LEAST_SHARE:
            score = max(score, float(screen.sum() / (contrast >= ACTIVE).sum()) / c.threshold)
    return score


def is_screen_content(pixels: np.ndarray) -> bool:
    """Whether most of what stands out in pixels (H, W, 3) uint8 is text, lines or flat graphics."""
    return screen_score(pixels) >= 1
