"""Adaptation to the image at hand: codes that it has used more often than the prior expected get likelier.

A tile's attention ends at the tile, but an image has a palette. So each step counts its codes as they become
known, beside what the prior expected of them, and adds rate * ln(counted / expected), both smoothed by a
weight, to the logits of the batches to come. The counts are integers, and so is the logarithm: encoder and decoder
agree. docs/FORMAT.md, section 10.
"""

from __future__ import annotations

import numpy as np

from dqcodec.bitstream.frequencies import TOTAL

LN2 = 45426  # round(2**16 ln 2)
MOST = 128  # of a bias, in 1/32 nat: 4 nats


def log_table() -> np.ndarray:
    """round(2**16 ln(1 + i / 256)) for i = 0..255, (256,) uint32; a model file carries it."""
    return np.round(65536 * np.log1p(np.arange(256) / 256)).astype(np.uint32)


def unbias_table() -> np.ndarray:
    """round(2**16 exp(-b / 32)) for b = -128..128, (257,) uint32; a model file carries it."""
    return np.round(65536 * np.exp(-np.arange(-MOST, MOST + 1) / 32)).astype(np.uint32)


class Logarithm:
    """Natural logarithm of integers 1 <= x < 2**53 in units of 2**-16, exact as the format defines it."""

    def __init__(self, table: np.ndarray):
        self.table = table.astype(np.int64)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """x: int64 of any shape -> int64."""
        mantissa, exponent = np.frexp(x.astype(np.float64))  # x = mantissa * 2**exponent, mantissa in [0.5, 1)
        place = (mantissa * 512).astype(np.int64) - 256  # the 8 bits after the leading one
        return (exponent.astype(np.int64) - 1) * LN2 + self.table[place]


class CodeAdaptation:
    """Counts of one step of one image. size: codes of the step; tables: of the model."""

    def __init__(self, size: int, rate: int, weight: int, log: np.ndarray, unbias: np.ndarray):
        self.rate, self.weight, self.log, self.unbias = rate, weight, Logarithm(log), unbias.astype(np.int64)
        self.counted = np.zeros(size, np.int64)
        self.expected = np.zeros(size, np.int64)  # in 1/65536
        self.bias = np.zeros(size, np.int64)

    def next_bias(self) -> np.ndarray:
        """What to add to the logits (n, K) of the next batch: (K,) int64 in 1/32 nat."""
        gap = self.log(TOTAL * self.counted + self.weight) - self.log(self.expected + self.weight)
        self.bias = np.clip(gap * self.rate >> 15, -MOST, MOST)
        return self.bias

    def expect(self, frequencies: np.ndarray) -> None:
        """Take in the frequencies (n, K) of the batch just asked for, less the bias in them."""
        self.expected += frequencies.sum(0) * self.unbias[self.bias + MOST] >> 16

    def count(self, codes: np.ndarray) -> None:
        """Take in the codes (n,) of the batch."""
        self.counted += np.bincount(codes, minlength=self.counted.size)


class MapAdaptation:
    """Counts of the map bits of one step of one image: [stays, refines]."""

    def __init__(self, rate: int, weight: int, log: np.ndarray):
        self.rate, self.weight, self.log = rate, weight, Logarithm(log)
        self.counted, self.expected = np.zeros(2, np.int64), np.zeros(2, np.int64)

    def bias(self) -> int:
        """What to add to the logits of the next turn, in 1/32 nat."""
        gap = self.log(TOTAL * self.counted + self.weight) - self.log(self.expected + self.weight)
        return int(np.clip((gap[1] - gap[0]) * self.rate >> 15, -MOST, MOST))

    def expect(self, ones: np.ndarray) -> None:
        """Take in the frequencies (n,) of "refines" that the prior alone gives to the turn's bits."""
        self.expected += (len(ones) * TOTAL - ones.sum(), ones.sum())

    def count(self, bits: np.ndarray) -> None:
        """Take in the bits (n,) of the turn."""
        self.counted += np.bincount(bits, minlength=2)
