"""A prior in a model file: read back as it was, covered by the fingerprint, refused where it does not fit."""

from dataclasses import replace

import numpy as np
import pytest

from dqcodec.errors import UnknownModelError
from dqcodec.models.dqvae import DQVAE
from dqcodec.prior.config import PriorConfig
from dqcodec.prior.quantised import quantised, restored
from dqcodec.weights import model_file
from dqcodec.weights.model_file import Model
from tests.prior.samples import NARROW, trained
from tests.test_weights import SMALL as CODEC
from tests.test_weights import TABLES
from tests.vectors.make_prior import make_tensors

PRIOR = PriorConfig((16, 8), (16, 16), groups=(4, 4), tile=2, **NARROW)
STATE = DQVAE(CODEC).state_dict()


def write(folder, prior=None, config=PRIOR) -> bytes:
    return model_file.write(folder / "a.safetensors", CODEC, STATE, TABLES, {}, prior and (config, prior))


def test_prior_is_read_back_with_its_fingerprint(tmp_path):
    mark = write(tmp_path, quantised(trained(PRIOR)))
    model = Model.read(tmp_path / "a.safetensors")
    assert model.fingerprint == model.entropy.fingerprint == mark
    assert model.prior.config == PRIOR and model.entropy.ladder == CODEC.ladder


def test_fingerprint_changes_with_every_weight_and_setting_of_the_prior(tmp_path):
    tensors = make_tensors(PRIOR, 1)
    marks = {write(tmp_path), write(tmp_path, tensors), write(tmp_path, tensors, replace(PRIOR, order="raster"))}
    for name, value in tensors.items():
        changed = value.copy()
        changed.flat[-1] ^= 1
        marks.add(write(tmp_path, tensors | {name: changed}))
    assert len(marks) == 3 + len(tensors)
    assert write(tmp_path, dict(reversed(make_tensors(PRIOR, 1).items()))) in marks


def test_broken_priors_are_refused(tmp_path):
    tensors = make_tensors(PRIOR, 1)
    other = replace(PRIOR, codebook_sizes=(16, 8))
    for prior, config, message in (
        (tensors | {"near.0.bias": tensors["near.0.bias"] + 2**23}, PRIOR, "sums may reach"),
        (tensors, replace(PRIOR, dim=24), "must be"),
        (make_tensors(other, 1), other, "ladder"),
    ):
        write(tmp_path, prior, config)
        with pytest.raises(UnknownModelError, match=message):
            Model.read(tmp_path / "a.safetensors")


def test_model_without_a_prior_codes_with_tables(tmp_path):
    write(tmp_path)
    model = Model.read(tmp_path / "a.safetensors")
    assert model.prior is None and model.entropy is model.tables
    assert all(np.array_equal(a, b) for a, b in zip(model.tables.tables, TABLES, strict=True))


def test_a_network_restored_from_a_model_file_has_the_same_integers():
    integers = quantised(trained(PRIOR))
    network = trained(PRIOR, seed=1)
    network.load_state_dict(restored(integers))
    again = quantised(network)
    assert again.keys() == integers.keys()
    assert all(np.array_equal(again[name], value) for name, value in integers.items())
