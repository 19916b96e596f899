"""Detail comes back as it went in, only from where it may be, and damage to it leaves the picture without."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dqcodec.bitstream import ABSENT, Details, DetailTable, Extra, Ladder, inspect, quantise_counts, read, write
from dqcodec.bitstream.detail import pack, unpack
from dqcodec.errors import DqError, FormatError, UnknownModelError
from tests.bitstream.samples import finder, random_model, random_tokens, same

LADDER = Ladder((16, 8), (8, 4))


def random_details(rng, levels: np.ndarray, size: int, sparse: bool = False, side: int = 4) -> Details:
    """Detail at about half of the places that may have some, in a ladder of two levels."""
    layer = DetailTable(b"more", side, quantise_counts(rng.integers(0, 1000, size)), sparse)
    places = layer.places(levels, 1)
    chosen = places & (rng.random(places.shape) < 0.5)
    present = np.kron(chosen, np.ones((layer.span, layer.span), bool))
    return Details(np.where(present, rng.integers(0, size, present.shape), ABSENT).astype(np.int32), layer)


RNG = np.random.default_rng(3)
MODEL, TOKENS = random_model(RNG, LADDER), random_tokens(RNG, 90, 70, LADDER, 1)
LAST = TOKENS.levels == 1
DETAILS = random_details(RNG, TOKENS.levels, 50)
FILE = write(TOKENS, MODEL, details=DETAILS)
FIND, FIND_DETAIL = finder(MODEL), finder(DETAILS.layer)


@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 2, 300]), st.booleans())
def test_any_detail_comes_back(seed, rows, cols, size, sparse):
    rng = np.random.default_rng(seed)
    details = random_details(rng, (rng.random((rows, cols)) < 0.6).astype(np.uint8), size, sparse)
    places = np.ones((rows * 4, cols * 4), bool) if sparse else np.ones((rows, cols), bool)
    for allowed in (places, (details.codes != ABSENT)[:: details.layer.span, :: details.layer.span]):
        payload = pack(details, allowed)
        assert payload[:4] == b"more"
        assert np.array_equal(unpack(payload, allowed, details.layer).codes, details.codes)


def test_a_file_with_detail_is_of_format_1_2_and_otherwise_as_without():
    plain = write(TOKENS, MODEL)
    layout, without = inspect(FILE), inspect(plain)
    assert layout.header.version == (1, 2) and layout.header.detail and not without.header.detail
    assert [s.name for s in layout.sections] == ["step 0", "step 1", "detail"] and layout.problem is None
    start, end = layout.header_bytes, layout.sections[1].end
    assert FILE[start:end] == plain[without.header_bytes :]


@pytest.mark.parametrize("extras", [(), (Extra("soft", b"\x80"),)])
def test_detail_of_single_patches_makes_a_file_of_format_1_4(extras):
    details = random_details(np.random.default_rng(4), TOKENS.levels, 50, sparse=True)
    data = write(TOKENS, MODEL, extras=extras, details=details)
    assert inspect(data).header.version == (1, 4)
    assert np.array_equal(read(data, FIND, find_detail=finder(details.layer)).details.codes, details.codes)
    present = details.codes != ABSENT
    assert present.any() and not present[np.kron(~LAST, np.ones((4, 4), bool))].any()


@pytest.mark.parametrize(("levels", "last", "expected"), [([[0, 1, 2]], 2, [[0, 1, 1]]), ([[0, 0, 0]], 0, [[1, 1, 1]])])
def test_single_patches_may_have_detail_from_the_second_level_on(levels, last, expected):
    layer = DetailTable(b"more", 2, quantise_counts(np.ones(4, int)), sparse=True)
    places = layer.places(np.array(levels), last)
    assert np.array_equal(places, np.kron(np.array(expected), np.ones((2, 2))) > 0)


def test_detail_is_read_only_with_its_layer_and_up_to_no_step():
    parsed = read(FILE, FIND, find_detail=FIND_DETAIL)
    assert same(parsed.tokens, TOKENS) and np.array_equal(parsed.details.codes, DETAILS.codes)
    assert read(FILE, FIND).details is None and same(read(FILE, FIND).tokens, TOKENS)
    assert read(FILE, FIND, find_detail=FIND_DETAIL, upto_step=1).details is None
    with pytest.raises(UnknownModelError):
        read(FILE, FIND, find_detail=finder(DetailTable(b"else", 4, DETAILS.layer.table)))


@pytest.mark.parametrize("change", [lambda codes: np.where(codes >= 0, 50, codes), lambda codes: codes[:-1],
                                    lambda codes: np.zeros_like(codes), lambda codes: codes.astype(np.int64)])
def test_detail_that_does_not_fit_is_refused(change):
    codes = change(DETAILS.codes)
    codes = codes if codes.dtype == np.int64 else codes.astype(np.int32)
    with pytest.raises(ValueError, match="detail"):
        pack(Details(codes, DETAILS.layer), LAST)


def test_every_truncation_and_byte_change_is_detected_and_leaves_the_steps():
    section = inspect(FILE).sections[-1]
    damaged = [FILE[:length] for length in range(section.offset, len(FILE))]
    damaged += [FILE[:i] + bytes([FILE[i] ^ flip]) + FILE[i + 1 :] for i in range(section.offset, len(FILE))
                for flip in (1, 2, 128)]
    for data in damaged:
        with pytest.raises(DqError):
            read(data, FIND, find_detail=FIND_DETAIL)
        parsed = read(data, FIND, find_detail=FIND_DETAIL, partial=True)
        assert same(parsed.tokens, TOKENS) and parsed.details is None and "at byte" in parsed.problem


def test_a_payload_without_fingerprint_or_with_an_idle_end_is_refused():
    from dqcodec.bitstream import header, sections

    start = inspect(FILE).sections[-1].offset
    assert header.parse(FILE)[0].detail
    for payload, message in ((b"mor", "no fingerprint"), (b"more\1\0", "zero byte")):
        data = FILE[:start] + sections.pack(sections.DETAIL, payload)
        with pytest.raises(FormatError, match=message):
            read(data, FIND, find_detail=FIND_DETAIL)
        assert message in read(data, FIND, find_detail=FIND_DETAIL, partial=True).problem
