"""What crosses the wall between the networks and the bitstream: a ladder and the tokens on it.

A *ladder* is the list of steps by which a region (16x16 px) may be refined; every step adds
`(region / factor)**2` codes to the region and codes what the steps below it left. A region at
*level* l carries the steps 0..l, so any prefix of the ladder is a complete, coarser picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ABSENT = -1


@dataclass(frozen=True)
class Ladder:
    """Steps of refinement, coarse to fine.

    factors: downsampling factor in pixels of each step's grain, not increasing, e.g. (16, 16, 16, 8, 4).
    codebook_sizes: number of codes of each step's codebook.
    region: side of a region in pixels; equals factors[0].
    """

    factors: tuple[int, ...]
    codebook_sizes: tuple[int, ...]
    region: int = 16

    def __post_init__(self):
        if len(self.factors) != len(self.codebook_sizes) or not self.factors:
            raise ValueError("a ladder needs one codebook size for each factor")
        if self.factors[0] != self.region or any(self.region % f for f in self.factors):
            raise ValueError(f"factors {self.factors} must start at and divide the region {self.region}")
        if list(self.factors) != sorted(self.factors, reverse=True):
            raise ValueError(f"factors {self.factors} must go from coarse to fine")

    def __len__(self) -> int:
        return len(self.factors)

    def side(self, step: int) -> int:
        """Codes along one side of a region at `step`."""
        return self.region // self.factors[step]

    def grid(self, width: int, height: int) -> tuple[int, int]:
        """Regions (rows, columns) that cover an image of width x height pixels."""
        return -(-height // self.region), -(-width // self.region)

    def codes_at(self, level: int) -> int:
        """Codes that a region at `level` carries in all."""
        return sum(self.side(s) ** 2 for s in range(level + 1))

    def last_step_of_grain(self, grain: str) -> int:
        """Highest step of the grain "coarse", "medium" or "fine" (1st, 2nd, last distinct factor)."""
        distinct = sorted(set(self.factors), reverse=True)
        index = {"coarse": 0, "medium": min(1, len(distinct) - 1), "fine": len(distinct) - 1}[grain]
        return max(s for s, f in enumerate(self.factors) if f == distinct[index])


@dataclass(frozen=True)
class Tokens:
    """Grain map and codes of one image.

    width, height: true image size in pixels (the grids cover it, rounded up to whole regions).
    levels: (rows, cols) uint8, level of each region, 0 = coarsest step only.
    codes: per step an int32 grid (rows * side, cols * side); ABSENT (-1) where the region's
        level is below the step.
    """

    width: int
    height: int
    levels: np.ndarray
    codes: tuple[np.ndarray, ...]

    def present(self, ladder: Ladder, step: int) -> np.ndarray:
        """Boolean grid (rows * side, cols * side) of the cells that carry a code at `step`."""
        side = ladder.side(step)
        return np.kron(self.levels >= step, np.ones((side, side), bool))

    def validate(self, ladder: Ladder) -> None:
        """Raise ValueError unless shapes, levels and code ranges agree with `ladder`."""
        if self.width < 1 or self.height < 1:
            raise ValueError(f"image size {self.width}x{self.height} is empty")
        if self.levels.shape != ladder.grid(self.width, self.height) or self.levels.dtype != np.uint8:
            raise ValueError(f"level map {self.levels.shape} does not fit {self.width}x{self.height}")
        if self.levels.max(initial=0) >= len(ladder) or len(self.codes) != len(ladder):
            raise ValueError("levels or codes go beyond the ladder")
        for step, codes in enumerate(self.codes):
            present = self.present(ladder, step)
            if codes.shape != present.shape or codes.dtype != np.int32:
                raise ValueError(f"step {step}: code grid {codes.shape} {codes.dtype} does not fit")
            if (codes[~present] != ABSENT).any():
                raise ValueError(f"step {step}: codes outside refined regions")
            inside = codes[present]
            if inside.size and (inside.min() < 0 or inside.max() >= ladder.codebook_sizes[step]):
                raise ValueError(f"step {step}: code outside 0..{ladder.codebook_sizes[step] - 1}")

    def upto(self, ladder: Ladder, step: int) -> Tokens:
        """The coarser picture that keeps only steps 0..`step`."""
        codes = tuple(c if s <= step else np.full_like(c, ABSENT) for s, c in enumerate(self.codes))
        return Tokens(self.width, self.height, np.minimum(self.levels, step).astype(np.uint8), codes)
