"""Header and sections: what is accepted, what is refused and with which words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dqcodec.bitstream import Extra, Frame, Header, Ladder, inspect, read, sections, varint, write
from dqcodec.bitstream import header as headers
from dqcodec.errors import (
    ChecksumError,
    FormatError,
    LimitError,
    SignatureError,
    TruncatedError,
    UnknownModelError,
    UnknownSectionError,
    VersionError,
)
from tests.bitstream.samples import finder, random_model, random_tokens, same

LADDER = Ladder((16, 16, 8), (16, 16, 16))
RNG = np.random.default_rng(11)
MODEL = random_model(RNG, LADDER)
TOKENS = random_tokens(RNG, 90, 70, LADDER, 2)
FILE = write(TOKENS, MODEL)
FIND = finder(MODEL)
HEADER, BODY = headers.parse(FILE)


def reheaded(body: bytes = FILE[BODY:], **fields) -> bytes:
    """FILE with other header fields."""
    return headers.pack(Header(**{**vars(HEADER), **fields})) + body


def test_header_of_a_kodak_image_has_16_bytes_and_a_section_7_more_than_its_payload():
    assert len(headers.pack(Header(768, 512, b"abcd", 5))) == 16
    assert len(sections.pack(0x10, bytes(1000))) == 1007


@given(st.integers(1, 2**31 - 1), st.integers(1, 2**31 - 1), st.integers(1, 15), st.booleans(), st.integers(1, 256),
       st.integers(0, 255))
def test_header_survives(width, height, steps, grey, scale, grain):
    header = Header(width, height, b"\0\xff\x80A", steps, grey, scale, grain)
    packed = headers.pack(header)
    assert headers.parse(packed + b"rest") == (header, len(packed))


@pytest.mark.parametrize(
    "fields", [{"width": 0}, {"height": 2**31}, {"steps": 0}, {"steps": 16}, {"fingerprint": b""},
               {"scale": 0}, {"scale": 257}, {"grain": -1}, {"grain": 256}]
)
def test_header_that_cannot_be_stored_is_refused(fields):
    with pytest.raises(ValueError):
        Header(**{**vars(HEADER), **fields})


def test_every_change_of_one_header_byte_changes_the_check():
    zeros = bytes(20)
    for position in range(20):
        for value in range(1, 256):
            changed = bytes([*zeros[:position], value, *zeros[position + 1 :]])
            # CRC is linear: this difference is the same for all headers of this distance to the end.
            assert headers.check_of(changed) != headers.check_of(zeros)


@pytest.mark.parametrize("data", [b"", b"\x9d", b"\x9dDQ\n", FILE[: BODY - 1]])
def test_file_that_ends_within_its_header_is_truncated(data):
    if data:
        with pytest.raises(TruncatedError):
            read(data, FIND)
    else:
        with pytest.raises(SignatureError, match="not a .dq file"):
            read(data, FIND)


def test_text_mode_damage_is_named():
    with pytest.raises(SignatureError, match="text mode"):
        read(FILE.replace(b"\n", b"\r\n"), FIND)
    with pytest.raises(SignatureError, match="text mode"):
        read(FILE.decode("latin-1").encode("utf-8"), FIND)
    with pytest.raises(SignatureError, match="not a .dq file"):
        read(b"\x89PNG\r\n\x1a\n" + bytes(100), FIND)


def test_newer_minor_is_read_and_other_major_refused():
    assert same(read(reheaded(version=(1, 15)), FIND).tokens, TOKENS)
    for major in (0, 2, 15):
        with pytest.raises(VersionError, match=f"format {major}.0"):
            read(reheaded(version=(major, 0)), FIND)


def test_detail_that_the_header_announces_must_follow_the_steps():
    start = bytearray(FILE[: BODY - 2])
    start[5] |= 0x80
    announced = bytes(start) + headers.check_of(bytes(start)) + FILE[BODY:]
    with pytest.raises(TruncatedError, match="before its last section"):
        read(announced, FIND)
    assert same(read(announced, FIND, partial=True).tokens, TOKENS)
    with pytest.raises(FormatError, match="stands where detail must"):
        read(announced + sections.pack(sections.ICC, b""), FIND)
    with pytest.raises(FormatError, match="follow the last section"):
        read(FILE + sections.pack(sections.DETAIL, b"test"), FIND)


def test_grain_is_a_byte_of_format_1_1():
    frame = Frame(90, 70, grain=7)
    data = write(TOKENS, MODEL, frame=frame)
    header, end = headers.parse(data)
    assert end == BODY + 1 and data[8] == 7 and header.frame == frame and header.version == (1, 1)
    assert data[end:] == FILE[BODY:]


def test_a_scale_makes_the_grid_smaller_and_is_of_format_1_1():
    frame = Frame(90, 70, scale=128)
    tokens = random_tokens(RNG, 45, 35, LADDER, 2)
    data = write(tokens, MODEL, frame=frame)
    header, end = headers.parse(data)
    assert end == BODY + 1 and header.frame == frame and header.version == (1, 1) and HEADER.version == (1, 0)
    assert same(read(data, FIND).tokens, tokens)
    with pytest.raises(ValueError, match="not of 90x70"):
        write(TOKENS, MODEL, frame=frame)
    start = bytearray(data[: end - 2])
    start[8] = 0  # the scale, behind two sides of a byte each
    with pytest.raises(FormatError, match="scale or grain is 0"):
        read(bytes(start) + headers.check_of(bytes(start)) + data[end:], FIND)


@pytest.mark.parametrize("box, expected", [((0, 0, 90, 70), (0, 0, 45, 35)), ((1, 1, 1, 1), (0, 0, 1, 1)),
                                           ((88, 3, 2, 4), (44, 1, 1, 3))])
def test_a_box_covers_what_it_covered(box, expected):
    assert Frame(90, 70, scale=128).to_coded(box) == expected and Frame(90, 70).to_coded(box) == box


def test_file_without_steps_or_with_size_zero_is_refused():
    for position, message in ((5, "no step sections"), (6, "image size 0x70")):
        start = bytearray(FILE[: BODY - 2])
        start[position] = 0
        with pytest.raises(FormatError, match=message):
            read(bytes(start) + headers.check_of(bytes(start)) + FILE[BODY:], FIND)


def test_pixel_limit_holds_before_the_model_is_asked_for():
    def no_model(fingerprint):
        raise AssertionError("asked for a model")

    with pytest.raises(LimitError, match="more than the limit"):
        read(reheaded(width=2**14 + 1, height=2**14), no_model)
    with pytest.raises(LimitError, match="limit of 6299"):
        read(FILE, no_model, max_pixels=90 * 70 - 1)
    assert same(read(FILE, FIND, max_pixels=90 * 70).tokens, TOKENS)


def test_thin_image_cannot_hide_a_huge_grid():
    with pytest.raises(LimitError, match="regions"):
        read(reheaded(width=1, height=2**28), FIND)


def test_unknown_model_is_named():
    with pytest.raises(UnknownModelError, match="78787878"):
        read(reheaded(fingerprint=b"xxxx"), FIND)
    with pytest.raises(UnknownModelError, match="78787878"):
        read(reheaded(fingerprint=b"xxxx"), lambda fingerprint: MODEL)


def test_more_steps_than_the_ladder_are_refused():
    extra = sections.pack(sections.STEP + 3, b"")
    with pytest.raises(FormatError, match="4 steps, its model's ladder 3"):
        read(reheaded(FILE[BODY:] + extra, steps=4), FIND)


def test_unknown_ancillary_section_is_skipped_wherever_it_stands():
    unknown = sections.pack(0x90, b"from the future")
    first = sections.parse(FILE, BODY).end
    assert same(read(FILE[:BODY] + unknown + FILE[BODY:], FIND).tokens, TOKENS)
    parsed = read(FILE[:first] + unknown + FILE[first:], FIND)
    assert same(parsed.tokens, TOKENS) and parsed.extras == ()


@pytest.mark.parametrize("kind", [0x00, 0x02, 0x0F, 0x1F, 0x7F])
def test_unknown_critical_section_is_refused(kind):
    with pytest.raises(UnknownSectionError, match="newer dqcodec"):
        read(FILE[:BODY] + sections.pack(kind, b"") + FILE[BODY:], FIND)


def test_sections_out_of_order_or_repeated_are_refused():
    first = sections.parse(FILE, BODY).end
    second = sections.parse(FILE, first).end
    swapped = FILE[:BODY] + FILE[first:second] + FILE[BODY:first] + FILE[second:]
    with pytest.raises(FormatError, match="step 1 stands where step 0 must"):
        read(swapped, FIND)
    icc = sections.pack(sections.ICC, b"profile")
    with pytest.raises(FormatError, match="icc is repeated"):
        read(FILE[:BODY] + icc + icc + FILE[BODY:], FIND)
    with pytest.raises(FormatError, match="follows a step"):
        read(FILE[:first] + icc + FILE[first:], FIND)


def test_bytes_behind_the_last_section_are_refused():
    with pytest.raises(FormatError, match="1 bytes follow"):
        read(FILE + b"\0", FIND)
    parsed = read(FILE + b"\0", FIND, partial=True)
    assert same(parsed.tokens, TOKENS) and "follow the last section" in parsed.problem


def test_payload_that_ends_in_zero_is_refused():
    ladder = Ladder((16,), (1,))
    model = random_model(RNG, ladder)
    head = headers.pack(Header(5, 5, b"test", 1))
    assert read(head + sections.pack(0x10, b""), finder(model)).tokens.codes[0].tolist() == [[0]]
    with pytest.raises(FormatError, match="zero byte"):
        read(head + sections.pack(0x10, b"\0"), finder(model))


def test_payload_that_no_encoder_writes_is_refused_or_yields_the_steps_before():
    first = sections.parse(FILE, BODY).end
    forged = FILE[:first] + sections.pack(0x11, b"\xff" * 400) + sections.pack(0x12, b"")
    with pytest.raises(FormatError, match="section step 1: a payload is not the output"):
        read(forged, FIND)
    parsed = read(forged, FIND, partial=True)
    assert same(parsed.tokens, TOKENS.upto(LADDER, 0))
    assert parsed.steps_read == 1 and "step 1" in parsed.problem


@given(st.integers(0, 2**32 - 1))
def test_varints_survive_in_at_most_five_bytes(value):
    packed = varint.encode(value)
    assert len(packed) <= 5 and varint.decode(b"?" + packed + b"!", 1, "number") == (value, 1 + len(packed))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", TruncatedError),
        (b"\x80", TruncatedError),
        (b"\x80\x00", FormatError),
        (b"\xff\xff\xff\xff\x10", FormatError),
        (b"\xff\xff\xff\xff\xff\x01", FormatError),
        (b"\x80" * 20, FormatError),
    ],
)
def test_varints_that_are_cut_long_or_large_are_refused(data, error):
    with pytest.raises(error):
        varint.decode(data, 0, "number")


def test_numbers_beyond_a_varint_are_refused():
    for value in (-1, 2**32):
        with pytest.raises(ValueError):
            varint.encode(value)


def test_inspect_lists_what_lies_where_without_a_model():
    blob = write(TOKENS, MODEL, extras=[Extra("icc", b"12345")], frame=Frame.of(TOKENS, True))
    layout = inspect(blob)
    assert layout.header == Header(90, 70, b"test", 3, True) and layout.problem is None
    assert [section.name for section in layout.sections] == ["icc", "step 0", "step 1", "step 2"]
    assert layout.sections[0].payload == b"12345" and layout.sections[0].offset == layout.header_bytes
    assert layout.sections[-1].end == len(blob) and all(section.intact for section in layout.sections)


def test_inspect_reports_damage_instead_of_raising():
    damaged = bytearray(FILE)
    damaged[BODY + 3] ^= 1
    layout = inspect(bytes(damaged))
    assert [section.intact for section in layout.sections] == [False, True, True]
    assert "step 0 is damaged" in layout.problem
    assert "more than the file has" in inspect(FILE[:-1]).problem
    assert "follow the last section" in inspect(FILE + b"?").problem
    with pytest.raises(ChecksumError):
        inspect(FILE[:6] + b"\x01" + FILE[7:])
