"""Golden vectors of the prior: `python -m tests.vectors.make_prior` writes prior/NAME.dq and prior/NAME.json.

The JSON holds the settings and the seed from which all weights, tokens and tables follow by integer
arithmetic alone, the tokens, the fingerprint, and the frequencies that coding them asks for: the first few
and a hash of all. Once released a file here is never rewritten: new features get new files.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from decimal import Decimal, getcontext
from pathlib import Path

import numpy as np

from dqcodec.bitstream import Tokens, write
from dqcodec.prior.code_model import PriorModel
from dqcodec.prior.config import PriorConfig
from dqcodec.prior.integer_network import IntegerNetwork
from dqcodec.prior.limits import layout, linear_shapes
from dqcodec.weights.fingerprint import fingerprint
from tests.prior.samples import StepTrace, trace
from tests.vectors.make import Generator, make_codes, make_levels

HERE = Path(__file__).parent / "prior"
# Exponents that keep values spread over their range, for a layer of one column: sums grow with the root of columns.
_EXPONENT = {"near": 8, "token": 8, "query": 5, "key_value": 5, "out": 7, "wide": 5, "narrow": 7, "head": 6,
             "map_wide": 5, "map_head": 6}  # fmt: skip


class Stream:
    """make.Generator's numbers, many at once."""

    def __init__(self, seed: int):
        self._state = np.uint64(seed)

    def below(self, limit: int, shape: tuple[int, ...]) -> np.ndarray:
        """int64 array of `shape`, uniform below `limit`."""
        powers = np.cumprod(np.full(int(np.prod(shape)), 6364136223846793005, np.uint64))  # mod 2**64
        sums = np.cumsum(np.append(np.uint64(1), powers[:-1]))
        states = powers * self._state + np.uint64(1442695040888963407) * sums
        self._state = states[-1]
        return ((states >> np.uint64(32)) * np.uint64(limit) >> np.uint64(32)).astype(np.int64).reshape(shape)

    def within(self, most: int, shape: tuple[int, ...]) -> np.ndarray:
        """int64 array of `shape`, uniform in -most..most."""
        return self.below(2 * most + 1, shape) - most


def exact_tables() -> dict[str, np.ndarray]:
    """The tables from decimal arithmetic, so that no processor's exponential can change them."""
    getcontext().prec = 40
    fall = [(Decimal(-i) / 32).exp() for i in range(512)]
    rise = [65536 / (1 + (Decimal(256 - i) / 32).exp()) for i in range(512)]
    rising = [(1 + Decimal(i) / 256).ln() for i in range(256)]
    unbias = [(Decimal(128 - i) / 32).exp() for i in range(257)]
    return {
        "log_table": np.array([int((65536 * x).to_integral_value()) for x in rising], np.uint32),
        "unbias_table": np.array([int((65536 * x).to_integral_value()) for x in unbias], np.uint32),
        "exp_table": np.array([int((65536 * x).to_integral_value()) for x in fall], np.uint32),
        "map_table": np.array([min(max(int(x.to_integral_value()), 64), 65472) for x in rise], np.uint32),
    }


