"""The integers of the prior are those of a second implementation, written from docs/FORMAT.md in plain Python."""

from dataclasses import replace

import numpy as np
import pytest

from dqcodec.prior import adaptation, probabilities, state
from dqcodec.prior.code_model import PriorModel
from dqcodec.prior.config import PriorConfig
from dqcodec.prior.integer_network import IntegerNetwork
from tests.bitstream.samples import random_tokens
from tests.prior import reference_prior
from tests.prior.reference_prior import ReferenceImage, ReferencePrior
from tests.prior.samples import RASTER, REPEATED, SMALL, trace
from tests.vectors.make_prior import exact_tables, make_tensors

ONE_STEP = PriorConfig((16,), (8,), groups=(3,), tile=2, dim=16, heads=1, hidden=8, embedding=8, map_hidden=8,
                       position_layers=0, content_layers=1)  # fmt: skip


ADAPTING = replace(SMALL, adapt_codes=((16, 65536), (13, 131072), (64, 1)), adapt_maps=(16, 524288))


def flat(cells: list[tuple[int, int]], width: int) -> list[int]:
    return [y * width + x for y, x in cells]


def compare(config: PriorConfig, tensors: dict[str, np.ndarray], tokens) -> None:
    """Assert that order and frequencies of all map bits and codes are equal."""
    model = PriorModel(IntegerNetwork(config, tensors), b"test")
    prior = ReferencePrior(config.to_dict(), {name: value.tolist() for name, value in tensors.items()})
    rows, cols = tokens.levels.shape
    image = ReferenceImage(prior, rows, cols)
    for step, here in enumerate(trace(model, tokens, decoder=True)):
        asked = []
        for regions, frequencies in image.map_batches(step) if step else ():
            asked.append((flat(regions, cols), frequencies))
            for r, c in regions:
                image.levels[r][c] = min(int(tokens.levels[r, c]), step)
        batches = zip(here.regions, here.map_frequencies, strict=True)
        assert asked == [(r.tolist(), f.tolist()) for r, f in batches]
        asked = []
        for cells, frequencies in image.code_batches(step):
            asked.append((flat(cells, cols * config.ladder.side(step)), frequencies))
            for y, x in cells:
                image.codes[step][y][x] = int(tokens.codes[step][y, x])
        batches = zip(here.cells, here.frequencies, strict=True)
        assert asked == [(c.tolist(), f.tolist()) for c, f in batches]


@pytest.mark.parametrize("config", [SMALL, REPEATED, RASTER, ONE_STEP, ADAPTING],
                         ids=["small", "repeated", "raster", "one step", "adapting"])
def test_integers_are_those_of_the_specification(config):
    tokens = random_tokens(np.random.default_rng(3), 70, 40, config.ladder, len(config.factors) - 1)
    compare(config, make_tensors(config, 2), tokens)


def test_second_chunk_follows_the_specification(monkeypatch):
    monkeypatch.setattr(state, "CHUNK", 2)
    monkeypatch.setattr(reference_prior, "CHUNK", 2)
    tokens = random_tokens(np.random.default_rng(4), 70, 40, SMALL.ladder, 2)
    compare(SMALL, make_tensors(SMALL, 3), tokens)


def test_limits_of_all_values_follow_the_specification():
    """Exponents this small drive streams, heads and logits to their limits."""
    tensors = make_tensors(SMALL, 5)
    for name in tensors:
        if name.endswith("exponent"):
            tensors[name] = np.full_like(tensors[name], 4)
        elif name.startswith("position."):
            tensors[name] = tensors[name] * 80
    tokens = random_tokens(np.random.default_rng(5), 60, 40, SMALL.ladder, 2)
    compare(SMALL, tensors, tokens)


def test_shipped_tables_are_the_exact_ones():
    tables = exact_tables()
    assert np.array_equal(probabilities.exp_table(), tables["exp_table"])
    assert np.array_equal(probabilities.map_table(), tables["map_table"])
    assert np.array_equal(adaptation.log_table(), tables["log_table"])
    assert np.array_equal(adaptation.unbias_table(), tables["unbias_table"])
