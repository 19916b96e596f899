"""Weights in 8 bits: int8 numbers of steps, and the size of a step for each row (output channel)."""

from __future__ import annotations

import numpy as np

STEPS = 127


def packed(weights: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """For each weight (rows, ...) float32 two tensors, prefix + name + ".steps" int8 and ".size" (rows,) float32."""
    found = {}
    for name, value in weights.items():
        rows = value.astype(np.float32).reshape(len(value), -1)
        size = np.maximum(np.abs(rows).max(1), 1e-12).astype(np.float32) / STEPS  # (rows,)
        found[f"{prefix}{name}.size"] = size
        found[f"{prefix}{name}.steps"] = np.rint(rows / size[:, None]).astype(np.int8).reshape(value.shape)
    return found


def unpacked(tensors: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The weights, float32, of those `tensors` that `packed` named with `prefix`; KeyError if one lacks a half."""
    names = {name.removeprefix(prefix).rpartition(".")[0] for name in tensors if name.startswith(prefix)}
    found = {}
    for name in names:
        steps, size = tensors[f"{prefix}{name}.steps"], tensors[f"{prefix}{name}.size"]
        found[name] = steps * size.reshape(-1, *[1] * (steps.ndim - 1))
    return found
