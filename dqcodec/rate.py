"""Rate control: which regions go up the ladder for a given size or quality.

Every region's levels lie on a curve (bits, predicted distortion). Its lower convex hull gives
increments, each with a slope, distortion saved per bit; taking increments in the order of falling
slope is the Lagrangian optimum for every rate at once (Shoham & Gersho 1988). A rate is then a
prefix of that one list, and a finer prefix always contains the coarser.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dqcodec.bitstream.static_tables import StaticTables
from dqcodec.bitstream.tokens import ABSENT, Tokens
from dqcodec.errors import RateError
from dqcodec.networks import Analysis

MAP_BIT = 0.6  # cost of a map bit after context modelling, a rough mean; only ranks increments
TOLERANCE = 0.02  # a target is met within this share from below
ENOUGH = 1 - 0.75 * TOLERANCE  # a file this near its target is not tried again: with a prior a try takes a while
FILL_TRIES = 24
# Slopes (distortion of a region per bit) at quality 1 and 100, geometric between.
SLOPE_AT_1, SLOPE_AT_100 = 8e-3, 2.5e-4


@dataclass(frozen=True)
class Plan:
    """All rates of one image. Increments in the order in which they are taken:
    region (N,) flat index, level (N,) to which it rises, slope (N,), bits (N,) estimated.
    base: bits of the coarsest picture, estimated."""

    analysis: Analysis
    region: np.ndarray
    level: np.ndarray
    slope: np.ndarray
    bits: np.ndarray
    base: float

    @property
    def estimate(self) -> np.ndarray:
        """Bytes (N + 1,) of a file after each number of increments, estimated."""
        return np.concatenate([[0], self.bits.cumsum()]) / 8 + self.base / 8

    def levels(self, count: int) -> np.ndarray:
        """Level map (rows, cols) uint8 after the first `count` increments."""
        rows, cols = self.analysis.distortion.shape[1:]
        levels = np.zeros(rows * cols, np.uint8)
        # Increments of one region come in rising order, so the last assignment wins.
        levels[self.region[:count]] = self.level[:count]
        return levels.reshape(rows, cols)

    def tokens(self, levels: np.ndarray) -> Tokens:
        """Tokens of the image at a level map."""
        return tokens_at(self.analysis, levels)


def tokens_at(analysis: Analysis, levels: np.ndarray) -> Tokens:
    """Tokens of an image at a level map (rows, cols) uint8."""
    codes = []
    for step, grid in enumerate(analysis.codes):
        side = grid.shape[0] // levels.shape[0]
        present = np.kron(levels >= step, np.ones((side, side), bool))
        codes.append(np.where(present, grid, ABSENT).astype(np.int32))
    return Tokens(analysis.width, analysis.height, levels, tuple(codes))


def table_costs(analysis: Analysis, tables: StaticTables, ratio: Sequence[float] = ()) -> np.ndarray:
    """Bits (L, rows, cols) of each step of each region by its codes' frequencies alone.

    ratio: per step, what the model's prior makes of these bits in the mean.
    """
    count, rows, cols = analysis.distortion.shape
    cost = np.zeros((count, rows, cols))
    for step, grid in enumerate(analysis.codes):
        side = grid.shape[0] // rows
        bits = tables.bits(step)[grid].reshape(rows, side, cols, side).sum((1, 3))
        cost[step] = bits * (ratio[step] if ratio else 1) + MAP_BIT
    return cost


def plan(analysis: Analysis, costs: np.ndarray, distortion: np.ndarray | None = None) -> Plan:
    """Order all increments of an image by the distortion they save per bit.

    costs: (L, rows, cols) bits of each step of each region, about. distortion: (L, rows, cols) of each
    region at each level; None for what the router predicts.
    """
    distortion = analysis.distortion if distortion is None else distortion
    count, rows, cols = distortion.shape
    regions = rows * cols
    cost = costs.reshape(count, regions).cumsum(0)  # (L, N) bits of a region up to each level
    distortion = distortion.reshape(count, regions)
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
        return Plan(analysis, empty, empty.astype(np.uint8), empty.astype(float), empty.astype(float), cost[0].sum())
    region, level, slope, bits = (np.concatenate(column) for column in zip(*found, strict=True))
    # Stable: increments of one region stay in rising order also where slopes tie.
    order = np.argsort(-slope, kind="stable")
    return Plan(analysis, region[order], level[order].astype(np.uint8), slope[order], bits[order], cost[0].sum())


def levels_for_quality(plan: Plan, quality: int) -> np.ndarray:
    """Level map of quality 1..100: every increment worth its bits at the quality's slope."""
    slope = SLOPE_AT_1 * (SLOPE_AT_100 / SLOPE_AT_1) ** ((quality - 1) / 99)
    count = len(plan.slope) if quality == 100 else int(np.searchsorted(-plan.slope, -slope, side="right"))
    return plan.levels(count)


