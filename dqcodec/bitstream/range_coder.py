"""Range coder: integer frequencies and symbols in, bytes out, and back.

The coder is constriction's `stream.queue.RangeEncoder` (Bamler, "Understanding Entropy Coding With
Asymmetric Numeral Systems", arXiv 2201.01741): 32-bit words, 64-bit state, 24-bit probabilities.
`Categorical(perfect=False)` over float64 rows frequency / 2**16 is exact integer arithmetic: it gives
symbol i the interval that starts at i + (sum of the frequencies below i) * (2**24 - K) / 2**16, rounded
down (docs/FORMAT.md, "Range coder").

Words are stored most significant byte first, so that a payload is the digits of one number. The coder
ends with an interval of numbers that all decode alike; the encoder stores the one with the fewest
bytes, and a decoder reads zeros behind the last byte. That saves 2-3 bytes a section against whole
words.
"""

from __future__ import annotations

import numpy as np

from dqcodec.bitstream.frequencies import TOTAL, check_frequencies
from dqcodec.errors import FormatError

_STATE = 1 << 64
_WORD = 1 << 32
_ROWS_AT_ONCE = 1 << 13


def _stream():
    import constriction  # here, so that a training machine needs numpy only to know a Ladder

    return constriction.stream


def _runs(n: int, frequencies: np.ndarray):
    """Cut n symbols into runs for one call each: (slice, model, probability rows or none).

    frequencies: (n, K) or (1, K) integers; one row serves all n symbols. Symbols of an alphabet of one
    carry nothing and yield no run.
    """
    check_frequencies(frequencies)
    if frequencies.shape[0] not in (1, n):
        raise ValueError(f"{frequencies.shape[0]} rows of frequencies for {n} symbols")
    if n == 0 or frequencies.shape[1] == 1:
        return
    categorical = _stream().model.Categorical
    if frequencies.shape[0] == 1:
        probabilities = frequencies[0].astype(np.float64) / TOTAL  # (K,)
        yield slice(0, n), categorical(probabilities, perfect=False), ()
        return
    for start in range(0, n, _ROWS_AT_ONCE):
        rows = frequencies[start : start + _ROWS_AT_ONCE].astype(np.float64) / TOTAL  # (rows, K)
        yield slice(start, start + len(rows)), categorical(perfect=False), (rows,)


class SymbolEncoder:
    """Collects symbols; `finish` returns the payload."""

    def __init__(self):
        self._coder = _stream().queue.RangeEncoder()

    def encode(self, symbols: np.ndarray, frequencies: np.ndarray) -> None:
        """Append symbols (n,) int32 in 0..K-1 under frequencies (n, K) or (1, K) that sum to 2**16."""
        for run, model, rows in _runs(len(symbols), frequencies):
            self._coder.encode(np.ascontiguousarray(symbols[run], np.int32), model, *rows)

    def finish(self) -> bytes:
        """The shortest byte string that decodes, zeros behind it understood, to what was encoded."""
        words = self._coder.get_compressed()
        if not len(words):
            return b""
        _, (lower, size) = self._coder.pos()
        number = int.from_bytes(words.astype(">u4").tobytes(), "big")
        count = len(words)
        # get_compressed rounds `lower` up to a whole word, and adds a zero word where that is not enough.
        if (lower + _WORD - 1) % _STATE // _WORD != (lower + size) % _STATE // _WORD:
            number *= _WORD
            count += 1
        first = number - -lower % _WORD
        dropped = 0
        while dropped < 4 * count and _round_up(first, 8 * (dropped + 1)) < first + size:
            dropped += 1
        number = _round_up(first, 8 * dropped) >> 8 * dropped
        return number.to_bytes(4 * count - dropped, "big")


def _round_up(number: int, bits: int) -> int:
    return -(-number >> bits) << bits


class SymbolDecoder:
    """Reads back what SymbolEncoder wrote.

    Any payload decodes to something: integrity is the section's CRC.
    """

    def __init__(self, payload: bytes):
        words = np.frombuffer(payload + bytes(-len(payload) % 4), ">u4").astype(np.uint32)
        self._coder = _stream().queue.RangeDecoder(words)

    def decode(self, n: int, frequencies: np.ndarray) -> np.ndarray:
        """The next n symbols, (n,) int32, under frequencies (n, K) or (1, K) that sum to 2**16.

        Raises FormatError where no symbol belongs to the payload's number.
        """
        symbols = np.zeros(n, np.int32)
        for run, model, rows in _runs(n, frequencies):
            try:
                symbols[run] = self._coder.decode(model, *(rows or (n,)))
            except AssertionError:
                raise FormatError("a payload is not the output of a range encoder") from None
        return symbols
