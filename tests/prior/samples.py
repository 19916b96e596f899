"""Priors and walks through them for the tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

import numpy as np
import torch

from dqcodec.bitstream import Known, Ladder, Tokens
from dqcodec.bitstream.step_coder import code_step
from dqcodec.prior.code_model import PriorModel
from dqcodec.prior.config import PriorConfig
from dqcodec.prior.integer_network import IntegerNetwork
from dqcodec.prior.network import DQTransformer

NARROW = dict(dim=16, heads=2, hidden=32, embedding=8, map_hidden=8, position_layers=1, content_layers=1)
SMALL = PriorConfig(codebook_sizes=(8, 16, 8), tile=2, **NARROW)
REPEATED = PriorConfig((16, 16, 8), (8, 8, 8), tile=2, groups=(4, 2, 16), **NARROW)
RASTER = PriorConfig(codebook_sizes=(8, 1, 8), tile=2, order="raster", classes=("cat", "dog"), **NARROW)
DEEP = PriorConfig(codebook_sizes=(32, 32, 32), dim=48, heads=4, hidden=96, embedding=16, map_hidden=16, tile=4,
                   position_layers=2, content_layers=2, adapt_codes=((16, 65536), (13, 131072), (13, 131072)),
                   adapt_maps=(16, 524288))  # fmt: skip


def trained(config: PriorConfig, seed: int = 0) -> DQTransformer:
    """A network with random weights and biases, as training starts from."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        network = DQTransformer(config)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if name.endswith("bias"):
                    parameter.normal_(0, 0.3)
    return network.eval()


def model_of(config: PriorConfig, seed: int = 1, device: str = "cpu") -> PriorModel:
    """The entropy model of a prior whose integers are those of the golden files' generator."""
    from tests.vectors.make_prior import make_tensors

    return PriorModel(IntegerNetwork(config, make_tensors(config, seed), device), b"test")


def tokens_with(rng, width: int, height: int, ladder: Ladder, levels: np.ndarray) -> Tokens:
    """Tokens with random codes at the given levels (rows, cols) uint8."""
    codes = []
    for step, size in enumerate(ladder.codebook_sizes):
        present = np.kron(levels >= step, np.ones((ladder.side(step),) * 2, bool))
        codes.append(np.where(present, rng.integers(0, size, present.shape), -1).astype(np.int32))
    return Tokens(width, height, levels, tuple(codes))


@dataclass
class StepTrace:
    """What was asked for one step, in coding order: map bits and codes, batch by batch."""

    regions: list[np.ndarray] = field(default_factory=list)
    map_frequencies: list[np.ndarray] = field(default_factory=list)
    cells: list[np.ndarray] = field(default_factory=list)
    frequencies: list[np.ndarray] = field(default_factory=list)

    def map_row(self) -> np.ndarray:
        """All frequencies of map bits, (n,) int64."""
        return np.concatenate([np.empty(0, np.int64), *self.map_frequencies])

    def code_rows(self, size: int) -> np.ndarray:
        """All frequencies of codes, (n, size) int64."""
        return np.concatenate([np.empty((0, size), np.int64), *self.frequencies])


def walk(model, tokens: Tokens, decoder: bool = False) -> Iterator[StepTrace]:
    """Code `tokens` step by step, and give what was asked for.

    decoder: group by group from cached keys and values, as a decoder has to; else teacher-forced, in parallel.
    """
    known = Known.nothing(tokens.width, tokens.height, model.ladder, None if decoder else tokens)
    maps = model.map_model()
    for step in range(int(tokens.levels.max()) + 1):
        here = StepTrace()

        def map_bits(regions, frequencies, step=step, here=here):
            here.regions.append(regions)
            here.map_frequencies.append(frequencies[:, 1])
            return (tokens.levels.reshape(-1)[regions] >= step).astype(np.int32)

        def codes(cells, frequencies, step=step, here=here):
            here.cells.append(cells)
            here.frequencies.append(frequencies)
            return tokens.codes[step].reshape(-1)[cells]

        code_step(step, known, model, maps, map_bits, codes)
        yield here


def trace(model, tokens: Tokens, decoder: bool = False) -> list[StepTrace]:
    """All that coding `tokens` asks for; see walk."""
    return list(walk(model, tokens, decoder))


def equal(a: list[StepTrace], b: list[StepTrace]) -> bool:
    """Whether two walks asked for the same symbols with the same frequencies."""

    def same(x: list[np.ndarray], y: list[np.ndarray]) -> bool:
        return len(x) == len(y) and all(np.array_equal(i, j) for i, j in zip(x, y, strict=True))

    return len(a) == len(b) and all(
        same(getattr(x, part.name), getattr(y, part.name)) for x, y in zip(a, b, strict=True) for part in fields(x)
    )