def levels_near(plan: Plan, target: int) -> np.ndarray:
    """Level map whose file has about `target` bytes, by the plan alone."""
    return plan.levels(max(0, int(np.searchsorted(plan.estimate, target, side="right")) - 1))


def levels_for_size(plan: Plan, target: int, size_of: Callable[[np.ndarray], int]) -> np.ndarray:
    """Level map whose file has at most `target` bytes, and at least 1 - TOLERANCE of them.

    size_of(levels) gives the bytes of the real file. With a prior it takes a while, so few are asked, after that of the
    coarsest picture, which is soon written and in whose bytes pictures differ most from the plan: the plan's estimate
    is corrected by the files seen so far. Raises RateError with the reachable
    range if the coarsest file is larger than `target`, or the finest smaller by more than TOLERANCE.
    """
    total = len(plan.region)
    estimate = plan.estimate
    seen: dict[int, int] = {}

    def size(count: int) -> int:
        if count not in seen:
            seen[count] = size_of(plan.levels(count))
        return seen[count]

    low, high = -1, total + 1  # size(low) <= target < size(high), as far as is known
    if size(0) <= target:
        low = 0
    else:
        high = 0
    while high - low > 1:
        count = min(max(_guess(estimate, seen, target), low + 1), high - 1)
        if size(count) <= target:
            low = count
            if seen[count] >= target * ENOUGH or count == total:
                break
        else:
            high = count
    if low < 0 or seen[low] < target * (1 - TOLERANCE) and low == total:
        smallest, largest = size(0), size(total)
        pixels = plan.analysis.width * plan.analysis.height
        raise RateError(
            f"{target} bytes ({8 * target / pixels:.4f} bpp) is out of reach for this image: the model gives "
            f"{smallest} to {largest} bytes ({8 * smallest / pixels:.4f} to {8 * largest / pixels:.4f} bpp)"
        )
    return _fill(plan, plan.levels(low), low, seen[low], target, size_of)


def _guess(estimate: np.ndarray, seen: dict[int, int], target: int) -> int:
    """Increments after which a file should come to lie a little below `target` bytes.

    estimate: (N + 1,) bytes by the plan; seen: bytes of real files, that of no increment among them. From the file
    nearest to the goal bytes go on as between the two nearest.
    """
    goal = target * (1 - TOLERANCE * 3 / 8)  # amid what is near enough
    near, *others = sorted(seen, key=lambda count: abs(seen[count] - goal))
    steep = 1.0
    if others:
        steep = (seen[others[0]] - seen[near]) / (estimate[others[0]] - estimate[near])
    steep = max(steep, 0.25)  # two files of about one size say little
    wanted = estimate[near] + (goal - seen[near]) / steep
    return int(np.searchsorted(estimate, wanted, side="right")) - 1


def _fill(plan: Plan, levels: np.ndarray, count: int, size: int, target: int,
          size_of: Callable[[np.ndarray], int]) -> np.ndarray:
    """Spend what is left below the tolerance on later increments that still fit."""
    tries = 0
    while size < target * ENOUGH and count < len(plan.region) and tries < FILL_TRIES:
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
