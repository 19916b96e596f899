"""No damage goes unnoticed, and what is intact is still delivered on request."""

import numpy as np
import pytest

from dqcodec.bitstream import Extra, Ladder, inspect, read, write
from dqcodec.errors import ChecksumError, DqError, TruncatedError
from tests.bitstream.samples import finder, random_model, random_tokens, same

LADDER = Ladder((16, 16, 8), (8, 8, 4))
RNG = np.random.default_rng(7)
MODEL = random_model(RNG, LADDER)
TOKENS = random_tokens(RNG, 61, 45, LADDER, 2)
EXTRAS = (Extra("icc", b"profile"), Extra("alpha", b"plane"))
FILE = write(TOKENS, MODEL, extras=EXTRAS)
SECTIONS = {section.name: section for section in inspect(FILE).sections}
FIND = finder(MODEL)


def check_partial(data: bytes) -> int:
    """Partial reading gives a true prefix and names the problem; returns the number of steps, or 0."""
    try:
        parsed = read(data, FIND, partial=True)
    except DqError:
        return 0
    assert parsed.problem is not None and "at byte" in parsed.problem
    assert same(parsed.tokens, TOKENS.upto(LADDER, parsed.steps_read - 1))
    assert set(parsed.extras) <= set(EXTRAS)
    return parsed.steps_read


def test_every_single_byte_change_is_detected():
    for position in range(len(FILE)):
        for flip in range(1, 256):
            damaged = bytearray(FILE)
            damaged[position] ^= flip
            with pytest.raises(DqError):
                read(bytes(damaged), FIND)


def test_every_single_bit_flip_leaves_a_true_prefix():
    for position in range(len(FILE)):
        for bit in range(8):
            damaged = bytearray(FILE)
            damaged[position] ^= 1 << bit
            check_partial(bytes(damaged))


def test_every_truncation_is_detected_and_leaves_the_complete_steps():
    ends = [SECTIONS[f"step {step}"].end for step in range(3)]
    for length in range(len(FILE)):
        with pytest.raises(DqError):
            read(FILE[:length], FIND)
        assert check_partial(FILE[:length]) == sum(end <= length for end in ends)


def test_cut_at_a_section_border_is_known_to_be_truncated():
    cut = FILE[: SECTIONS["step 1"].end]
    with pytest.raises(TruncatedError, match="ends before its last section"):
        read(cut, FIND)
    parsed = read(cut, FIND, partial=True)
    assert (parsed.steps_read, parsed.steps_in_file) == (2, 3)
    assert parsed.problem == f"the file ends before its last section (at byte {len(cut)})"


def test_lost_step_zero_raises_even_when_partial():
    damaged = bytearray(FILE)
    damaged[SECTIONS["step 0"].payload_offset] ^= 0x40
    with pytest.raises(ChecksumError, match="step 0 is damaged"):
        read(bytes(damaged), FIND, partial=True)


def test_damaged_extra_is_left_out_when_partial():
    damaged = bytearray(FILE)
    damaged[SECTIONS["icc"].payload_offset] ^= 1
    with pytest.raises(ChecksumError, match="icc is damaged"):
        read(bytes(damaged), FIND)
    parsed = read(bytes(damaged), FIND, partial=True)
    assert same(parsed.tokens, TOKENS) and parsed.extras == EXTRAS[1:]
    assert "icc is damaged" in parsed.problem


def test_damage_behind_the_steps_asked_for_does_not_matter():
    parsed = read(FILE[: SECTIONS["step 0"].end], FIND, upto_step=0)
    assert same(parsed.tokens, TOKENS.upto(LADDER, 0)) and parsed.problem is None
    assert (parsed.steps_read, parsed.steps_in_file) == (1, 3)


def test_random_bytes_behind_a_signature_never_crash():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        with pytest.raises(DqError):
            read(FILE[:6] + rng.bytes(int(rng.integers(0, 60))), FIND, partial=True)
