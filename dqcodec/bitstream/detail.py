"""The section of detail: codes for patches of the picture that the ladder's steps decode to.

Its places are whole regions at the ladder's last level or, in a sparse layer, single patches of all regions but the
coarsest: a bit each, by the context model of the grain map, and then the codes of those places that have some, in
raster order, by one table. docs/FORMAT.md, section 11.
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

_EMPTY, _DETAILED, _OTHER = 0, 1, 2  # levels of the map's one step, on the grid of places


@dataclass(frozen=True)
class DetailTable:
    """What the bitstream must know of a detail layer.

    fingerprint: 4 bytes that name it. side: its codes along one side of a region. table: frequencies (K,) of its codes.
    sparse: its places are single patches. Raises ValueError if the frequencies are none.
    """

    fingerprint: bytes
    side: int
    table: np.ndarray
    sparse: bool = False

    def __post_init__(self):
        check_frequencies(self.table[None])
        if len(self.fingerprint) != FINGERPRINT_BYTES or self.side < 1:
            raise ValueError(f"a detail layer has {FINGERPRINT_BYTES} bytes of fingerprint and a side of at least 1")

    @property
    def span(self) -> int:
        """Codes along one side of a place."""
        return 1 if self.sparse else self.side

    def places(self, levels: np.ndarray, last: int) -> np.ndarray:
        """Which places may have detail, bool (rows, cols) of regions or (rows * side, cols * side) of patches, in a
        picture of regions at levels (rows, cols) of a ladder that ends at level `last`."""
        if self.sparse:
            return np.kron(levels >= min(1, last), np.ones((self.side, self.side), bool))
        return levels == last

    def groups(self, step: int, known: Known) -> list[np.ndarray]:
        """All cells of places with detail, in raster order (code_step's CodeModel)."""
        return [np.flatnonzero(np.kron(known.levels == _DETAILED, np.ones((self.span, self.span), bool)))]

    def frequencies(self, step: int, group: int, known: Known) -> np.ndarray:
        """The table, (1, K)."""
        return self.table[None]


@dataclass(frozen=True)
class Details:
    """Detail of an image: codes (rows * side, cols * side) int32, ABSENT where there is none, and their layer."""

    codes: np.ndarray
    layer: DetailTable


def pack(details: Details, places: np.ndarray) -> bytes:
    """Payload of the section of detail.

    places: which of the layer's places may have it (DetailTable.places). Raises ValueError if others have, or a code is
    out of range.
    """
    codes, layer = details.codes, details.layer
    span, size = layer.span, len(layer.table)
    rows, cols = places.shape
    if codes.shape != (rows * span, cols * span) or codes.dtype != np.int32:
        raise ValueError(f"detail codes {codes.shape} {codes.dtype} do not fit {rows}x{cols} places")
    some = (codes != ABSENT).reshape(rows, span, cols, span)
    detailed = some.all((1, 3))
    if (some.any((1, 3)) != detailed).any() or (detailed & ~places).any():
        raise ValueError("detail at a place that may not have it, or in a part of a place")
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

    _code(places, layer, put(bits), put(grid))
    return layer.fingerprint + encoder.finish()


def mark(payload: bytes, offset: int) -> bytes:
    """Fingerprint of the detail layer that a payload, which lies at byte `offset`, needs. Raises TruncatedError."""
    if len(payload) < FINGERPRINT_BYTES:
        raise TruncatedError("the section of detail has no fingerprint", offset)
    return payload[:FINGERPRINT_BYTES]


def unpack(payload: bytes, places: np.ndarray, layer: DetailTable) -> Details:
    """What `pack` made a payload of. Raises FormatError."""
    stream = payload[FINGERPRINT_BYTES:]
    if stream.endswith(b"\0"):
        raise FormatError("the payload ends in a zero byte, which no encoder writes")
    decoder = SymbolDecoder(stream)

    def code(places: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
        return decoder.decode(len(places), frequencies)

    return Details(_code(places, layer, code, code), layer)


def _code(places: np.ndarray, layer: DetailTable, map_bits: Code, codes: Code) -> np.ndarray:
    rows, cols = places.shape
    grid = np.full((rows * layer.span, cols * layer.span), ABSENT, np.int32)
    known = Known(cols, rows, np.where(places, _EMPTY, _OTHER).astype(np.uint8), (grid, grid))
    code_step(_DETAILED, known, layer, AdaptiveMap(), map_bits, codes)
    return grid
