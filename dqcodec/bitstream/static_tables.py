"""One frequency table per ladder step, the same for all images: the simplest CodeModel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dqcodec.bitstream.adaptive_map import AdaptiveMap
from dqcodec.bitstream.code_model import Known
from dqcodec.bitstream.frequencies import TOTAL_BITS, check_frequencies
from dqcodec.bitstream.header import FINGERPRINT_BYTES, MAX_STEPS
from dqcodec.bitstream.tokens import Ladder

MAX_CODES = 4096


@dataclass(frozen=True)
class StaticTables:
    """Codes as independent draws from the table of their step; cells in raster order.

    ladder: at most 15 steps. fingerprint: 4 bytes that files carry.
    tables: per step (K,) uint32 with K = ladder.codebook_sizes[step] <= 4096, each entry >= 1, sum
        2**16 (see frequencies.quantise_counts). Raises ValueError if they are not.
    """

    ladder: Ladder
    fingerprint: bytes
    tables: tuple[np.ndarray, ...]

    def __post_init__(self):
        if len(self.ladder) > MAX_STEPS or len(self.fingerprint) != FINGERPRINT_BYTES:
            raise ValueError(f"at most {MAX_STEPS} steps and {FINGERPRINT_BYTES} bytes of fingerprint")
        sizes = tuple(len(table) for table in self.tables)
        if sizes != self.ladder.codebook_sizes or max(sizes) > MAX_CODES:
            raise ValueError(f"tables of {sizes} codes for codebooks of {self.ladder.codebook_sizes}")
        for table in self.tables:
            check_frequencies(table[None])

    def map_model(self) -> AdaptiveMap:
        """Map bits adapt to the image and need no table."""
        return AdaptiveMap()

    def groups(self, step: int, known: Known) -> list[np.ndarray]:
        """All cells of regions with level >= step, in raster order, as one group."""
        side = self.ladder.side(step)
        return [np.flatnonzero(np.kron(known.levels >= step, np.ones((side, side), bool)))]

    def frequencies(self, step: int, group: int, known: Known) -> np.ndarray:
        """The table of `step`, (1, K) uint32."""
        return self.tables[step][None]

    def bits(self, step: int) -> np.ndarray:
        """Cost of each code of `step` in bits, (K,) float64."""
        return TOTAL_BITS - np.log2(self.tables[step].astype(np.float64))
