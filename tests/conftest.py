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


@pytest.fixture(scope="session")
def analysed(photo):
    """A picture whose sides are no multiples of 16, its analysis by the default model, and a level map with all
    levels."""
    import torch

    from dqcodec import networks
    from dqcodec.weights import load

    pixels = np.asarray(photo)[60:190, 90:260]
    analysis = networks.analyse(load().vae, pixels, torch.device("cpu"))
    rows, cols = analysis.distortion.shape[1:]
    return pixels, analysis, (np.add.outer(np.arange(rows), np.arange(cols)) // 3 % 3).astype(np.uint8)


def synthetic(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture (H, W, 3) uint8 with smooth and busy parts."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    base = 120 + 80 * np.sin(x / 23) * np.cos(y / 31)
    noise = rng.normal(0, 30, (height, width)) * (x > width / 2)
    return np.stack([base + noise, base, 255 - base], -1).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def metric_folder(tmp_path_factory) -> Path:
    """A folder of weights for LpipsVgg that see something, though nobody trained them."""
    import torch
    from safetensors.torch import save_file

    from dqcodec.models.perceptual import BLOCKS, LINEAR_FILE, VGG_FILE

    folder = tmp_path_factory.mktemp("metrics")
    draw = torch.Generator().manual_seed(0)
    weights, linear, cin = {}, {}, 3
    for i, block in enumerate(BLOCKS):
        for layer, cout in block:
            weight = torch.randn(cout, cin, 3, 3, generator=draw) * (2 / (9 * cin)) ** 0.5
            weights |= {f"features.{layer}.weight": weight.half(), f"features.{layer}.bias": torch.zeros(cout).half()}
            cin = cout
        linear[f"lin{i}.model.1.weight"] = torch.rand(1, cin, 1, 1, generator=draw)
    save_file(weights, folder / VGG_FILE)
    save_file(linear, folder / LINEAR_FILE)
    return folder
