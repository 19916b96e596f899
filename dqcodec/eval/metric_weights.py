"""Where the weights of the metric networks come from."""

from __future__ import annotations

import os
from pathlib import Path

from dqcodec.errors import DataError

VARIABLE = "DQCODEC_METRIC_WEIGHTS"
ALEXNET = "alexnet_features.safetensors"
VGG16 = "vgg16_features_fp16.safetensors"
LPIPS_LINEAR = "lpips_lin_v0.1_{net}.safetensors"
DISTS = "dists_alpha_beta.safetensors"


def find(folder: Path | None = None) -> Path | None:
    """Folder of metric weights: `folder`, the environment variable, or shared/data/metrics beside the
    working directory or the checkout; None leaves the packages to download theirs.

    Raises DataError if a folder was named and is not there.
    """
    named = folder or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named:
        if not named.is_dir():
            raise DataError(f"{named}: no such folder of metric weights; correct --metric-weights "
                            f"or {VARIABLE}")
        return named
    checkout = Path(__file__).resolve().parents[2]
    for guess in (Path("../shared/data/metrics"), checkout.parent / "shared" / "data" / "metrics"):
        if guess.is_dir():
            return guess
    return None


def load(folder: Path | None, name: str):
    """Tensors of one weight file in float32, or None if the folder does not have it."""
    if folder is None or not (folder / name).is_file():
        return None
    from safetensors.torch import load_file

    try:
        return {key: value.float() for key, value in load_file(folder / name).items()}
    except Exception as error:
        raise DataError(f"{folder / name}: broken weight file ({error})") from error
