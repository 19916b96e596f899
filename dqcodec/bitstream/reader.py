"""Bytes to tokens: everything is checked before anything as large as the image is allocated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dqcodec.bitstream import detail, sections
from dqcodec.bitstream import header as headers
from dqcodec.bitstream.code_model import CodeModel, Known
from dqcodec.bitstream.detail import Details, DetailTable
from dqcodec.bitstream.header import Header
from dqcodec.bitstream.range_coder import SymbolDecoder
from dqcodec.bitstream.sections import EXTRA_NAMES, Extra, Section
from dqcodec.bitstream.step_coder import code_step
from dqcodec.bitstream.tokens import ABSENT, Ladder, Tokens
from dqcodec.errors import FormatError, LimitError, UnknownModelError, UnknownSectionError

MAX_PIXELS = 2**28
_SMALL_GRID = 2**20


@dataclass(frozen=True)
class Parsed:
    """A file that was read.

    tokens: of the steps read; they always fit the model's ladder.
    steps_in_file: step sections of the complete file. steps_read: how many of them tokens hold.
    details: the detail of a file that has some, None if none was read.
    problem: None, or one line that says what is missing or damaged and at which byte (partial reading).
    """

    tokens: Tokens
    header: Header
    extras: tuple[Extra, ...]
    steps_in_file: int
    steps_read: int
    problem: str | None = None
    details: Details | None = None


def read(
    data: bytes,
    find_model: Callable[[bytes], CodeModel],
    *,
    max_pixels: int = MAX_PIXELS,
    partial: bool = False,
    upto_step: int | None = None,
    find_detail: Callable[[bytes], DetailTable] | None = None,
) -> Parsed:
    """Decode a .dq file.

    find_model: gives the model of a 4-byte fingerprint, raises UnknownModelError if there is none.
    max_pixels: larger images raise LimitError before anything is allocated.
    partial: a truncated or damaged file yields its intact first steps, and `problem` says what is
        wrong; it still raises if step 0 is not intact.
    upto_step: decode steps 0..upto_step only; what lies behind them is not looked at.
    find_detail: gives the detail layer of a 4-byte fingerprint, as find_model does; None to leave detail out.

    Raises FormatError and its subclasses (SignatureError, VersionError, TruncatedError, ChecksumError,
    UnknownSectionError, LimitError) or UnknownModelError.
    """
    if upto_step is not None and upto_step < 0:
        raise ValueError(f"upto_step {upto_step} is negative")
    header, offset = headers.parse(data)
    if header.width * header.height > max_pixels:
        raise LimitError(
            f"the image has {header.width}x{header.height} pixels, more than the limit of {max_pixels}", 6
        )
    wanted = header.steps if upto_step is None else min(header.steps, upto_step + 1)
    extras, steps, more, problem = _collect(data, offset, header, wanted, partial)
    model = find_model(header.fingerprint)
    _check_model(header, model, max_pixels)
    known, steps_read, problem = _decode(header, model, steps, problem, partial)
    tokens = known.tokens()
    tokens.validate(model.ladder)
    details = None
    if more is not None and find_detail is not None and upto_step is None and steps_read == header.steps:
        details, problem = _decode_detail(more, tokens.levels, len(model.ladder) - 1, find_detail, partial)
    return Parsed(tokens, header, extras, header.steps, steps_read, problem, details)


def _collect(
    data: bytes, offset: int, header: Header, wanted: int, partial: bool
) -> tuple[tuple[Extra, ...], list[Section], Section | None, str | None]:
    """Find the extras, the first `wanted` step sections, and after all steps the detail, checking every section on the
    way."""
    extras: dict[str, Extra] = {}
    steps: list[Section] = []
    problem = more = None
    try:
        while len(steps) < wanted:
            section = sections.parse(data, offset)
            is_extra = section.type in EXTRA_NAMES or section.ancillary
            if partial and is_extra and not section.intact:
                # Its length may be right: the checksum of the next section tells.
                problem = problem or f"section {section.name} is damaged (at byte {section.offset})"
            else:
                section.check()
                _sort_in(section, extras, steps)
            offset = section.end
        if wanted == header.steps and header.detail:
            section = sections.parse(data, offset)
            section.check()
            if section.type != sections.DETAIL:
                raise FormatError(f"section {section.name} stands where detail must", section.offset)
            more, offset = section, section.end
        if wanted == header.steps and offset != len(data):
            raise FormatError(f"{len(data) - offset} bytes follow the last section: remove them", offset)
    except FormatError as error:
        if not (partial and steps):
            raise
        problem = problem or str(error)
    return tuple(extras.values()), steps, more, problem


def _sort_in(section: Section, extras: dict[str, Extra], steps: list[Section]) -> None:
    if section.step is not None:
        if section.step != len(steps):
            raise FormatError(f"section {section.name} stands where step {len(steps)} must", section.offset)
        steps.append(section)
    elif section.type in EXTRA_NAMES:
        if steps or section.name in extras:
            raise FormatError(f"section {section.name} is repeated or follows a step", section.offset)
        extras[section.name] = Extra(section.name, section.payload)
    elif not section.ancillary:
        raise UnknownSectionError(
            f"the picture needs section type {section.type:#04x}: use a newer dqcodec", section.offset
        )


def _check_model(header: Header, model: CodeModel, max_pixels: int) -> None:
    ladder: Ladder = model.ladder
    if model.fingerprint != header.fingerprint:
        needed, given = header.fingerprint.hex(), model.fingerprint.hex()
        raise UnknownModelError(f"the file needs model {needed}, not {given}")
    if header.steps > len(ladder):
        raise FormatError(f"the file has {header.steps} steps, its model's ladder {len(ladder)}", 5)
    # One pixel wide images cost a whole region for every 16 pixels.
    rows, cols = ladder.grid(*header.frame.coded)
    if rows * cols * ladder.region**2 > 2 * max(max_pixels, _SMALL_GRID):
        raise LimitError(
            f"an image of {header.width}x{header.height} needs {rows}x{cols} regions, more than twice "
            f"the limit of {max_pixels} pixels",
            6,
        )


def _decode(
    header: Header, model: CodeModel, steps: list[Section], problem: str | None, partial: bool
) -> tuple[Known, int, str | None]:
    known = Known.nothing(*header.frame.coded, model.ladder)
    maps = model.map_model()
    for step, section in enumerate(steps):
        before = known.levels.copy()
        try:
            decoder = _open(section)

            def decode(cells, frequencies, decoder=decoder):
                return decoder.decode(len(cells), frequencies)

            code_step(step, known, model, maps, decode, decode)
        except FormatError as error:
            located = FormatError(f"section {section.name}: {error}", section.payload_offset)
            if not (partial and step):
                raise located from None
            known.levels[:] = before
            known.codes[step][:] = ABSENT
            return known, step, str(located)
    return known, len(steps), problem


def _decode_detail(section: Section, levels: np.ndarray, last: int, find_detail: Callable[[bytes], DetailTable],
                   partial: bool) -> tuple[Details | None, str | None]:
    """(details, problem) of the section of detail of regions at levels (rows, cols); last: the ladder's last level."""
    try:
        layer = find_detail(detail.mark(section.payload, section.payload_offset))
        return detail.unpack(section.payload, layer.places(levels, last), layer), None
    except FormatError as error:
        located = FormatError(f"section {section.name}: {error}", section.payload_offset)
        if not partial:
            raise located from None
        return None, str(located)


def _open(section: Section) -> SymbolDecoder:
    if section.payload.endswith(b"\0"):
        raise FormatError("the payload ends in a zero byte, which no encoder writes")
    return SymbolDecoder(section.payload)
