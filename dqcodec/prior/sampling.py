"""From integer logits and random words to symbols: integers only, so a seed gives the same tokens everywhere.

docs/generation.md specifies every step. The four settings that people know as real numbers become integers
once, here: temperature in 1/64, guidance in 1/16, top-p in 1/65536, detail in 1/32 nat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dqcodec.bitstream.frequencies import TOTAL
from dqcodec.errors import GenerateError
from dqcodec.prior.config import ORDERS
from dqcodec.prior.fixed_point import EXP_SIZE, LOGIT

TEMPERATURE, GUIDANCE, TOP_P, DETAIL = 64, 16, 65536, 2**LOGIT  # units of one
TOP_TEMPERATURE, TOP_GUIDANCE, TOP_DETAIL = 8, 16, 16
_GAP = 2**16  # gaps beyond this weigh nothing at any temperature
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


@dataclass(frozen=True)
class Sampling:
    """How symbols are chosen.

    temperature: (0, 8], of the codes; below 1 the likelier codes gain. top_k: the k likeliest codes only, None
    for all. top_p: the likeliest codes that make up this share (0, 1] of what top_k leaves. guidance: 0..16,
    1 for none: how far to go from the logits without a class to those with it, and beyond (classifier-free
    guidance, Ho & Salimans 2022). detail: -16..16 nats, added to the log-odds that a region is refined.
    order: "groups", in which files are coded and the model was mostly trained, or "raster", cell after cell.
    Raises GenerateError for other values.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    guidance: float = 1.0
    detail: float = 0.0
    order: str = "groups"

    def __post_init__(self):
        if not 1 / TEMPERATURE <= self.temperature <= TOP_TEMPERATURE:
            raise GenerateError(
                f"temperature {self.temperature} is outside 1/{TEMPERATURE}..{TOP_TEMPERATURE}; "
                "for the likeliest code each time use top-k 1"
            )
        if self.top_k is not None and self.top_k < 1:
            raise GenerateError(f"top-k {self.top_k} must be at least 1")
        if not 0 < self.top_p <= 1:
            raise GenerateError(f"top-p {self.top_p} is outside (0, 1]")
        if not 0 <= self.guidance <= TOP_GUIDANCE:
            raise GenerateError(f"guidance {self.guidance} is outside 0..{TOP_GUIDANCE}")
        if not -TOP_DETAIL <= self.detail <= TOP_DETAIL:
            raise GenerateError(f"detail {self.detail} is outside -{TOP_DETAIL}..{TOP_DETAIL}")
        if self.order not in ORDERS:
            raise GenerateError(f"order {self.order!r} is none of {', '.join(ORDERS)}")

    @property
    def temperature_64(self) -> int:
        return round(self.temperature * TEMPERATURE)

    @property
    def guidance_16(self) -> int:
        return round(self.guidance * GUIDANCE)

    @property
    def top_p_65536(self) -> int:
        return max(1, round(self.top_p * TOP_P))

    @property
    def detail_32(self) -> int:
        return round(self.detail * DETAIL)


def words(seed: int, image: int, stream: int, count: int) -> np.ndarray:
    """The first `count` random words (count,) uint64 of a stream: Philox4x64-10 (Salmon et al. 2011).

    Key (seed, image), counters (1, 0, stream, 0), (2, 0, stream, 0), ..., four words each. One word belongs to
    each cell, so a symbol's chance depends neither on the order of sampling nor on what is sampled beside it.
    """
    key, counter = np.array([seed, image], np.uint64), np.array([0, 0, stream, 0], np.uint64)
    return np.random.Philox(key=key, counter=counter).random_raw(count)


def guide(plain: np.ndarray, labelled: np.ndarray, weight: int) -> np.ndarray:
    """plain + weight (labelled - plain) / 16, rounded down; logits int64 of any shape."""
    return plain + (weight * (labelled - plain) >> 4)


def code_weights(z: np.ndarray, sampling: Sampling, table: np.ndarray) -> np.ndarray:
    """Integer weights (n, K) int64 of the codes for logits z (n, K) int64 in 1/32 nat; table: (512,) of the prior.

    Unlike the frequencies of the coder a weight may be 0: a code that the coder must be able to write
    need not be one to sample.
    """
    gap = np.minimum(z.max(1, keepdims=True) - z, _GAP)
    gap = np.minimum(gap * TEMPERATURE // sampling.temperature_64, EXP_SIZE - 1)
    weight = table[gap]
    k = sampling.top_k if sampling.top_k and sampling.top_k < z.shape[1] else None
    if k is None and sampling.top_p_65536 == TOP_P:
        return weight
    # Stable, so that the lower of two equal codes is the likelier; 16 bits, for numpy's radix sort.
    order = np.argsort(gap.astype(np.uint16), axis=1, kind="stable")
    ranked = np.take_along_axis(weight, order, 1)
    if k is not None:
        ranked[:, k:] = 0
    before = ranked.cumsum(1) - ranked
    ranked[before * TOP_P >= sampling.top_p_65536 * ranked.sum(1, keepdims=True)] = 0
    kept = np.empty_like(weight)
    np.put_along_axis(kept, order, ranked, 1)
    return kept


def choose(weights: np.ndarray, random: np.ndarray) -> np.ndarray:
    """For each row of weights (n, K) int64 the first symbol (n,) int32 whose running sum exceeds word * total >> 64.

    random: words (n,) uint64. Totals are at most 2**32, so that the product of 96 bits fits two of 64.
    """
    running = weights.cumsum(1)
    total = running[:, -1].astype(np.uint64)
    point = ((random >> _HALF) * total + ((random & _LOW) * total >> _HALF)) >> _HALF
    return (running > point.astype(np.int64)[:, None]).argmax(1).astype(np.int32)


def choose_bits(z: np.ndarray, sampling: Sampling, table: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Map bits (n,) uint8 for logits z (n,) int64 in 1/32 nat that regions refine; table: (512,) of the prior."""
    half = EXP_SIZE // 2
    ones = table[np.clip(z + sampling.detail_32, -half, half - 1) + half]  # (n,)
    return choose(np.stack([TOTAL - ones, ones], 1), random).astype(np.uint8)
