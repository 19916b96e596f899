"""Golden vectors pin the prior's frequencies and files: a platform that computes otherwise shows here."""

import json

import numpy as np
import pytest

from dqcodec.bitstream import Tokens, read, write
from tests.bitstream.samples import finder, same
from tests.prior import reference_prior
from tests.prior.samples import trace
from tests.vectors.make_prior import CASES, HERE, describe, make_tensors

NAMES = sorted(CASES)


def load(name: str) -> tuple[bytes, dict]:
    return (HERE / f"{name}.dq").read_bytes(), json.loads((HERE / f"{name}.json").read_text())


def tokens_of(expected: dict) -> Tokens:
    codes = tuple(np.array(grid, np.int32) for grid in expected["codes"])
    return Tokens(expected["width"], expected["height"], np.array(expected["levels"], np.uint8), codes)


def test_every_golden_file_has_its_case():
    assert {path.stem for path in HERE.glob("*.dq")} == {path.stem for path in HERE.glob("*.json")} == set(CASES)


@pytest.mark.parametrize("decoder", [False, True], ids=["parallel", "step by step"])
@pytest.mark.parametrize("name", NAMES)
def test_frequencies_and_fingerprint_are_the_pinned_ones(name, decoder):
    case, (_, expected) = CASES[name], load(name)
    model = case.model()
    found = describe(case, model, trace(model, tokens_of(expected), decoder))
    assert json.loads(json.dumps(found)) == expected


@pytest.mark.parametrize("name", NAMES)
def test_golden_bytes_decode_to_the_pinned_tokens_and_are_written_again(name):
    data, expected = load(name)
    model = CASES[name].model()
    assert same(read(data, finder(model)).tokens, tokens_of(expected))
    assert write(tokens_of(expected), model) == data


@pytest.mark.parametrize("name", [name for name in NAMES if name != "default"])
def test_a_decoder_written_from_the_specification_reads_golden_files(name):
    data, expected = load(name)
    case = CASES[name]
    tensors = {key: value.tolist() for key, value in make_tensors(case.config, case.seed).items()}
    decoded = reference_prior.decode(data, reference_prior.ReferencePrior(expected["config"], tensors))
    assert decoded == (expected["levels"], expected["codes"])
