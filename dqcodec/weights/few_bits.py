"""Weights in few bits: whole numbers of steps, and the size of a step for each row (output channel).

In 8 bits a step is as large as the row's largest weight needs. In 4 bits, two numbers a byte, it is as large as makes
the squared error least, which cuts off a few large weights.
"""

from __future__ import annotations

import numpy as np

STEPS = 127
FEW = 7  # steps of 4 bits, to both sides
_CUTS = np.linspace(0.4, 1.0, 13)  # of the largest weight, tried for 4 bits
_TINY = 1e-12


def steps_of(bits: int) -> int:
    """Steps to both sides of 0 that fit into `bits` bits, 2..8."""
    return 2 ** (bits - 1) - 1


def packed(weights: dict[str, np.ndarray], prefix: str, steps: int = STEPS) -> dict[str, np.ndarray]:
    """For each weight (rows, ...) float32 two tensors, prefix + name + ".steps" int8 and ".size" (rows,) float32.

    steps: of a row's largest weight, at most 127."""
    found = {}
    for name, value in weights.items():
        rows = value.astype(np.float32).reshape(len(value), -1)
        size = np.maximum(np.abs(rows).max(1), _TINY).astype(np.float32) / steps  # (rows,)
        found[f"{prefix}{name}.size"] = size
        found[f"{prefix}{name}.steps"] = np.rint(rows / size[:, None]).astype(np.int8).reshape(value.shape)
    return found


def packed_small(weights: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The same in 4 bits for weights (rows, ...) of an even number of columns: ".pairs" uint8, of the shape of the
    weights with two columns in one, the first in the lower half, each number of steps plus 8; and ".size". Others as
    `packed` does."""
    found = {}
    for name, value in weights.items():
        rows = value.astype(np.float32).reshape(len(value), -1)
        if rows.shape[1] % 2:
            found |= packed({name: value}, prefix)
            continue
        most = np.maximum(np.abs(rows).max(1), _TINY)  # (rows,)
        best, error = most / FEW, np.full(len(rows), np.inf)
        for cut in _CUTS:
            size = cut * most / FEW
            lost = np.square(_whole(rows, size) * size[:, None] - rows).sum(1)
            best, error = np.where(lost < error, size, best), np.minimum(lost, error)
        size = best.astype(np.float32)
        steps = (_whole(rows, size) + 8).astype(np.uint8)
        found[f"{prefix}{name}.size"] = size
        found[f"{prefix}{name}.pairs"] = steps[:, ::2] | steps[:, 1::2] << 4
    return found


def _whole(rows: np.ndarray, size: np.ndarray) -> np.ndarray:
    return np.rint(rows / size[:, None]).clip(-FEW, FEW)


def unpacked(tensors: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The weights, float32, of those `tensors` that `packed` or `packed_small` named with `prefix`, the latter as
    matrices (rows, columns); KeyError if one lacks a half."""
    names = {name.removeprefix(prefix).rpartition(".")[0] for name in tensors if name.startswith(prefix)}
    found = {}
    for name in names:
        size, pairs = tensors[f"{prefix}{name}.size"], tensors.get(f"{prefix}{name}.pairs")
        if pairs is None:
            steps = tensors[f"{prefix}{name}.steps"]
        else:
            steps = np.stack([pairs & 15, pairs >> 4], 2).reshape(len(pairs), -1).astype(np.float32) - 8
        found[name] = steps * size.reshape(-1, *[1] * (steps.ndim - 1))
    return found
