"""What an entropy model must offer, and what it is told.

The encoder and the decoder run the same loop (step_coder.py) over one `Known`, which grows as maps and
codes become known. A model gives frequencies for the next batch from what is known, as integers and
equal on both sides to the last unit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dqcodec.bitstream.tokens import ABSENT, Ladder, Tokens


@dataclass
class Known:
    """The part of an image's tokens that has been coded so far.

    width, height: image size in pixels.
    levels: (rows, cols) uint8, min(level, last step whose map bit of the region is known).
    codes: per step an int32 grid (rows * side, cols * side), ABSENT where unknown or not present.
    complete: at the encoder the whole tokens, so that a model may evaluate all groups of a step in one
        masked pass; None at the decoder. The frequencies must be the same either way.
    scratch: whatever the model wants to keep between its calls for this image (cached keys and values,
        frequencies computed ahead); the bitstream only has it forked.
    """

    width: int
    height: int
    levels: np.ndarray
    codes: tuple[np.ndarray, ...]
    complete: Tokens | None = None
    scratch: Scratch | None = None

    @classmethod
    def nothing(cls, width: int, height: int, ladder: Ladder, complete: Tokens | None = None) -> Known:
        """The state before the first step."""
        rows, cols = ladder.grid(width, height)
        sides = [ladder.side(step) for step in range(len(ladder))]
        codes = tuple(np.full((rows * side, cols * side), ABSENT, np.int32) for side in sides)
        return cls(width, height, np.zeros((rows, cols), np.uint8), codes, complete)

    def tokens(self) -> Tokens:
        """What is known, as tokens (complete only between two steps)."""
        return Tokens(self.width, self.height, self.levels, self.codes)

    def fork(self, complete: Tokens) -> Known:
        """What is known after a step, for other tokens `complete` that agree so far.

        The two share what a model adds in later steps: while one goes on, the other must rest.
        """
        codes = tuple(grid.copy() for grid in self.codes)
        other = Known(self.width, self.height, self.levels.copy(), codes, complete)
        if self.scratch is not None:
            other.scratch = self.scratch.fork(other)
        return other


class Scratch(Protocol):
    """What a model keeps for one image."""

    def fork(self, known: Known) -> Scratch:
        """The same for `known`, at the end of a step; see Known.fork."""
        ...


class MapModel(Protocol):
    """Probabilities of the map bits of one image: does a region refine to `step`?

    copy.copy of one after a step is one for other tokens that agree so far.

    For each step >= 1 in order, the regions of level step - 1 (the candidates) are coded in batches;
    bits of one batch are independent given what is known before it.
    """

    def batches(self, step: int, known: Known) -> Iterable[np.ndarray]:
        """Flat indices into the region grid, batch by batch; together each candidate once."""
        ...

    def frequencies(self, step: int, regions: np.ndarray, known: Known) -> np.ndarray:
        """Frequency of "refines", (n,) integers in 1..2**16 - 1, for the batch `regions`, (n,)."""
        ...

    def update(self, step: int, regions: np.ndarray, bits: np.ndarray) -> None:
        """Learn the bits (n,) of the batch just coded."""
        ...


class CodeModel(Protocol):
    """Probabilities of the codes, and the alphabet they come from."""

    ladder: Ladder
    fingerprint: bytes

    def map_model(self) -> MapModel:
        """A fresh map model for one image."""
        ...

    def groups(self, step: int, known: Known) -> list[np.ndarray]:
        """The order in which the cells present at `step` are coded; called once for each step.

        known: with the levels up to this step. Returns flat indices into the step's code grid
        (rows * side, cols * side), group by group; together each present cell once. Cells of one group
        are coded as independent given the groups before it.
        """
        ...

    def frequencies(self, step: int, group: int, known: Known) -> np.ndarray:
        """Integers (n, K), or (1, K) for all alike, each >= 1, rows that sum to 2**16."""
        ...
