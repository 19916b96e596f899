"""Rate control: which regions go up the ladder, in what order, and how many for a quality.

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
from dqcodec.networks import Analysis

MAP_BIT = 0.6  # cost of a map bit after context modelling, a rough mean; only ranks increments
# Share of the distortion that detail takes away: chosen by benchmarks/detail.py on validation pictures.
DETAIL_GAIN = 0.5
# Slopes (distortion of a region per bit) at quality 1 and 100, geometric between.
SLOPE_AT_1, SLOPE_AT_100 = 8e-3, 2.5e-4


@dataclass(frozen=True)
class Plan:
    """Rates of one image. Increments in the order in which they are taken:
    region (N,) flat index, level (N,) to which it rises, slope (N,), bits (N,) estimated.
    start: levels (rows, cols) uint8 before the first; base: bits of the file of these, estimated."""

    analysis: Analysis
    region: np.ndarray
    level: np.ndarray
    slope: np.ndarray
    bits: np.ndarray
    start: np.ndarray
    base: float

    @property
    def estimate(self) -> np.ndarray:
        """Bytes (N + 1,) of a file after each number of increments, estimated."""
        return np.concatenate([[0], self.bits.cumsum()]) / 8 + self.base / 8

    def levels(self, count: int) -> np.ndarray:
        """Level map (rows, cols) uint8 after the first `count` increments."""
        levels = self.start.flatten()
        # Increments of one region come in rising order, so the last assignment wins.
        levels[self.region[:count]] = self.level[:count]
        return levels.reshape(self.start.shape)

    def levels_at(self, slope: float) -> np.ndarray:
        """Level map of all increments that save at least `slope` for each bit."""
        return self.levels(_count_at(self, slope))

    def tokens(self, levels: np.ndarray) -> Tokens:
        """Tokens of the image at a level map."""
        return tokens_at(self.analysis, levels)

    def of_last_step(self, count: int) -> tuple[Plan, int]:
        """The plan near `count` increments in which only the last step of the ladder differs, so that a file of it is
        soon written again; and how many of its increments make the levels of `count` here."""
        last = len(self.analysis.codes) - 1
        before = np.zeros(len(self.region), np.uint8)  # the level that an increment starts from
        now = self.start.flatten()
        for i, (region, level) in enumerate(zip(self.region, self.level, strict=True)):
            before[i], now[region] = now[region], level
        start = self.levels(count).reshape(-1)
        ours = (self.level == last) & (before == last - 1)
        taken = ours & (np.arange(len(ours)) < count)
        start[self.region[taken]] = last - 1
        ours &= start[self.region] == last - 1
        base = self.base + self.bits[:count].sum() - self.bits[taken].sum()
        parts = (part[ours] for part in (self.region, self.level, self.slope, self.bits))
        return Plan(self.analysis, *parts, start.reshape(self.start.shape), base), int(taken.sum())


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
        found = [(np.empty(0, int), np.empty(0, int), np.empty(0), np.empty(0))]
    region, level, slope, bits = (np.concatenate(column) for column in zip(*found, strict=True))
    # Stable: increments of one region stay in rising order also where slopes tie.
    order = np.argsort(-slope, kind="stable")
    start = np.zeros((rows, cols), np.uint8)
    return Plan(analysis, region[order], level[order].astype(np.uint8), slope[order], bits[order], start, cost[0].sum())


def detail_step(costs: np.ndarray, distortion: np.ndarray, bits: float) -> tuple[np.ndarray, np.ndarray]:
    """Costs and distortions (L + 1, rows, cols) of a ladder's (L, rows, cols) and of detail as one more step.

    bits: of a region's detail.
    """
    last = np.full_like(costs[:1], bits + MAP_BIT)
    return np.concatenate([costs, last]), np.concatenate([distortion, (1 - DETAIL_GAIN) * distortion[-1:]])


def slope_for_size(plan: Plan, target: float, more: Callable[[float], float]) -> float:
    """The slope at which the plan's file and more(slope) bytes make `target` bytes, by the plan alone."""
    low, high = np.log(SLOPE_AT_100 / 100), np.log(10 * SLOPE_AT_1)
    for _ in range(16):
        middle = (low + high) / 2
        slope = float(np.exp(middle))
        over = plan.estimate[_count_at(plan, slope)] + more(slope) > target
        low, high = (middle, high) if over else (low, middle)
    return float(np.exp(high))


def slope_for_quality(quality: int) -> float:
    """What every bit of the file of quality 1..100 is worth, but for 100, which takes all there are."""
    return SLOPE_AT_1 * (SLOPE_AT_100 / SLOPE_AT_1) ** ((quality - 1) / 99)


def levels_for_quality(plan: Plan, quality: int) -> np.ndarray:
    """Level map of quality 1..100: every increment worth its bits at the quality's slope."""
    return plan.levels(_count_for_quality(plan, quality))


def bytes_for_quality(plan: Plan, quality: int) -> float:
    """Bytes of the file of quality 1..100, by the plan alone."""
    return plan.estimate[_count_for_quality(plan, quality)]


def _count_for_quality(plan: Plan, quality: int) -> int:
    return len(plan.slope) if quality == 100 else _count_at(plan, slope_for_quality(quality))


def _count_at(plan: Plan, slope: float) -> int:
    """How many increments save at least `slope` for each bit."""
    return int(np.searchsorted(-plan.slope, -slope, side="right"))


def levels_near(plan: Plan, target: int) -> np.ndarray:
    """Level map whose file has about `target` bytes, by the plan alone."""
    return plan.levels(max(0, int(np.searchsorted(plan.estimate, target, side="right")) - 1))
