"""The level map for a file of a wanted size, found with few files written."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dqcodec.errors import OutOfReachError
from dqcodec.rate import Plan

TOLERANCE = 0.02  # a target is met within this share from below
ENOUGH = 1 - 0.75 * TOLERANCE  # a file this near its target is not tried again: with a prior a try takes a while
AMID = 1 - 0.375 * TOLERANCE  # of the target, what tries aim at: amid what is near enough
FILL_TRIES = 24
MOST = 0.8  # of the last step's bytes at hand: a correction by more is left to all steps


def levels_for_size(plan: Plan, target: int, size_of: Callable[[np.ndarray], int]) -> np.ndarray:
    """Level map whose file has at most `target` bytes, and at least 1 - TOLERANCE of them.

    size_of(levels) gives the bytes of the real file. With a prior it takes a while, so few are asked, after that of the
    coarsest picture, which is soon written and in whose bytes pictures differ most from the plan: the plan's estimate
    is corrected by the files seen so far, and what a first try is off by is made up in the last step alone where
    that can be done. Raises OutOfReachError if the coarsest file is larger than `target`, or the finest smaller by more
    than TOLERANCE.
    """
    search = _Search(plan, target, size_of)
    search.size(0)
    if search.room and not search.found:
        count = search.guess()
        search.size(count)
        inner = search.of_last_step(count)
        if inner is not None and inner.run():
            return inner.plan.levels(inner.low)
    search.run()
    low, total = search.low, len(plan.region)
    if low < 0 or search.seen[low] < target * (1 - TOLERANCE) and low == total:
        raise OutOfReachError(target, search.size(0 if low < 0 else total))
    return _fill(plan, plan.levels(low), low, search.seen[low], target, size_of)


class _Search:
    """The search for the number of a plan's increments whose file has a little less than `target` bytes.

    seen: bytes of real files by number of increments. low, high: seen[low] <= target < seen[high], as far as is known.
    steep: bytes of a file for each estimated one, where two files have not shown it.
    """

    def __init__(self, plan: Plan, target: int, size_of: Callable[[np.ndarray], int], steep: float = 1.0):
        self.plan, self.target, self._size_of, self._steep = plan, target, size_of, steep
        self._estimate = plan.estimate
        self._goal = target * AMID
        self.seen: dict[int, int] = {}
        self.low, self.high = -1, len(plan.region) + 1

    @property
    def room(self) -> bool:
        """Whether a number between low and high is left."""
        return self.high - self.low > 1

    @property
    def found(self) -> bool:
        """Whether the file at `low` cannot or need not be larger."""
        return self.low >= 0 and (self.seen[self.low] >= self.target * ENOUGH or self.low == len(self.plan.region))

    def size(self, count: int) -> int:
        """Bytes of the file of the first `count` increments."""
        if count not in self.seen:
            self.learn(count, self._size_of(self.plan.levels(count)))
        return self.seen[count]

    def learn(self, count: int, size: int) -> None:
        """Take in that this file has `size` bytes."""
        self.seen[count] = size
        if size <= self.target:
            self.low = max(self.low, count)
        else:
            self.high = min(self.high, count)

    def guess(self) -> int:
        """The number between low and high to try next. From the file nearest to the goal bytes go on as between the two
        nearest."""
        near, steep = self._nearest()
        wanted = self._estimate[near] + (self._goal - self.seen[near]) / steep
        count = int(np.searchsorted(self._estimate, wanted, side="right")) - 1
        return min(max(count, self.low + 1), self.high - 1)

    def _nearest(self) -> tuple[int, float]:
        near, *others = sorted(self.seen, key=lambda count: abs(self.seen[count] - self._goal))
        steep = self._steep
        if others:
            steep = (self.seen[others[0]] - self.seen[near]) / (self._estimate[others[0]] - self._estimate[near])
        return near, max(steep, 0.25)  # two files of about one size say little

    def run(self) -> bool:
        """Try until a file is near enough or nothing is left to try; returns whether one is."""
        while self.room and not self.found:
            self.size(self.guess())
        return self.found

    def of_last_step(self, count: int) -> _Search | None:
        """A search that goes on from the file of `count` in the last step alone, or None if that cannot do."""
        plan, taken = self.plan.of_last_step(count)
        inner = _Search(plan, self.target, self._size_of, self._nearest()[1])
        inner.learn(taken, self.seen[count])
        missing = (self._goal - self.seen[count]) / inner._steep
        least, here, most = inner._estimate[[0, taken, -1]]
        if not MOST * (least - here) < missing < MOST * (most - here):
            return None
        return inner


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
    start = plan.level[before[-1]] if before.size else plan.start.flat[plan.region[index]]
    return levels[plan.region[index]] == start
