"""Rate control: which regions go up the ladder for a given size or quality.

Every region's levels lie on a curve (bits, predicted distortion). Its lower convex hull gives
increments, each with a slope, distortion saved per bit; taking increments in the order of falling
slope is the Lagrangian optimum for every rate at once (Shoham & Gersho 1988). A rate is then a
prefix of that one list, and a finer prefix always contains the coarser.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dqcodec.bitstream.static_tables import StaticTables
from dqcodec.bitstream.tokens import ABSENT, Tokens
from dqcodec.errors import RateError
from dqcodec.networks import Analysis

MAP_BIT = 0.6  # cost of a map bit after context modelling, a rough mean; only ranks increments
TOLERANCE = 0.02  # a target is met within this share from below
FILL_TRIES = 24
# Slopes (distortion of a region per bit) at quality 1 and 100, geometric between.
SLOPE_AT_1, SLOPE_AT_100 = 8e-3, 2.5e-4


@dataclass(frozen=True)
class Plan:
    """All rates of one image. Increments in the order in which they are taken:
    region (N,) flat index, level (N,) to which it rises, slope (N,), bits (N,) estimated."""

    analysis: Analysis
    region: np.ndarray
    level: np.ndarray
    slope: np.ndarray
    bits: np.ndarray

    def levels(self, count: int) -> np.ndarray:
        """Level map (rows, cols) uint8 after the first `count` increments."""
        rows, cols = self.analysis.distortion.shape[1:]
        levels = np.zeros(rows * cols, np.uint8)
        # Increments of one region come in rising order, so the last assignment wins.
        levels[self.region[:count]] = self.level[:count]
        return levels.reshape(rows, cols)

    def tokens(self, levels: np.ndarray) -> Tokens:
        """Tokens of the image at a level map."""
        codes = []
        for step, grid in enumerate(self.analysis.codes):
            side = grid.shape[0] // levels.shape[0]
            present = np.kron(levels >= step, np.ones((side, side), bool))
            codes.append(np.where(present, grid, ABSENT).astype(np.int32))
        return Tokens(self.analysis.width, self.analysis.height, levels, tuple(codes))


def plan(analysis: Analysis, tables: StaticTables) -> Plan:
    """Order all increments of an image by the distortion they save per bit."""
    count, rows, cols = analysis.distortion.shape
    regions = rows * cols
    cost = np.zeros((count, regions))
    for step, grid in enumerate(analysis.codes):
        side = grid.shape[0] // rows
        bits = tables.bits(step)[grid].reshape(rows, side, cols, side).sum((1, 3)).reshape(-1)
        cost[step] = bits + MAP_BIT
    cost = cost.cumsum(0)  # (L, N) bits of a region up to each level
    distortion = analysis.distortion.reshape(count, regions)
    current = np.zeros(regions, int)
    everyone = np.arange(regions)
    found: list[tuple[np.ndarray, ...]] = []
    for _ in range(count - 1):
        rise = cost - cost[current, everyone]
        save = distortion[current, everyone] - distortion
        above = np.arange(count)[:, None] > current
        slope = np.where(above, save / np.where(above, rise, 1), -np.inf)
        best = slope.argmax(0)
        active = everyone[current < count - 1]
        target = best[active]
        found.append((active, target, slope[target, active], rise[target, active]))
        current[active] = target
    if not found:
        empty = np.empty(0, int)
        return Plan(analysis, empty, empty.astype(np.uint8), empty.astype(float), empty.astype(float))
    region, level, slope, bits = (np.concatenate(column) for column in zip(*found, strict=True))
    # Stable: increments of one region stay in rising order also where slopes tie.
    order = np.argsort(-slope, kind="stable")
    return Plan(analysis, region[order], level[order].astype(np.uint8), slope[order], bits[order])


def levels_for_quality(plan: Plan, quality: int) -> np.ndarray:
    """Level map of quality 1..100: every increment worth its bits at the quality's slope."""
    slope = SLOPE_AT_1 * (SLOPE_AT_100 / SLOPE_AT_1) ** ((quality - 1) / 99)
    count = len(plan.slope) if quality == 100 else int(np.searchsorted(-plan.slope, -slope, side="right"))
    return plan.levels(count)


def levels_for_size(plan: Plan, target: int, size_of: Callable[[np.ndarray], int]) -> np.ndarray:
    """Level map whose file has at most `target` bytes, as close as the increments allow.

    size_of(levels) gives the bytes of the real file. Raises RateError with the reachable range if
    the coarsest file is larger than `target`, or the finest smaller by more than TOLERANCE.
    """
    total = len(plan.region)
    smallest, largest = size_of(plan.levels(0)), size_of(plan.levels(total))
    if smallest > target or largest < target * (1 - TOLERANCE):
        pixels = plan.analysis.width * plan.analysis.height
        raise RateError(
            f"{target} bytes ({8 * target / pixels:.4f} bpp) is out of reach for this image: the model gives "
            f"{smallest} to {largest} bytes ({8 * smallest / pixels:.4f} to {8 * largest / pixels:.4f} bpp)"
        )
    if largest <= target:
        return plan.levels(total)
    estimate = np.concatenate([[0], plan.bits.cumsum()]) / 8
    low, low_size, high, high_size = 0, smallest, total, largest  # size(low) <= target < size(high)
    while high - low > 1 and low_size < target - 1:
        # Interpolate by the estimated bytes, which are nearly proportional to the real ones.
        share = (target - low_size) / (high_size - low_size)
        middle = int(np.searchsorted(estimate, estimate[low] + share * (estimate[high] - estimate[low])))
        middle = min(max(middle, low + 1), high - 1)
        size = size_of(plan.levels(middle))
        if size <= target:
            low, low_size = middle, size
        else:
            high, high_size = middle, size
        if low_size >= target * (1 - TOLERANCE / 8):
            break
    return _fill(plan, plan.levels(low), low, low_size, target, size_of)


def _fill(plan: Plan, levels: np.ndarray, count: int, size: int, target: int,
          size_of: Callable[[np.ndarray], int]) -> np.ndarray:
    """Spend what is left below the tolerance on later increments that still fit."""
    tries = 0
    while size < target * (1 - TOLERANCE / 2) and count < len(plan.region) and tries < FILL_TRIES:
        room = 8 * (target - size)
        fits = np.flatnonzero(plan.bits[count:] <= room)
        if not fits.size:
            break
        count += int(fits[0])
        region, level = plan.region[count], plan.level[count]
        count += 1
        trial = levels.copy().reshape(-1)
        # An increment may rest on one that was skipped; its bits would not be what the plan says.
        if not _is_next(plan, count - 1, trial):
            continue
        trial[region] = level
        trial = trial.reshape(levels.shape)
        tries += 1
        trial_size = size_of(trial)
        if trial_size <= target:
            levels, size = trial, trial_size
    return levels


def _is_next(plan: Plan, index: int, levels: np.ndarray) -> bool:
    """Whether increment `index` starts from the level that its region has now."""
    before = np.flatnonzero(plan.region[:index] == plan.region[index])
    start = plan.level[before[-1]] if before.size else 0
    return levels[plan.region[index]] == start
