import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dqcodec import rate
from tests.plan_samples import LADDER, analysis, plan_of


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