def make_tensors(config: PriorConfig, seed: int) -> dict[str, np.ndarray]:
    """Weights of a prior in the order of their names: uniform integers, exponents by the number of columns."""
    stream, tables, linear = Stream(seed), exact_tables(), linear_shapes(config)
    tensors = {}
    for name, (kind, shape) in sorted(layout(config).items()):
        layer, _, part = name.rpartition(".")
        if name in tables:
            tensors[name] = tables[name]
            continue
        if part == "weight":
            value = stream.within(127, shape)
        elif part == "bias":
            value = stream.within(4096, shape)
        elif part == "exponent":
            kind_of_layer = layer.rpartition(".")[2] if "_stack." in layer else layer.partition(".")[0]
            rows = 0 if "head" in kind_of_layer else np.arange(shape[0]) % 3 - 1  # rows of logits share one exponent
            value = np.full(shape, _EXPONENT[kind_of_layer] + linear[layer][1].bit_length() // 2) + rows
        else:
            value = stream.within(31 if name == "content" else 100, shape)
        tensors[name] = value.astype(kind)
    return tensors


@dataclass(frozen=True)
class Case:
    """One golden file: everything follows from these."""

    seed: int
    width: int
    height: int
    config: PriorConfig

    def model(self, device: str = "cpu") -> PriorModel:
        """Entropy model, with the fingerprint that a model file with this prior and no codebooks would have."""
        config, tensors = self.config, make_tensors(self.config, self.seed)
        ladder = f"16:{','.join(map(str, config.factors))}:{','.join(map(str, config.codebook_sizes))}"
        text = json.dumps(config.to_dict(), sort_keys=True)
        mark = fingerprint(ladder, {f"prior.{name}": value for name, value in tensors.items()}, text)
        return PriorModel(IntegerNetwork(config, tensors, device), mark)

    def tokens(self) -> Tokens:
        generator, ladder = Generator(self.seed), self.config.ladder
        levels = make_levels(*ladder.grid(self.width, self.height), len(ladder) - 1, generator)
        return Tokens(self.width, self.height, levels, make_codes(levels, ladder, generator))


_NARROW = dict(dim=16, heads=2, hidden=32, embedding=8, map_hidden=8)
CASES = {
    # Cells in groups, several tiles, those at two borders cut.
    "groups": Case(11, 90, 60, PriorConfig(
        (16, 8, 4), (8, 32, 16), tile=2, groups=(4, 8, 16), position_layers=1, content_layers=1, **_NARROW)),
    # Two steps of one factor, an alphabet of one, unequal depths, class labels, cell after cell.
    "raster": Case(12, 70, 75, PriorConfig(
        (16, 16, 8), (8, 1, 5), tile=3, order="raster", groups=(1, 1, 1), position_layers=2, content_layers=1,
        classes=("cat", "dog"), **_NARROW)),
    # More than 32 tiles: a second chunk sees the codes of the first.
    "chunks": Case(13, 100, 95, PriorConfig(
        (16, 8), (64, 4), tile=1, groups=(1, 2), position_layers=1, content_layers=2, **_NARROW)),
    # The shipped size, as it was before priors adapted to the image.
    "default": Case(14, 200, 150, PriorConfig()),
    # Frequencies that follow the image, in two chunks.
    "adapting": Case(15, 100, 95, PriorConfig(
        (16, 8, 4), (32, 16, 8), tile=1, groups=(4, 4, 2), position_layers=1, content_layers=1,
        adapt_codes=((16, 65536), (13, 131072), (40, 1)), adapt_maps=(16, 524288), **_NARROW)),
}  # fmt: skip


def digest(values: np.ndarray) -> str:
    """SHA-256 of integers, row by row, as little-endian uint32."""
    return hashlib.sha256(values.astype("<u4").tobytes()).hexdigest()


def describe_step(here: StepTrace, size: int) -> dict:
    """Frequencies of a step in coding order: of map bits the first eight, of codes the first two rows' first eight."""
    maps, codes = here.map_row(), here.code_rows(size)
    return {
        "maps": len(maps), "first_maps": maps[:8].tolist(), "maps_sha256": digest(maps),
        "codes": len(codes), "first_codes": codes[:2, :8].tolist(), "codes_sha256": digest(codes),
    }  # fmt: skip


def describe(case: Case, model: PriorModel, found: list[StepTrace]) -> dict:
    """What the JSON file holds."""
    tokens = case.tokens()
    return {
        "seed": case.seed,
        "config": case.config.to_dict(),
        "fingerprint": model.fingerprint.hex(),
        "width": case.width,
        "height": case.height,
        "levels": tokens.levels.tolist(),
        "codes": [codes.tolist() for codes in tokens.codes],
        "frequencies": [describe_step(here, k) for here, k in zip(found, case.config.codebook_sizes, strict=True)],
    }


def main() -> None:
    for name, case in CASES.items():
        target = HERE / f"{name}.dq"
        if target.exists():
            continue
        model, tokens = case.model(), case.tokens()
        target.write_bytes(write(tokens, model))
        text = json.dumps(describe(case, model, trace(model, tokens)), separators=(",", ":"))
        (HERE / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
