"""Tokens and models for the tests of the bitstream."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from dqcodec.bitstream import Ladder, StaticTables, Tokens, quantise_counts
from dqcodec.errors import UnknownModelError

VECTORS = Path(__file__).parent.parent / "vectors"


def load_vector_maker():
    """The module tests/vectors/make.py."""
    spec = importlib.util.spec_from_file_location("make_vectors", VECTORS / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def finder(model):
    """A find_model that knows one model."""

    def find(fingerprint: bytes):
        if fingerprint != model.fingerprint:
            raise UnknownModelError(f"no model {fingerprint.hex()}")
        return model

    return find


def random_tokens(rng, width: int, height: int, ladder: Ladder, top: int) -> Tokens:
    """Tokens with independent random levels 0..top and codes."""
    levels = rng.integers(0, top + 1, ladder.grid(width, height)).astype(np.uint8)
    codes = []
    for step, size in enumerate(ladder.codebook_sizes):
        present = np.kron(levels >= step, np.ones((ladder.side(step),) * 2, bool))
        codes.append(np.where(present, rng.integers(0, size, present.shape), -1).astype(np.int32))
    return Tokens(width, height, levels, tuple(codes))


def random_model(rng, ladder: Ladder) -> StaticTables:
    """Static tables from random counts."""
    tables = tuple(quantise_counts(rng.integers(0, 1000, size)) for size in ladder.codebook_sizes)
    return StaticTables(ladder, b"test", tables)


def same(a: Tokens, b: Tokens) -> bool:
    """True if two tokens are equal in every field."""
    pairs = zip((a.levels, *a.codes), (b.levels, *b.codes), strict=True)
    return (a.width, a.height) == (b.width, b.height) and all(np.array_equal(x, y) for x, y in pairs)


@st.composite
def ladders(draw):
    """Ladders of 1 to 6 steps over regions of 8, 16 or 32 px."""
    region = draw(st.sampled_from([8, 16, 32]))
    finer = draw(st.lists(st.sampled_from([region, region // 2, region // 4]), max_size=5))
    factors = (region, *sorted(finer, reverse=True))
    sizes = draw(st.lists(st.sampled_from([1, 2, 3, 64, 1024]), min_size=len(factors), max_size=len(factors)))
    return Ladder(factors, tuple(sizes), region)


SIZES = st.one_of(st.integers(1, 130), st.sampled_from([1, 16, 17, 31, 97, 127, 257]))
