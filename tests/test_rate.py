import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dqcodec import rate, size_search
from dqcodec.bitstream import Ladder, StaticTables, quantise_counts, write
from dqcodec.errors import RateError
from dqcodec.networks import Analysis

LADDER = Ladder((16, 16, 8, 4), (64, 64, 64, 64))
TABLES = StaticTables(LADDER, b"test", tuple(quantise_counts(np.arange(1, 65)) for _ in range(4)))


def analysis(rows: int, cols: int, seed: int = 0, flat: bool = False) -> Analysis:
    rng = np.random.default_rng(seed)
    codes = tuple(rng.integers(0, 64, (rows * LADDER.side(s), cols * LADDER.side(s))).astype(np.int32)
                  for s in range(4))
    gains = np.full((4, rows, cols), 0.1) if flat else rng.random((4, rows, cols)) ** 3
    return Analysis(cols * 16 - 5, rows * 16 - 3, codes, gains[::-1].cumsum(0)[::-1].copy())


def sizer(plan):
    return lambda levels: len(write(plan.tokens(levels), TABLES))


def plan_of(found):
    return rate.plan(found, rate.table_costs(found, TABLES))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_increments_rise_in_every_region_and_fall_in_slope(rows, cols, seed):
    plan = plan_of(analysis(rows, cols, seed))
    assert (np.diff(plan.slope) <= 1e-12).all() and (plan.bits > 0).all()
    now = np.zeros(rows * cols, int)
    for region, level in zip(plan.region, plan.level, strict=True):
        assert level > now[region]
        now[region] = level
    assert (now == 3).all()


@pytest.mark.parametrize("flat", [False, True], ids=["varied", "all regions alike"])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9, 1.0])
def test_size_is_met_within_two_percent_from_below(share, flat):
    plan = plan_of(analysis(20, 25, flat=flat))
    size_of = sizer(plan)
    low, high = size_of(plan.levels(0)), size_of(plan.levels(len(plan.region)))
    target = int(low + share * (high - low))
    size = size_of(size_search.levels_for_size(plan, target, size_of))
    assert (1 - size_search.TOLERANCE) * target <= size <= target


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_plan_of_the_last_step_agrees_and_changes_no_other(share):
    plan = plan_of(analysis(12, 15))
    count = int(share * len(plan.region))
    levels = plan.levels(count)
    inner, taken = plan.of_last_step(count)
    assert 0 < taken < len(inner.region)
    assert np.array_equal(inner.levels(taken), levels)
    assert inner.estimate[taken] == pytest.approx(plan.estimate[count])
    for other in (0, len(inner.region)):
        assert np.array_equal(np.minimum(inner.levels(other), 2), np.minimum(levels, 2))
    assert not ((levels == 2) & (inner.levels(len(inner.region)) == 2)).any()


def test_an_estimate_that_is_off_is_made_up_in_the_last_step():
    plan = plan_of(analysis(20, 25))
    size_of = sizer(plan)
    seen = []

    def size(levels):
        seen.append(levels)
        return int(1.1 * size_of(levels)) if levels.any() else size_of(levels)

    target = size_of(plan.levels(len(plan.region) * 3 // 5))
    found = size_search.levels_for_size(plan, target, size)
    assert (1 - size_search.TOLERANCE) * target <= 1.1 * size_of(found) <= target + 1
    assert not seen[0].any() and len(seen) > 2
    for levels in seen[2:]:
        assert np.array_equal(np.minimum(levels, 2), np.minimum(seen[1], 2))


def test_out_of_reach_names_the_nearest():
    plan = plan_of(analysis(4, 4))
    for target, end in ((1, "smallest"), (10**6, "largest")):
        with pytest.raises(RateError, match=rf"its {end} file has \d+"):
            size_search.levels_for_size(plan, target, sizer(plan))


def test_quality_is_monotone_and_nested():
    plan = plan_of(analysis(12, 12))
    maps = [rate.levels_for_quality(plan, q) for q in range(1, 101)]
    assert all((a <= b).all() for a, b in zip(maps, maps[1:], strict=False))
    assert (maps[-1] == 3).all()


def test_tokens_of_a_plan_fit_the_ladder():
    plan = plan_of(analysis(5, 6))
    plan.tokens(plan.levels(30)).validate(LADDER)


def test_detail_is_a_step_after_the_last_that_saves_a_share():
    costs, distortion = np.random.default_rng(0).random((2, 3, 4, 5))
    more, less = rate.detail_step(costs, distortion, 140.0)
    assert more.shape == less.shape == (4, 4, 5)
    assert np.array_equal(more[:3], costs) and np.array_equal(less[:3], distortion)
    assert (more[3] == 140 + rate.MAP_BIT).all() and np.allclose(less[3], (1 - rate.DETAIL_GAIN) * distortion[2])
