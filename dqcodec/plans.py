"""Plans of a picture for what is wanted: its bytes, its level maps, by estimate alone."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from dqcodec import rate
from dqcodec.networks import Analysis


class Plans:
    """Plans of a picture, made when asked for: of the ladder's steps alone, and of the whole with detail as one more.

    measures: costs and distortions (L, rows, cols) of the ladder's steps. detail_bits: of a region's detail, None for
    none. about: bytes of the file, roughly, or None for what `quality`, 1..100, makes of it.
    """

    def __init__(self, analysis: Analysis, measures: tuple[np.ndarray, np.ndarray], detail_bits: float | None,
                 about: int | None, quality: int):
        self._analysis, self._measures, self._detail_bits = analysis, measures, detail_bits
        self._about, self._quality = about, quality

    @functools.cached_property
    def ladder(self) -> rate.Plan:
        return rate.plan(self._analysis, *self._measures)

    @functools.cached_property
    def _whole(self) -> rate.Plan:
        if self._detail_bits is None:
            return self.ladder
        return rate.plan(self._analysis, *rate.detail_step(*self._measures, self._detail_bits))

    @property
    def bytes(self) -> float:
        """Of the file."""
        return rate.bytes_for_quality(self._whole, self._quality) if self._about is None else self._about

    @functools.cached_property
    def levels(self) -> np.ndarray:
        """Level map (rows, cols) uint8 of the file, with detail as one more than `last`."""
        if self._about is None:
            return rate.levels_for_quality(self._whole, self._quality)
        return rate.levels_near(self._whole, self._about)

    @property
    def ladder_levels(self) -> np.ndarray:
        """The same without detail."""
        return np.minimum(self.levels, np.uint8(self.last))

    @property
    def last(self) -> int:
        """The last level of the ladder."""
        return len(self._analysis.codes) - 1

    def slope(self, more: Callable[[float], float]) -> float:
        """What a bit of the file is worth, if that has more(slope) bytes beside the ladder's."""
        if self._about is None:
            return rate.slope_for_quality(self._quality)
        return rate.slope_for_size(self.ladder, self._about, more)
