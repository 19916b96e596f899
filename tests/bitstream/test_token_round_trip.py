"""Whatever tokens go in come out, for every ladder, size and model."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dqcodec.bitstream import (
    ABSENT,
    Extra,
    Frame,
    Known,
    Ladder,
    StaticTables,
    Tokens,
    Writer,
    quantise_counts,
    read,
    write,
)
from dqcodec.bitstream.adaptive_map import AdaptiveMap
from tests.bitstream.samples import SIZES, finder, ladders, random_model, random_tokens, same


@settings(deadline=None, max_examples=150)
@given(ladders(), SIZES, SIZES, st.integers(1, 256), st.integers(0, 2**32 - 1), st.data())
def test_tokens_survive_the_round_trip(ladder, width, height, scale, seed, data):
    rng = np.random.default_rng(seed)
    model = random_model(rng, ladder)
    top = data.draw(st.integers(0, len(ladder) - 1))
    frame = Frame(width, height, bool(seed % 2), scale)
    tokens = random_tokens(rng, *frame.coded, ladder, top)
    blob = write(tokens, model, frame=frame)
    parsed = read(blob, finder(model))
    assert same(parsed.tokens, tokens)
    assert parsed.header.frame == frame and parsed.problem is None
    assert parsed.steps_in_file == parsed.steps_read == tokens.levels.max() + 1
    upto = data.draw(st.integers(0, len(ladder)))
    coarser = read(blob, finder(model), upto_step=upto)
    assert same(coarser.tokens, tokens.upto(ladder, upto))
    assert write(parsed.tokens, model, frame=parsed.header.frame) == blob


def test_extras_survive_and_keep_one_order():
    rng = np.random.default_rng(0)
    ladder = Ladder((16, 8), (8, 8))
    model = random_model(rng, ladder)
    tokens = random_tokens(rng, 50, 40, ladder, 1)
    extras = [Extra("xmp", b"x"), Extra("alpha", bytes(1000)), Extra("icc", b""), Extra("exif", b"e\0")]
    parsed = read(write(tokens, model, extras=extras), finder(model))
    assert [extra.kind for extra in parsed.extras] == ["icc", "alpha", "exif", "xmp"]
    assert set(parsed.extras) == set(extras)
    with pytest.raises(ValueError, match="one extra of each kind"):
        write(tokens, model, extras=[extras[0], extras[0]])
    with pytest.raises(ValueError, match="none of"):
        Extra("thumbnail", b"")


class AlternatingGroups:
    """A CodeModel as a transformer would be one: several groups, a row of frequencies for each cell that
    depends on codes known before, and all groups computed ahead at the encoder."""

    fingerprint = b"alt."

    def __init__(self, ladder: Ladder):
        self.ladder = ladder
        self.ahead_calls = 0

    def map_model(self):
        return AdaptiveMap()

    def groups(self, step, known):
        return self._groups(step, known.levels)

    def _groups(self, step, levels):
        side = self.ladder.side(step)
        cells = np.flatnonzero(np.kron(levels >= step, np.ones((side, side), bool)))
        return [cells[0::3], cells[1::3], cells[2::3]]

    def _rows(self, step, group, levels, codes):
        cells = self._groups(step, levels)
        before = sum(int(codes.reshape(-1)[c].sum()) for c in cells[:group])
        size = self.ladder.codebook_sizes[step]
        return np.stack([quantise_counts(1 + (np.arange(size) * 7 + before + c) % 11) for c in cells[group]])

    def frequencies(self, step, group, known: Known):
        if not len(self._groups(step, known.levels)[group]):
            return np.zeros((0, self.ladder.codebook_sizes[step]), np.uint32)
        if known.complete is None:
            return self._rows(step, group, known.levels, known.codes[step])
        if not known.scratch or known.scratch.step != step:
            self.ahead_calls += 1
            levels, codes = np.minimum(known.complete.levels, step), known.complete.codes[step]
            known.scratch = Ahead(step, [self._rows(step, g, levels, codes) for g in range(3) if g <= group + 2])
        return known.scratch.rows[group]


class Ahead(NamedTuple):
    step: int
    rows: list

    def fork(self, known):
        return self


def test_a_model_with_dependent_groups_fits_and_may_compute_ahead():
    rng = np.random.default_rng(3)
    ladder = Ladder((16, 16, 8), (9, 5, 3))
    model = AlternatingGroups(ladder)
    tokens = random_tokens(rng, 70, 60, ladder, 2)
    blob = write(tokens, model)
    assert model.ahead_calls == 3
    assert same(read(blob, finder(model)).tokens, tokens)


@settings(deadline=None, max_examples=100)
@given(ladders(), SIZES, SIZES, st.integers(0, 2**32 - 1), st.data())
def test_a_writer_gives_the_same_file_whatever_it_wrote_before(ladder, width, height, seed, data):
    rng = np.random.default_rng(seed)
    model = random_model(rng, ladder)
    finest = random_tokens(rng, width, height, ladder, len(ladder) - 1)
    writer = Writer(model)
    for _ in range(5):
        # Of the same codes as deep as a level map goes, which agrees with the last one's first steps or does not.
        agree = data.draw(st.integers(0, len(ladder) - 1))
        levels = np.minimum(finest.levels, data.draw(st.integers(0, len(ladder) - 1)))
        other = rng.integers(0, 2, levels.shape).astype(np.uint8)
        levels = np.where(levels > agree, levels - other, levels).astype(np.uint8)
        tokens = Tokens(width, height, levels, tuple(
            np.where(np.kron(levels >= s, np.ones((ladder.side(s),) * 2, bool)), grid, ABSENT).astype(np.int32)
            for s, grid in enumerate(finest.codes)))
        assert writer.write(tokens) == write(tokens, model)
    assert writer.write(finest) == write(finest, model)


def test_a_writer_codes_only_the_steps_that_differ():
    rng = np.random.default_rng(3)
    ladder = Ladder((16, 16, 8), (9, 5, 3))
    model = AlternatingGroups(ladder)
    writer = Writer(model)
    tokens = random_tokens(rng, 70, 60, ladder, 2)
    levels = np.where(tokens.levels == 2, 1, tokens.levels).astype(np.uint8)
    shallow = Tokens(70, 60, levels, (*tokens.codes[:2], np.full_like(tokens.codes[2], ABSENT)))
    calls = []
    for each in (tokens, tokens, shallow, tokens, random_tokens(rng, 70, 60, ladder, 2)):
        assert writer.write(each) == write(each, AlternatingGroups(ladder))
        calls.append(model.ahead_calls)
    assert calls == [3, 3, 3, 4, 7]


def test_tokens_that_do_not_fit_are_refused():
    rng = np.random.default_rng(1)
    ladder = Ladder((16,), (8,))
    tokens = random_tokens(rng, 50, 40, Ladder((16,), (9,)), 0)
    tokens.codes[0][0, 0] = 8
    with pytest.raises(ValueError, match="code outside"):
        write(tokens, random_model(rng, ladder))


def test_static_tables_refuse_tables_that_break_the_rules():
    ladder = Ladder((16,), (2,))
    for table in ([65536, 0], [1, 1], [65535, 1, 0]):
        with pytest.raises(ValueError):
            StaticTables(ladder, b"test", (np.array(table, np.uint32),))
    model = StaticTables(ladder, b"test", (np.array([49152, 16384], np.uint32),))
    np.testing.assert_allclose(model.bits(0), [np.log2(4 / 3), 2])
