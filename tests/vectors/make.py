"""Golden .dq files: `python tests/vectors/make.py` writes NAME.dq and NAME.json beside this file.

The JSON holds what a decoder needs and must find: ladder, frequency tables, fingerprint, header fields,
extras, levels and codes. Everything comes from one linear congruential generator, so that no library's
random stream can change it. Once released a file here is never rewritten: new features get new files.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from dqcodec.bitstream import (
    ABSENT,
    WHOLE,
    Details,
    DetailTable,
    Extra,
    Frame,
    Ladder,
    StaticTables,
    Tokens,
    quantise_counts,
    write,
)

HERE = Path(__file__).parent


class Generator:
    """Integers from a 64-bit linear congruential generator (Knuth's MMIX constants), upper 32 bits."""

    def __init__(self, seed: int):
        self._state = seed

    def below(self, limit: int) -> int:
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self._state >> 32) * limit >> 32

    def grid(self, rows: int, cols: int, limit: int) -> np.ndarray:
        """(rows, cols) int64, uniform below `limit`."""
        return np.array([[self.below(limit) for _ in range(cols)] for _ in range(rows)], np.int64)


def make_tables(ladder: Ladder, generator: Generator) -> tuple[np.ndarray, ...]:
    """Skewed frequency tables, one a step."""
    counts = [generator.grid(1, size, 1000)[0] ** 2 for size in ladder.codebook_sizes]
    return tuple(quantise_counts(count) for count in counts)


