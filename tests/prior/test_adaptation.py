"""Frequencies that follow the image at hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dqcodec.bitstream import Tokens, read, write
from dqcodec.prior.adaptation import MOST, CodeAdaptation, Logarithm, MapAdaptation, log_table, unbias_table
from dqcodec.prior.config import PriorConfig
from tests.bitstream.samples import finder, same
from tests.prior.samples import SMALL, model_of, tokens_with

ADAPTING = replace(SMALL, adapt_codes=((16, 65536),) * 3, adapt_maps=(16, 65536))


@given(st.lists(st.integers(1, 2**52), min_size=1, max_size=20))
def test_logarithm_is_that_of_the_format(numbers):
    table = log_table()
    expected = [45426 * (x.bit_length() - 1) + int(table[(x << 8 >> x.bit_length() - 1) - 256]) for x in numbers]
    found = Logarithm(table)(np.array(numbers, np.int64))
    assert found.tolist() == expected
    assert all(abs(y / 65536 - math.log(x)) < 0.0045 for x, y in zip(numbers, expected, strict=True))


def test_a_code_seen_more_often_than_expected_gets_likelier_and_no_other():
    counts = CodeAdaptation(4, 16, 65536, log_table(), unbias_table())
    assert counts.next_bias().tolist() == [0, 0, 0, 0]
    counts.expect(np.full((10, 4), 16384))
    counts.count(np.array([2] * 9 + [0]))
    bias = counts.next_bias()
    # (9 + 1) / (2.5 + 1), (1 + 1) / 3.5 and 1 / 3.5, in 1/32 nat, rounded down
    assert bias.tolist() == pytest.approx([32 * math.log(x / 3.5) for x in (2, 1, 10, 1)], abs=1.2)
    # Expectations are counted without the bias in them.
    before = counts.expected.copy()
    f = np.array([[16384 * math.exp(b / 32) for b in bias]]).astype(np.int64)
    counts.expect(f)
    assert counts.expected - before == pytest.approx(np.full(4, 16384), rel=0.01)


def test_biases_stay_within_their_limit():
    counts = CodeAdaptation(2, 64, 1, log_table(), unbias_table())
    counts.next_bias()
    counts.expect(np.tile([65535, 1], (1000, 1)))
    counts.count(np.ones(1000, np.int64))
    assert counts.next_bias().tolist() == [-MOST, MOST]
    maps = MapAdaptation(64, 1, log_table())
    maps.expect(np.full(100, 65000))
    maps.count(np.zeros(100, np.int64))
    assert maps.bias() == -MOST


def uneven_tokens() -> Tokens:
    """A picture of few codes, all regions refined."""
    tokens = tokens_with(np.random.default_rng(1), 160, 160, SMALL.ladder, np.full((10, 10), 2, np.uint8))
    return replace(tokens, codes=tuple(np.minimum(c, 1) for c in tokens.codes))


def test_an_image_of_few_codes_costs_less():
    plain, adapting, tokens = model_of(SMALL), model_of(ADAPTING), uneven_tokens()
    fixed, adapted = write(tokens, plain), write(tokens, adapting)
    assert len(adapted) < 0.7 * len(fixed)
    assert same(read(adapted, finder(adapting)).tokens, tokens)


def test_settings_are_checked_and_absent_where_there_is_no_adaptation():
    assert not any(key.startswith("adapt") for key in SMALL.to_dict())
    assert PriorConfig.from_dict(ADAPTING.to_dict()) == ADAPTING
    for wrong in ({"adapt_codes": ((16, 1),)}, {"adapt_maps": None}, {"adapt_maps": (65, 1)}, {"adapt_maps": (1, 0)}):
        with pytest.raises(ValueError, match="adapt"):
            replace(ADAPTING, **wrong)


def test_groups_are_asked_for_afresh_for_every_file():
    model, tokens = model_of(ADAPTING), uneven_tokens()
    assert write(tokens, model) == write(tokens, model) == write(tokens, model_of(ADAPTING))
