"""Fixtures for all tests: sample pictures, a small model, and the shared data where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("OMP_NUM_THREADS", "1")  # pytest-xdist: two processes of two threads crawl on two cores

SHARED = Path(__file__).resolve().parents[1] / ".." / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with Kodak, training pictures and metric weights; absent outside the team's machines."""
    if not (SHARED / "data").is_dir():
        pytest.skip("../shared is not here; this test needs its images or weights")
    return SHARED


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """A photograph of 451x300 pixels (neither a multiple of 16) that ships with scikit-image."""
    from skimage import data

    return Image.fromarray(data.chelsea())


def synthetic(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture (H, W, 3) uint8 with smooth and busy parts."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    base = 120 + 80 * np.sin(x / 23) * np.cos(y / 31)
    noise = rng.normal(0, 30, (height, width)) * (x > width / 2)
    return np.stack([base + noise, base, 255 - base], -1).clip(0, 255).astype(np.uint8)
