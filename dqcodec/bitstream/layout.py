"""What lies where in a .dq file, without a model: for `dqcodec info`."""

from __future__ import annotations

from dataclasses import dataclass

from dqcodec.bitstream import header as headers
from dqcodec.bitstream import sections
from dqcodec.bitstream.header import Header
from dqcodec.bitstream.sections import Section
from dqcodec.errors import FormatError


@dataclass(frozen=True)
class Layout:
    """Header fields and sections.

    header_bytes: length of the header. sections: all that lie completely in the file, damaged or not
    (`Section.intact`). problem: None, or one line on what breaks the format after them.
    """

    header: Header
    header_bytes: int
    sections: tuple[Section, ...]
    problem: str | None


def inspect(data: bytes) -> Layout:
    """List header and sections of a .dq file; raises FormatError only if the header is unreadable."""
    header, offset = headers.parse(data)
    header_bytes = offset
    found: list[Section] = []
    problem = None
    try:
        while sum(section.step is not None for section in found) < header.steps:
            offset = _take(data, offset, found)
        if header.detail:
            offset = _take(data, offset, found)
        if offset != len(data):
            raise FormatError(f"{len(data) - offset} bytes follow the last section", offset)
    except FormatError as error:
        problem = str(error)
    broken = [f"section {s.name} is damaged (at byte {s.offset})" for s in found if not s.intact]
    problem = broken[0] if broken else problem
    return Layout(header, header_bytes, tuple(found), problem)


def _take(data: bytes, offset: int, found: list[Section]) -> int:
    """Add the section at `offset` to `found`; returns where the next one starts."""
    found.append(sections.parse(data, offset))
    return found[-1].end
