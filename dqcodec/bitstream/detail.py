"""The section of detail: codes for patches of the picture that the ladder's steps decode to, where regions have them.

Regions at the ladder's last level may have detail: a bit each, by the context model of the grain map, and then the
codes of those that have, in raster order, by one table. docs/FORMAT.md, section 11.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dqcodec.bitstream.adaptive_map import AdaptiveMap
from dqcodec.bitstream.code_model import Known
from dqcodec.bitstream.frequencies import check_frequencies
from dqcodec.bitstream.header import FINGERPRINT_BYTES
from dqcodec.bitstream.range_coder import SymbolDecoder, SymbolEncoder
from dqcodec.bitstream.step_coder import Code, code_step
from dqcodec.bitstream.tokens import ABSENT
from dqcodec.errors import FormatError, TruncatedError

_LAST, _DETAILED, _OTHER = 0, 1, 2  # levels of the map's one step


@dataclass(frozen=True)
class DetailTable:
    """What the bitstream must know of a detail layer.

    fingerprint: 4 bytes that name it. side: its codes along one side of a region. table: frequencies (K,) of its codes.
    Raises ValueError if they are none.
    """

    fingerprint: bytes
    side: int
    table: np.ndarray

    def __post_init__(self):
        check_frequencies(self.table[None])
        if len(self.fingerprint) != FINGERPRINT_BYTES or self.side < 1:
            raise ValueError(f"a detail layer has {FINGERPRINT_BYTES} bytes of fingerprint and a side of at least 1")

    def groups(self, step: int, known: Known) -> list[np.ndarray]:
        """All cells of regions with detail, in raster order (code_step's CodeModel)."""
        return [np.flatnonzero(np.kron(known.levels == _DETAILED, np.ones((self.side, self.side), bool)))]

    def frequencies(self, step: int, group: int, known: Known) -> np.ndarray:
        """The table, (1, K)."""
        return self.table[None]


@dataclass(frozen=True)
class Details:
    """Detail of an image: codes (rows * side, cols * side) int32, ABSENT in regions without, and their layer."""

    codes: np.ndarray
    layer: DetailTable


def pack(details: Details, last: np.ndarray) -> bytes:
    """Payload of the section of detail.

    last: (rows, cols) bool, the regions at the ladder's last level, which alone may have it. Raises ValueError if
    others have, or a code is out of range.
    """
    codes, layer = details.codes, details.layer
    side, size = layer.side, len(layer.table)
    rows, cols = last.shape
    if codes.shape != (rows * side, cols * side) or codes.dtype != np.int32:
        raise ValueError(f"detail codes {codes.shape} {codes.dtype} do not fit {rows}x{cols} regions")
    some = (codes != ABSENT).reshape(rows, side, cols, side)
    detailed = some.all((1, 3))
    if (some.any((1, 3)) != detailed).any() or (detailed & ~last).any():
        raise ValueError("detail outside regions of the last level, or in a part of a region")
    inside = codes[codes != ABSENT]
    if inside.size and (inside.min() < 0 or inside.max() >= size):
        raise ValueError(f"a detail code is outside 0..{size - 1}")
    encoder = SymbolEncoder()
    bits, grid = detailed.reshape(-1).astype(np.int32), codes.reshape(-1)

    def put(symbols: np.ndarray) -> Code:
        def code(places: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
            encoder.encode(symbols[places], frequencies)
            return symbols[places]

        return code

    _code(last, layer, put(bits), put(grid))
    return layer.fingerprint + encoder.finish()


def mark(payload: bytes, offset: int) -> bytes:
    """Fingerprint of the detail layer that a payload, which lies at byte `offset`, needs. Raises TruncatedError."""
    if len(payload) < FINGERPRINT_BYTES:
        raise TruncatedError("the section of detail has no fingerprint", offset)
    return payload[:FINGERPRINT_BYTES]


def unpack(payload: bytes, last: np.ndarray, layer: DetailTable) -> Details:
    """What `pack` made a payload of. Raises FormatError."""
    stream = payload[FINGERPRINT_BYTES:]
    if stream.endswith(b"\0"):
        raise FormatError("the payload ends in a zero byte, which no encoder writes")
    decoder = SymbolDecoder(stream)

    def code(places: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
        return decoder.decode(len(places), frequencies)

    return Details(_code(last, layer, code, code), layer)


def _code(last: np.ndarray, layer: DetailTable, map_bits: Code, codes: Code) -> np.ndarray:
    rows, cols = last.shape
    grid = np.full((rows * layer.side, cols * layer.side), ABSENT, np.int32)
    known = Known(cols, rows, np.where(last, _LAST, _OTHER).astype(np.uint8), (grid, grid))
    code_step(_DETAILED, known, layer, AdaptiveMap(), map_bits, codes)
    return grid
