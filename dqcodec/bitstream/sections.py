"""Sections: what follows the header.

    type      1     bit 7 set: ancillary, a reader that does not know it skips it
    length    1-5   varint, bytes of payload
    payload
    crc       4     CRC-32 of type, length and payload, little-endian

0x10 + s is ladder step s, 0x01 alpha, 0x02 detail; 0x81, 0x82, 0x83, 0x84 are ICC profile, EXIF, XMP
and softness.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from dqcodec.bitstream import varint
from dqcodec.bitstream.header import MAX_STEPS
from dqcodec.errors import ChecksumError, TruncatedError

ALPHA, DETAIL, ICC, EXIF, XMP, SOFT = 0x01, 0x02, 0x81, 0x82, 0x83, 0x84
STEP = 0x10
ANCILLARY = 0x80
EXTRA_TYPES = {"icc": ICC, "alpha": ALPHA, "exif": EXIF, "xmp": XMP, "soft": SOFT}
EXTRA_NAMES = {code: name for name, code in EXTRA_TYPES.items()}
CRC_BYTES = 4


@dataclass(frozen=True)
class Extra:
    """What travels beside the tokens.

    kind: "icc" (profile), "alpha" (a lossless PNG or WebP file), "exif", "xmp", or "soft" (one byte, 255ths of the
    amount by which the decoder of pixels is adapted to a soft picture).
    data: the bytes, unchanged.
    """

    kind: str
    data: bytes

    def __post_init__(self):
        if self.kind not in EXTRA_TYPES:
            raise ValueError(f"extra {self.kind!r} is none of {', '.join(EXTRA_TYPES)}")


@dataclass(frozen=True)
class Section:
    """One section as it lies in a file.

    type: type byte. offset, end: where it starts and where the next one does. payload_offset: where
    its payload starts. payload: the bytes. intact: stored and computed CRC agree.
    """

    type: int
    offset: int
    payload_offset: int
    end: int
    payload: bytes
    intact: bool

    @property
    def step(self) -> int | None:
        """The ladder step that this section codes, or None."""
        return self.type - STEP if STEP <= self.type < STEP + MAX_STEPS else None

    @property
    def ancillary(self) -> bool:
        """True if a reader that does not know the type may skip it."""
        return bool(self.type & ANCILLARY)

    @property
    def name(self) -> str:
        """Name for people, e.g. "step 2", "detail", "icc" or "unknown 0x90"."""
        if self.step is not None:
            return f"step {self.step}"
        if self.type == DETAIL:
            return "detail"
        return EXTRA_NAMES.get(self.type, f"unknown {self.type:#04x}")

    def check(self) -> None:
        """Raise ChecksumError unless the section is intact."""
        if not self.intact:
            raise ChecksumError(f"section {self.name} is damaged: its checksum differs", self.offset)


def pack(section_type: int, payload: bytes) -> bytes:
    """Bytes of one section."""
    body = bytes([section_type]) + varint.encode(len(payload)) + payload
    return body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")


def parse(data: bytes, offset: int) -> Section:
    """Read the section at `offset` of `data`, damaged or not.

    Raises TruncatedError if it goes beyond the data, FormatError if its length is no legal varint.
    """
    if offset >= len(data):
        raise TruncatedError("the file ends before its last section", len(data))
    length, start = varint.decode(data, offset + 1, "section length")
    stop = start + length
    end = stop + CRC_BYTES
    if end > len(data):
        raise TruncatedError(f"a section needs {end - len(data)} bytes more than the file has", offset)
    intact = zlib.crc32(data[offset:stop]) == int.from_bytes(data[stop:end], "little")
    return Section(data[offset], offset, start, end, bytes(data[start:stop]), intact)
