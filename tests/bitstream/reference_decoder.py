"""A second decoder, written from docs/FORMAT.md alone: pure Python integers, no dqcodec, no constriction."""

from __future__ import annotations

import zlib

MASK = 2**64 - 1


class RangeDecoder:
    """FORMAT.md, "Range coder"."""

    def __init__(self, payload: bytes):
        self._payload, self._next = payload, 8
        self._point = int.from_bytes(self._bytes(0, 8), "big")
        self._lower, self._range = 0, MASK

    def _bytes(self, start: int, count: int) -> bytes:
        return self._payload[start : start + count].ljust(count, b"\0")

    def symbol(self, frequencies: list[int]) -> int:
        size = len(frequencies)
        if size == 1:
            return 0
        starts, total = [], 0
        for i, frequency in enumerate(frequencies):
            starts.append(i + (total * (2**24 - size) >> 16))
            total += frequency
        starts.append(2**24)
        scale = self._range >> 24
        quantile = (self._point - self._lower & MASK) // scale
        symbol = max(i for i in range(size) if starts[i] <= quantile)
        self._lower = self._lower + scale * starts[symbol] & MASK
        self._range = scale * (starts[symbol + 1] - starts[symbol])
        if self._range < 2**32:
            self._lower = self._lower << 32 & MASK
            self._range <<= 32
            self._point = self._point << 32 & MASK | int.from_bytes(self._bytes(self._next, 4), "big")
            self._next += 4
        return symbol


def varint(data: bytes, offset: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[offset]
        value |= (byte & 0x7F) << shift
        offset, shift = offset + 1, shift + 7
        if byte < 0x80:
            return value, offset


def starting_counts() -> dict:
    """FORMAT.md, "Map bits": context -> [not refined, refined]."""
    counts = {("even", above): [120 - 12 * (2 * above + 1), 12 * (2 * above + 1)] for above in range(5)}
    for beside in range(3):
        for near in range(3):
            ones = 10 * (4 * beside + near + 1)
            counts["odd", beside, near] = [120 - ones, ones]
    return counts


def decode_map(coder: RangeDecoder, levels: list[list[int]], step: int, counts: dict) -> None:
    rows, cols = len(levels), len(levels[0])

    def refined(row: int, col: int) -> int:
        return int(0 <= row < rows and 0 <= col < cols and levels[row][col] == step)

    for row in range(rows):
        for parity in (0, 1):
            seen = []
            for col in range(parity, cols, 2):
                if levels[row][col] != step - 1:
                    continue
                above = 2 * refined(row - 1, col) + refined(row - 1, col - 1) + refined(row - 1, col + 1)
                if parity == 0:
                    context = "even", above
                else:
                    context = "odd", refined(row, col - 1) + refined(row, col + 1), (above + 1) // 2
                zeros, ones = counts[context]
                frequency = min(max(65536 * ones // (zeros + ones), 64), 65536 - 64)
                seen.append((col, context, coder.symbol([65536 - frequency, frequency])))
            for col, context, bit in seen:
                levels[row][col] += bit
                counts[context][bit] += 15


def decode_detail(payload: bytes, levels: list[list[int]], last: int, layer: dict) -> dict:
    """FORMAT.md, "Detail"; layer: fingerprint, side, table, maybe sparse."""
    assert payload[:4].hex() == layer["fingerprint"]
    coder, side = RangeDecoder(payload[4:]), layer["side"]
    height, width = len(levels) * side, len(levels[0]) * side  # in patches
    if layer.get("sparse"):
        span, least = 1, min(1, last)
        marks = [[0 if levels[y // side][x // side] >= least else 2 for x in range(width)] for y in range(height)]
    else:
        span = side
        marks = [[0 if level == last else 2 for level in row] for row in levels]
    decode_map(coder, marks, 1, starting_counts())
    codes = [[-1] * width for _ in range(height)]
    for y, row in enumerate(codes):
        for x in range(width):
            if marks[y // span][x // span] == 1:
                row[x] = coder.symbol(layer["table"])
    return {**layer, "codes": codes}


def decode(data: bytes, factors, region: int, tables, layer=None) -> dict:
    """Header fields, levels and codes of a file, as in the JSON of the golden files."""
    assert data[:4] == b"\x9dDQ\x0a" and data[4] >> 4 == 1
    steps, grey = data[5] & 15, bool(data[5] & 16)
    width, offset = varint(data, 6)
    height, offset = varint(data, offset)
    scale, grain = 256, 0
    if data[5] & 32:
        scale, offset = data[offset], offset + 1
    if data[5] & 64:
        grain, offset = data[offset], offset + 1
    coded_width, coded_height = (max(1, (side * scale + 128) // 256) for side in (width, height))
    fingerprint = data[offset : offset + 4].hex()
    offset += 6
    assert int.from_bytes(data[offset - 2 : offset], "little") == zlib.crc32(data[: offset - 2]) & 0xFFFF
    rows, cols = -(-coded_height // region), -(-coded_width // region)
    levels = [[0] * cols for _ in range(rows)]
    codes = [[[-1] * (cols * (region // f)) for _ in range(rows * (region // f))] for f in factors]
    counts, extras, step = starting_counts(), {}, 0
    while step < steps:
        kind = data[offset]
        length, start = varint(data, offset + 1)
        end = start + length
        assert int.from_bytes(data[end : end + 4], "little") == zlib.crc32(data[offset:end])
        if kind == 0x10 + step:
            coder = RangeDecoder(data[start:end])
            if step > 1:
                first = starting_counts()
                counts = {
                    key: [old + (new - old) // 4 for old, new in zip(first[key], counts[key], strict=True)]
                    for key in counts
                }
            if step > 0:
                decode_map(coder, levels, step, counts)
            side = region // factors[step]
            for y in range(rows * side):
                for x in range(cols * side):
                    if levels[y // side][x // side] == step:
                        codes[step][y][x] = coder.symbol(tables[step])
            step += 1
        else:
            extras[{0x01: "alpha", 0x81: "icc", 0x82: "exif", 0x83: "xmp", 0x84: "soft"}[kind]] = data[start:end].hex()
        offset = end + 4
    detail = None
    if data[5] & 128:
        length, start = varint(data, offset + 1)
        end = start + length
        assert data[offset] == 2
        assert int.from_bytes(data[end : end + 4], "little") == zlib.crc32(data[offset:end])
        detail = decode_detail(data[start:end], levels, len(factors) - 1, layer)
        offset = end + 4
    assert offset == len(data)
    return {
        "width": width, "height": height, "grey": grey, "fingerprint": fingerprint, "scale": scale,
        "grain": grain, "detail": detail,
        "extras": extras, "levels": levels, "codes": codes,
    }  # fmt: skip
