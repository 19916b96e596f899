import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dqcodec.weights.few_bits import packed, packed_small, unpacked

WEIGHTS = arrays.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 9), st.just(2)),
                        elements=st.floats(-3, 3, width=32))


@given(WEIGHTS)
def test_eight_bits_are_off_by_half_a_step_at_most(weights):
    tensors = packed({"a.w": weights}, "x.")
    found = unpacked(tensors, "x.")["a.w"]
    assert found.shape == weights.shape and tensors["x.a.w.steps"].dtype == np.int8
    step = np.maximum(np.abs(weights).max((1, 2), keepdims=True), 1e-12) / 127
    assert (np.abs(found - weights) <= 0.51 * step).all()


@given(WEIGHTS)
def test_four_bits_err_no_more_than_plain_rounding(weights):
    tensors = packed_small({"a.w": weights}, "x.")
    found = unpacked(tensors, "x.")["a.w"].reshape(weights.shape)
    assert tensors["x.a.w.pairs"].size * 2 == weights.size
    step = np.maximum(np.abs(weights).max((1, 2), keepdims=True), 1e-12) / 7
    plain = np.rint(weights / step).clip(-7, 7) * step
    lost, plainly = (np.square(w - weights).sum((1, 2)) for w in (found, plain))
    assert (lost <= plainly + 1e-5).all()


def test_four_bits_cut_off_rare_large_weights():
    weights = np.random.default_rng(0).normal(size=(4, 600)).astype(np.float32)
    found = unpacked(packed_small({"w": weights}, ""), "")["w"]
    assert np.square(found - weights).mean() < 0.02 * np.square(weights).mean()
    assert np.abs(found).max() < np.abs(weights).max()


def test_a_weight_of_one_column_keeps_eight_bits():
    bias = np.array([0.5, -0.25, 0.1], np.float32)
    found = unpacked(packed_small({"b": bias}, "x."), "x.")["b"]
    assert np.allclose(found, bias, atol=1e-6)
