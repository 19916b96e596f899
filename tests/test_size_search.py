import numpy as np
import pytest

from dqcodec import size_search
from dqcodec.errors import RateError
from tests.plan_samples import analysis, plan_of, sizer


@pytest.mark.parametrize("flat", [False, True], ids=["varied", "all regions alike"])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9, 1.0])
def test_size_is_met_within_two_percent_from_below(share, flat):
    plan = plan_of(analysis(20, 25, flat=flat))
    size_of = sizer(plan)
    low, high = size_of(plan.levels(0)), size_of(plan.levels(len(plan.region)))
    target = int(low + share * (high - low))
    size = size_of(size_search.levels_for_size(plan, target, size_of))
    assert (1 - size_search.TOLERANCE) * target <= size <= target


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
