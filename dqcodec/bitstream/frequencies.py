"""Integer frequencies: what an entropy model hands to the range coder.

A frequency table of K symbols is K integers >= 1 that sum to 2**TOTAL_BITS. Integers, because one
differing bit in a probability destroys the rest of a file.
"""

from __future__ import annotations

import numpy as np

TOTAL_BITS = 16
TOTAL = 1 << TOTAL_BITS
_MAX_COUNT_SUM = 2**46


def quantise_counts(counts: np.ndarray, total_bits: int = TOTAL_BITS) -> np.ndarray:
    """Turn counts into frequencies, in integers only, so that every machine gets the same table.

    Symbols whose share is below one unit get exactly 1; the rest is shared among the others in
    proportion to their counts, rounded by largest remainder (ties: the lower symbol first).

    counts: (K,) integers >= 0 with 1 <= K <= 2**total_bits, sum below 2**46; all zero means uniform.
    Returns (K,) uint32, each >= 1, sum 2**total_bits. Raises ValueError otherwise.
    """
    counts = np.asarray(counts)
    if counts.ndim != 1 or not 1 <= counts.size <= 1 << total_bits:
        raise ValueError(f"counts of shape {counts.shape} do not make a table of {total_bits} bits")
    if not np.issubdtype(counts.dtype, np.integer) or counts.min() < 0:
        raise ValueError("counts must be integers >= 0")
    counts = counts.astype(np.int64)
    if counts.astype(np.float64).sum() >= _MAX_COUNT_SUM or total_bits > 16:
        raise ValueError("counts must sum to less than 2**46, tables have at most 16 bits")
    if not counts.any():
        counts = np.ones_like(counts)
    shared = np.ones(counts.size, bool)
    while True:
        units = (1 << total_bits) - int((~shared).sum())
        weight = int(counts[shared].sum())
        small = shared & (counts * units < weight)
        if not small.any():
            break
        shared &= ~small
    table = np.ones(counts.size, np.int64)
    table[shared] = counts[shared] * units // weight
    remainder = np.where(shared, counts * units % weight, -1)
    left = (1 << total_bits) - int(table.sum())
    table[np.argsort(-remainder, kind="stable")[:left]] += 1
    return table.astype(np.uint32)


def check_frequencies(frequencies: np.ndarray) -> None:
    """Raise ValueError unless every row of (n, K) holds integers >= 1 that sum to 2**TOTAL_BITS."""
    if frequencies.ndim != 2 or not np.issubdtype(frequencies.dtype, np.integer):
        raise ValueError(f"frequencies are {frequencies.shape} {frequencies.dtype}, not integer rows")
    if frequencies.min(initial=1) < 1 or (frequencies.sum(axis=1, dtype=np.int64) != TOTAL).any():
        raise ValueError(f"a row of frequencies has an entry below 1 or does not sum to {TOTAL}")
