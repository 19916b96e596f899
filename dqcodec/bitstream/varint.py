"""Unsigned LEB128 integers: seven bits a byte, low bits first, bit 7 says that another byte follows.

Only the shortest form of a number is legal, so that equal files have equal bytes.
"""

from __future__ import annotations

from dqcodec.errors import FormatError, TruncatedError

MAX_BYTES = 5
LIMIT = 2**32


def encode(value: int) -> bytes:
    """Bytes (1 to 5) of `value`; ValueError unless 0 <= value < 2**32."""
    if not 0 <= value < LIMIT:
        raise ValueError(f"{value} does not fit a varint of {MAX_BYTES} bytes below 2**32")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(data: bytes, offset: int, what: str) -> tuple[int, int]:
    """Read the number `what` at `offset`; returns (value, offset behind it).

    Raises TruncatedError if the data ends within it, FormatError if it is too long, too large or not
    in its shortest form.
    """
    value = 0
    for i in range(MAX_BYTES):
        if offset + i >= len(data):
            raise TruncatedError(f"the file ends within the {what}", len(data))
        byte = data[offset + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            if byte == 0 and i > 0:
                raise FormatError(f"the {what} is not in its shortest form: the file is damaged", offset)
            if value >= LIMIT:
                raise FormatError(f"the {what} is {value}, beyond 32 bits: the file is damaged", offset)
            return value, offset + i + 1
    raise FormatError(f"the {what} is longer than {MAX_BYTES} bytes: the file is damaged", offset)
