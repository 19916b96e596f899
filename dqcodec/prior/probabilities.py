"""From integer logits to the integer frequencies that the range coder takes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dqcodec.bitstream.frequencies import TOTAL
from dqcodec.prior.fixed_point import EXP_SIZE, LOGIT, MAP_HIGH, MAP_LOW

_ROWS = 128  # taken at once: what is computed for them then stays in the cache


def exp_table() -> np.ndarray:
    """round(2**16 exp(-i / 32)) for i = 0..511, (512,) uint32; a model file carries it, decoders never compute it."""
    return np.round(65536 * np.exp(-np.arange(EXP_SIZE) / 2**LOGIT)).astype(np.uint32)


def map_table() -> np.ndarray:
    """Frequency of a refined region for logits (i - 256) / 32, i = 0..511, (512,) uint32."""
    z = (np.arange(EXP_SIZE) - EXP_SIZE // 2) / 2**LOGIT
    return np.clip(np.round(TOTAL / (1 + np.exp(-z))), MAP_LOW, MAP_HIGH).astype(np.uint32)


def code_frequencies(z: Tensor, table: Tensor) -> np.ndarray:
    """Frequencies (n, K) int64, each >= 1, rows that sum to 2**16, of logits z (n, K), integers in 1/32 nat.

    table: (512,) int32 of `exp_table`. f = 1 + e (2**16 - K) // sum(e); what is left goes to the
    first of the most probable codes.
    """
    n, size = z.shape
    out = np.empty((n, size), np.int64)
    for start in range(0, n, _ROWS):
        part = z[start : start + _ROWS]
        best = part.amax(1, keepdim=True)
        gap = (best - part).clamp_max_(EXP_SIZE - 1).to(torch.int32)
        e = table.index_select(0, gap.flatten()).view(gap.shape).double()
        total = e.sum(1, keepdim=True)
        f = e.mul_(TOTAL - size).div_(total).floor_().add_(1).cpu().numpy()
        # numpy promises the first of equal maxima, which torch does not.
        where = part.cpu().numpy().argmax(1)
        f[np.arange(len(f)), where] += TOTAL - f.sum(1)
        out[start : start + _ROWS] = f
    return out


def map_frequencies(z: Tensor, table: np.ndarray) -> np.ndarray:
    """Frequencies (n,) int64 of "refines" for logits z (n,), integers in 1/32 nat."""
    half = EXP_SIZE // 2
    return table[z.clamp(-half, half - 1).cpu().numpy().astype(np.int64) + half]