def make_levels(rows: int, cols: int, top: int, generator: Generator) -> np.ndarray:
    """Blobby level map (rows, cols) uint8 in 0..top: the sum of four shifted copies of noise."""
    noise = generator.grid(rows + 1, cols + 1, 2 * top + 1)
    total = noise[1:, 1:] + noise[1:, :-1] + noise[:-1, 1:] + noise[:-1, :-1]
    return np.clip(total // 3 - top // 2, 0, top).astype(np.uint8)


def make_codes(levels: np.ndarray, ladder: Ladder, generator: Generator) -> tuple[np.ndarray, ...]:
    """Random codes where `levels` (rows, cols) has them: the smaller of two draws, so low codes prevail."""
    codes = []
    for step, size in enumerate(ladder.codebook_sizes):
        side = ladder.side(step)
        present = np.kron(levels >= step, np.ones((side, side), bool))
        draws = [generator.grid(*present.shape, size) for _ in range(2)]
        codes.append(np.where(present, np.minimum(*draws), -1).astype(np.int32))
    return tuple(codes)


def make_case(seed, width, height, ladder, top, *, grey=False, scale=WHOLE, grain=0, extras=()):
    """(model, tokens, write options) of one golden file."""
    frame = Frame(width, height, grey, scale, grain)
    generator = Generator(seed)
    tables = make_tables(ladder, generator)
    levels = make_levels(*ladder.grid(*frame.coded), top, generator)
    tokens = Tokens(*frame.coded, levels, make_codes(levels, ladder, generator))
    model = StaticTables(ladder, bytes.fromhex(f"{seed:08x}"), tables)
    return model, tokens, {"frame": frame, "extras": tuple(extras)}


def detailed_case(seed, width, height, ladder, side, size, sparse=False):
    """One with detail in about half of the places that may have some."""
    last = len(ladder) - 1
    model, tokens, options = make_case(seed, width, height, ladder, last, grain=5)
    generator = Generator(seed + 1000)
    table = quantise_counts(generator.grid(1, size, 1000)[0] ** 2)
    layer = DetailTable(bytes.fromhex(f"{seed + 1000:08x}"), side, table, sparse)
    places = layer.places(tokens.levels, last)
    chosen = places & (generator.grid(*places.shape, 2) == 1)
    present = np.kron(chosen, np.ones((layer.span, layer.span), bool))
    codes = np.where(present, generator.grid(*present.shape, size), ABSENT).astype(np.int32)
    return model, tokens, options | {"details": Details(codes, layer)}


def worked_example():
    """The file that docs/FORMAT.md takes apart."""
    ladder = Ladder((16, 8), (4, 4))
    tables = (np.array([32768, 16384, 8192, 8192], np.uint32), np.full(4, 16384, np.uint32))
    model = StaticTables(ladder, bytes.fromhex("c0dec0de"), tables)
    levels = np.array([[0, 1, 0], [0, 1, 1]], np.uint8)
    tokens = Tokens(40, 20, levels, make_codes(levels, ladder, Generator(1)))
    return model, tokens, {"frame": Frame.of(tokens), "extras": ()}


EXTRAS = (
    Extra("xmp", b"<x:xmpmeta/>"),
    Extra("icc", bytes(range(200))),
    Extra("exif", b"Exif\0\0"),
    Extra("alpha", b"\x89PNG not really"),
)
CASES = {
    "worked_example": worked_example,
    "one_pixel": lambda: make_case(2, 1, 1, Ladder((16,), (4,)), 0),
    "five_steps": lambda: make_case(3, 251, 173, Ladder((16, 16, 16, 8, 4), (1024, 512, 64, 256, 16)), 4),
    "extras_and_grey": lambda: make_case(
        4, 61, 83, Ladder((32, 16, 8), (100, 7, 1), region=32), 2, grey=True, extras=EXTRAS
    ),
    "lower_steps_only": lambda: make_case(5, 128, 96, Ladder((16, 16, 8, 4), (64, 64, 64, 64)), 1),
    "scaled": lambda: make_case(7, 301, 187, Ladder((16, 8, 4), (64, 32, 256)), 2, scale=171),
    "grain": lambda: make_case(8, 45, 77, Ladder((16, 8), (16, 16)), 1, grain=24),
    "scaled_grain": lambda: make_case(9, 145, 77, Ladder((16, 8), (16, 16)), 1, scale=128, grain=255),
    "detail": lambda: detailed_case(10, 201, 107, Ladder((16, 8, 4), (32, 32, 64)), 4, 200),
    "sparse": lambda: detailed_case(12, 107, 93, Ladder((16, 8, 4), (32, 32, 64)), 4, 100, sparse=True),
    "soft": lambda: make_case(11, 83, 61, Ladder((16, 8), (32, 64)), 1, extras=(Extra("soft", b"\x9c"), EXTRAS[1])),
    "wide_strip": lambda: make_case(6, 1009, 3, Ladder((16, 8), (4096, 2)), 1),
}


def describe(model: StaticTables, tokens: Tokens, options: dict) -> dict:
    """What the JSON file holds."""
    frame = options["frame"]
    return {
        "factors": model.ladder.factors,
        "codebook_sizes": model.ladder.codebook_sizes,
        "region": model.ladder.region,
        "fingerprint": model.fingerprint.hex(),
        "tables": [table.tolist() for table in model.tables],
        "width": frame.width,
        "height": frame.height,
        "grey": frame.grey,
        **({"scale": frame.scale} if frame.scale != WHOLE else {}),
        **({"grain": frame.grain} if frame.grain else {}),
        "extras": {extra.kind: extra.data.hex() for extra in options["extras"]},
        "levels": tokens.levels.tolist(),
        "codes": [codes.tolist() for codes in tokens.codes],
        **({"detail": describe_detail(options["details"])} if "details" in options else {}),
    }


def describe_detail(details: Details) -> dict:
    """Layer and codes of the section of detail."""
    layer = details.layer
    return {"fingerprint": layer.fingerprint.hex(), "side": layer.side, "table": layer.table.tolist(),
            **({"sparse": True} if layer.sparse else {}), "codes": details.codes.tolist()}


def main() -> None:
    for name, case in CASES.items():
        target = HERE / f"{name}.dq"
        if target.exists():
            continue
        model, tokens, options = case()
        target.write_bytes(write(tokens, model, **options))
        text = json.dumps(describe(model, tokens, options), separators=(",", ":"))
        (HERE / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
