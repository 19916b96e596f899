"""Tensors of a model file: safetensors, compressed by xz if its name says so; kernels of the networks in 8 bits."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from dqcodec.errors import UnknownModelError
from dqcodec.weights.few_bits import STEPS, packed, unpacked
from dqcodec.weights.registry import PACKED, opened

ENCODING = ("encoder.", "router.")
NETWORKS = (*ENCODING, "decoder.")
TRAINING_ONLY = ("ema_count", "ema_sum", "updates")  # ends of names: what only a training needs of codebooks
EIGHT_BITS = "int8."  # before the name of a weight that is kept in 8 bits


def read_tensors(path: Path, only: tuple[str, ...] = ("",)) -> dict[str, np.ndarray]:
    """Tensors of a model file by their names; those of 8 bits in float32. only: how the names begin.

    Raises UnknownModelError if the file is broken.
    """
    tensors = {k: v for k, v in read_stored(path).items() if k.removeprefix(EIGHT_BITS).startswith(only)}
    return {k: v for k, v in tensors.items() if not k.startswith(EIGHT_BITS)} | unpacked(tensors, EIGHT_BITS)


def read_stored(path: Path) -> dict[str, np.ndarray]:
    """Tensors of a model file as they are stored. Raises UnknownModelError if the file is broken."""
    try:
        with opened(path) as f:
            return safetensors.load(f.read())
    except (OSError, EOFError, lzma.LZMAError, SafetensorError) as error:
        raise UnknownModelError(f"{path}: broken model file ({str(error).splitlines()[0]})") from error


def write_tensors(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str],
                  steps: int = STEPS) -> None:
    """Write a model file, whole or not at all.

    Kernels of the networks in 8 bits, which does not show (docs/experiments.md, section 4), and the networks' other
    weights in half precision; all else as it is. steps: to both sides of a kernel's 0, at most 127; with fewer than
    127 a packed file is smaller.
    """
    networks = {k: v for k, v in tensors.items() if k.startswith(NETWORKS)}
    kept = {k: v for k, v in tensors.items() if k not in networks}
    kept |= {k: v.astype(np.float16) for k, v in networks.items() if v.ndim == 1}
    kept |= packed({k: v for k, v in networks.items() if v.ndim > 1}, EIGHT_BITS, steps)
    write_stored(path, kept, metadata)


def write_stored(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write a model file of tensors as they are to be stored, whole or not at all."""
    data = safetensors.save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, metadata)
    if path.name.endswith(PACKED):
        data = lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_bytes(data)
    temporary.replace(path)
