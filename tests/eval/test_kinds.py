import doctest

import numpy as np
import pytest

from dqcodec.eval import kinds


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_kinds_are_drawn_the_same_every_time_at_any_size(kind):
    picture = kinds.draw(kind, 200, 120)
    assert picture.shape == (120, 200, 3) and picture.dtype == np.uint8
    assert np.array_equal(picture, kinds.draw(kind, 200, 120))


def test_docstring_example_runs():
    assert doctest.testmod(kinds).failed == 0
