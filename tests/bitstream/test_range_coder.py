"""The range coder gives the bytes that docs/FORMAT.md defines, the fewest that decode."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dqcodec.bitstream.frequencies import quantise_counts
from dqcodec.bitstream.range_coder import SymbolDecoder, SymbolEncoder
from dqcodec.errors import FormatError
from tests.bitstream.reference_decoder import RangeDecoder


def draw(rng, size, n):
    """A skewed table (1, size) and n symbols from it."""
    table = quantise_counts((rng.random(size) ** 6 * 1e6).astype(np.int64))[None]
    return table, rng.choice(size, n, p=table[0] / 65536).astype(np.int32)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3, 17, 300]), st.integers(0, 120))
def test_payload_decodes_here_and_in_the_specified_decoder(seed, size, n):
    rng = np.random.default_rng(seed)
    table, symbols = draw(rng, size, n)
    encoder = SymbolEncoder()
    encoder.encode(symbols, table)
    payload = encoder.finish()
    assert not payload.endswith(b"\0")
    assert np.array_equal(SymbolDecoder(payload).decode(n, table), symbols)
    reference = RangeDecoder(payload)
    assert [reference.symbol(table[0].tolist()) for _ in range(n)] == symbols.tolist()
    if payload:
        shorter = SymbolDecoder(payload[:-1])
        try:
            decoded = shorter.decode(n, table)
        except FormatError:
            return
        assert not np.array_equal(decoded, symbols)


def test_no_shorter_payload_exists():
    rng = np.random.default_rng(5)
    for _ in range(300):
        table, symbols = draw(rng, 3, int(rng.integers(1, 14)))
        encoder = SymbolEncoder()
        encoder.encode(symbols, table)
        payload = encoder.finish()
        for other in range(256 ** (len(payload) - 1) if 1 <= len(payload) <= 2 else 0):
            shorter = other.to_bytes(len(payload) - 1, "big")
            reference = RangeDecoder(shorter)
            assert [reference.symbol(table[0].tolist()) for _ in symbols] != symbols.tolist()


def test_one_row_for_all_equals_a_row_for_each():
    rng = np.random.default_rng(2)
    table, symbols = draw(rng, 50, 20000)
    payloads = []
    for rows in (table, np.repeat(table, len(symbols), axis=0)):
        encoder = SymbolEncoder()
        encoder.encode(symbols, rows)
        payloads.append(encoder.finish())
        assert np.array_equal(SymbolDecoder(payloads[-1]).decode(len(symbols), rows), symbols)
    assert payloads[0] == payloads[1]


def test_reading_behind_the_end_gives_zeros_for_ever():
    table = np.array([[40000, 25536]], np.uint32)
    assert not SymbolDecoder(b"").decode(10000, table).any()


def test_payload_bytes_are_pinned():
    table = quantise_counts(np.arange(1, 1025))[None]
    symbols = (np.arange(40) ** 3 % 1024).astype(np.int32)
    encoder = SymbolEncoder()
    encoder.encode(symbols, table)
    encoder.encode(np.array([0, 1, 1], np.int32), np.array([[65535, 1], [1, 65535], [32768, 32768]]))
    assert encoder.finish().hex() == (
        "00000001000806324f2e2285b259946d6bc823818ecebce9e9829165498d1c54"
        "22a8f5338113021c2de0b059322a8a28556e2d3fce5421bc32"
    )


def test_payload_outside_every_symbol_is_an_error_not_a_crash():
    table = np.array([[60000, 3000, 2535, 1]], np.uint32)
    with pytest.raises(FormatError, match="not the output of a range encoder"):
        SymbolDecoder(b"\xff" * 16).decode(20, table)


@pytest.mark.parametrize("rows", [[[65536, 0]], [[30000, 30000]], [[32768.0, 32768.0]], [65536]])
def test_frequencies_that_break_the_rules_are_refused(rows):
    with pytest.raises(ValueError):
        SymbolEncoder().encode(np.zeros(1, np.int32), np.array(rows))


def test_wrong_number_of_rows_is_refused():
    with pytest.raises(ValueError, match="2 rows of frequencies for 3 symbols"):
        SymbolEncoder().encode(np.zeros(3, np.int32), np.full((2, 2), 32768))
