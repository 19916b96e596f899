"""Counts become tables that obey the coder's rules and lose little."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dqcodec.bitstream.frequencies import quantise_counts


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(0, 2**33), min_size=1, max_size=4096), st.integers(12, 16))
def test_table_sums_exactly_and_leaves_no_code_out(counts, bits):
    table = quantise_counts(np.array(counts), bits)
    assert table.dtype == np.uint32 and table.min() >= 1 and int(table.sum()) == 2**bits


@settings(deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=2, max_size=100))
def test_more_frequent_codes_never_get_less(counts):
    counts = np.array(counts)
    table = quantise_counts(counts).astype(int)
    order = np.argsort(counts, kind="stable")
    strictly_more = np.diff(counts[order]) > 0
    assert (np.diff(table[order])[strictly_more] >= 0).all()


def test_cost_above_the_entropy_is_below_a_tenth_of_a_percent():
    counts = 10**9 // np.arange(1, 1025)
    p = counts / counts.sum()
    cost = -(p * np.log2(quantise_counts(counts) / 65536)).sum()
    assert cost < 1.001 * -(p * np.log2(p)).sum()


def test_known_tables():
    assert quantise_counts(np.array([0, 0, 0])).tolist() == [21846, 21845, 21845]
    assert quantise_counts(np.array([1, 0])).tolist() == [65535, 1]
    assert quantise_counts(np.array([10**9, 1, 1]), 12).tolist() == [4094, 1, 1]
    assert quantise_counts(np.array([3, 2, 2]), 4).tolist() == [7, 5, 4]
    assert quantise_counts(np.array([7])).tolist() == [65536]


@pytest.mark.parametrize("counts", [[1.0, 2.0], [-1, 2], [], [2**46, 1], [[1, 1]], [2**62, 2**62, 2**62]])
def test_counts_that_break_the_rules_are_refused(counts):
    with pytest.raises(ValueError):
        quantise_counts(np.array(counts))
