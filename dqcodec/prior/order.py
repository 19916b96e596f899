"""In which order the cells of a grain are coded."""

from __future__ import annotations

import numpy as np

from dqcodec.prior.config import PriorConfig

# Ordered-dither matrix (Bayer 1973): every prefix of its numbers is spread evenly over the plane, so
# the cells of a late group have known neighbours on all sides.
BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])


def group_count(config: PriorConfig, step: int) -> int:
    """Number of groups of `step`."""
    if config.order == "raster":
        return (config.tile * config.ladder.side(step)) ** 2
    return config.groups[step]


def group_of(config: PriorConfig, step: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Group (n,) of the cells at rows y and columns x (n,) of the step's grid."""
    if config.order == "raster":
        side = config.tile * config.ladder.side(step)
        return (y % side) * side + x % side
    return BAYER[y % 4, x % 4] * config.groups[step] // 16
