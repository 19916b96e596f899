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
            found.append(sections.parse(data, offset))
            offset = found[-1].end
            if not found[-1].intact and problem is None:
                problem = f"section {found[-1].name} is damaged (at byte {found[-1].offset})"
        if offset != len(data):
            raise FormatError(f"{len(data) - offset} bytes follow the last section", offset)
    except FormatError as error:
        problem = problem or str(error)
    return Layout(header, header_bytes, tuple(found), problem)
