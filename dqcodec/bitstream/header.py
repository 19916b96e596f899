"""Header of a .dq file: 16 bytes for a 768x512 image.

    signature    4   9D 44 51 0A
    version      1   major << 4 | minor
    flags        1   bits 0-3 number of step sections, bit 4 grey output, bit 5 scale, bit 6 grain, bit 7 detail
    width        1-5 varint
    height       1-5 varint
    scale        0-1 256ths of width and height at which the picture is coded, 1..255; only with bit 5
    grain        0-1 sixteenths of a level of the noise that is added to it, 1..255; only with bit 6
    fingerprint  4   of the model's codebooks and prior
    check        2   low 16 bits of the CRC-32 of all bytes before it, little-endian

The first byte is not ASCII (a transfer that strips bit 7 or recodes to UTF-8 changes it) and the
fourth is a line feed (a transfer that rewrites line ends changes it).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from dqcodec.bitstream import varint
from dqcodec.bitstream.frame import WHOLE, Frame
from dqcodec.errors import ChecksumError, FormatError, SignatureError, TruncatedError, VersionError

SIGNATURE = b"\x9dDQ\n"
MAJOR, MINOR = 1, 0
FRAMED_MINOR = 1  # of files with a scale or grain, which readers of 1.0 refuse by their flags
DETAIL_MINOR = 2  # of files with detail, which those of 1.0 and 1.1 refuse likewise
SOFT_MINOR = 3  # of files with softness, which older readers skip
SPARSE_MINOR = 4  # of files with detail of single patches
MAX_STEPS = 15
MAX_SIDE = 2**31 - 1
FINGERPRINT_BYTES = 4

_STEPS_MASK = 0x0F
_GREY = 0x10
_SCALED = 0x20
_GRAIN = 0x40
_DETAIL = 0x80


@dataclass(frozen=True)
class Header:
    """Fields of the header.

    width, height: size in pixels of the picture as it is delivered, 1..2**31-1.
    fingerprint: 4 bytes that name the model whose codebooks and prior the file needs.
    steps: number of step sections in the complete file, 1..15.
    grey: the decoded picture is to be delivered as one grey channel.
    scale: 256ths of its size at which it is coded, 1..256. grain: sixteenths of a level of added noise, 0..255.
    detail: whether a section of detail follows the steps.
    version: (major, minor) as stored.
    """

    width: int
    height: int
    fingerprint: bytes
    steps: int
    grey: bool = False
    scale: int = WHOLE
    grain: int = 0
    detail: bool = False
    version: tuple[int, int] = (MAJOR, MINOR)

    def __post_init__(self):
        if not (1 <= self.width <= MAX_SIDE and 1 <= self.height <= MAX_SIDE):
            raise ValueError(f"image size {self.width}x{self.height} is outside 1..{MAX_SIDE}")
        if not 1 <= self.steps <= MAX_STEPS:
            raise ValueError(f"{self.steps} step sections; the format holds 1..{MAX_STEPS}")
        if len(self.fingerprint) != FINGERPRINT_BYTES:
            raise ValueError(f"a fingerprint has {FINGERPRINT_BYTES} bytes, not {len(self.fingerprint)}")
        _ = self.frame  # which checks scale and grain

    @property
    def frame(self) -> Frame:
        """How the picture is delivered."""
        return Frame(self.width, self.height, self.grey, self.scale, self.grain)


def check_of(header_bytes: bytes) -> bytes:
    """The two check bytes that follow `header_bytes`."""
    return (zlib.crc32(header_bytes) & 0xFFFF).to_bytes(2, "little")


def pack(header: Header) -> bytes:
    """Bytes of `header`."""
    major, minor = header.version
    optional = [(_SCALED, header.scale, header.scale < WHOLE), (_GRAIN, header.grain, header.grain > 0)]
    flags = header.steps | (_GREY if header.grey else 0) | sum(flag for flag, _, there in optional if there)
    flags |= _DETAIL if header.detail else 0
    body = SIGNATURE + bytes([major << 4 | minor, flags])
    body += varint.encode(header.width) + varint.encode(header.height)
    body += bytes(value for _, value, there in optional if there) + header.fingerprint
    return body + check_of(body)


def _check_signature(data: bytes) -> None:
    start = bytes(data[: len(SIGNATURE)])
    if start == SIGNATURE:
        return
    if start and SIGNATURE.startswith(start):
        raise TruncatedError("the file ends within its signature", len(data))
    rewritten = (b"\x9dDQ\r", b"\xc2\x9dDQ", b"\x1dDQ\n", b"\xef\xbf\xbdD")
    if start in rewritten:
        raise SignatureError("a transfer in text mode damaged this .dq file: transfer it as binary", 0)
    raise SignatureError("this is not a .dq file: its signature is missing", 0)


def parse(data: bytes) -> tuple[Header, int]:
    """Read the header at the start of `data`; returns (header, its length in bytes).

    Raises SignatureError, TruncatedError, VersionError (another major version), ChecksumError or FormatError.
    """
    _check_signature(data)
    if len(data) < 6:
        raise TruncatedError("the file ends within its header", len(data))
    major, minor = data[4] >> 4, data[4] & 0x0F
    if major != MAJOR:
        raise VersionError(
            f"the file is of format {major}.{minor}, this dqcodec reads {MAJOR}.x: use another version", 4
        )
    width, end = varint.decode(data, 6, "image width")
    height, end = varint.decode(data, end, "image height")
    there = [bool(data[5] & flag) for flag in (_SCALED, _GRAIN)]
    mark_at = end + sum(there)
    check_at = mark_at + FINGERPRINT_BYTES
    if len(data) < check_at + 2:
        raise TruncatedError("the file ends within its header", len(data))
    flags = data[5]
    if bytes(data[check_at : check_at + 2]) != check_of(bytes(data[:check_at])):
        raise ChecksumError("the header is damaged: its checksum differs", check_at)
    if not flags & _STEPS_MASK:
        raise FormatError("the header announces no step sections", 5)
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise FormatError(f"image size {width}x{height} is outside 1..{MAX_SIDE}", 6)
    if 0 in data[end:mark_at]:
        raise FormatError("the picture's scale or grain is 0", end)
    values = iter(data[end:mark_at])
    scale, grain = (next(values) if present else none for present, none in zip(there, (WHOLE, 0), strict=True))
    fingerprint = bytes(data[mark_at:check_at])
    header = Header(width, height, fingerprint, flags & _STEPS_MASK, bool(flags & _GREY), scale, grain,
                    bool(flags & _DETAIL), (major, minor))
    return header, check_at + 2
