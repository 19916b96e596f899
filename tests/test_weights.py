import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import dqcodec
from dqcodec import codec
from dqcodec.cli import cli
from dqcodec.errors import UnknownModelError
from dqcodec.models.config import CodecConfig
from dqcodec.models.dqvae import DQVAE
from dqcodec.weights import available, find, load, model_file, registry
from tests.conftest import synthetic

SMALL = CodecConfig(factors=(16, 8), codebook_size=16, code_dim=4, encoder_channels=(16, 16, 16, 16),
                    encoder_blocks=(0, 0, 0, 0), decoder_channels=(16, 16, 16, 16, 16),
                    decoder_blocks=(0, 0, 0, 0, 0), router_hidden=8)
TABLES = [np.full(16, 4096, np.uint32)] * 2


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path))
    return tmp_path


def write(folder, name="small", seed=0, change=None):
    torch.manual_seed(seed)
    state = DQVAE(SMALL).state_dict()
    if change:
        state[change] = state[change] + 0.5
    return model_file.write(folder / f"{name}.safetensors", SMALL, state, TABLES, {})


def test_package_ships_a_default_model_with_a_card_within_40_mb():
    folder = registry._folders()[0]
    assert available()[0] == "default"
    assert sum(p.stat().st_size for p in folder.glob("*.safetensors")) <= 40e6
    for path in folder.glob("*.safetensors"):
        card = path.with_suffix(".md").read_text()
        assert load(path.stem).fingerprint.hex() in card, f"the card of {path.stem} is of another model"


def test_model_is_found_by_the_fingerprint_of_a_file(models):
    mark = write(models)
    assert "small" in available() and find(mark).name == "small" and load("small").fingerprint == mark
    assert find(dqcodec.load().fingerprint).name == "default"


def test_fingerprint_covers_what_tokens_mean_and_not_the_decoder(models):
    marks = {change: write(models, change=change) for change in
             (None, "decoder.to_image.bias", "quantizer.codebooks.1.embedding", "quantizer.predictors.8.weight")}
    assert marks[None] == marks["decoder.to_image.bias"]
    assert len(set(marks.values())) == 3


def test_model_given_by_path(models, tmp_path):
    write(tmp_path, "elsewhere")
    assert load(str(tmp_path / "elsewhere.safetensors")).name == "elsewhere"


def test_unknown_broken_and_forged_models_are_named(models):
    with pytest.raises(UnknownModelError, match="there are: default"):
        load("absent")
    with pytest.raises(UnknownModelError, match="deadbeef"):
        find(bytes.fromhex("deadbeef"))
    write(models)
    path = models / "small.safetensors"
    data = bytearray(path.read_bytes())
    (models / "short.safetensors").write_bytes(data[:-30])
    with pytest.raises(UnknownModelError, match="broken model file"):
        load("short")
    (models / "forged.safetensors").write_bytes(bytes(data).replace(load("small").fingerprint.hex().encode(), b"0" * 8))
    with pytest.raises(UnknownModelError, match="differ from the fingerprint"):
        load("forged")
    (models / "noise.safetensors").write_bytes(b"noise")
    with pytest.raises(UnknownModelError, match="not a dqcodec model file"):
        load("noise")


def test_files_of_the_first_model_still_decode_to_the_same_tokens():
    data = (Path(__file__).parent / "vectors" / "models" / "first.dq").read_bytes()  # written by dqcodec 27df192
    assert find(bytes.fromhex("d1b6977f")).name == "first"
    tokens = codec.tokens_of(data)
    values = tokens.levels.tobytes() + b"".join(c.astype("<i4").tobytes() for c in tokens.codes)
    assert hashlib.sha256(values).hexdigest().startswith("f6eaed78f1fad419")
    assert dqcodec.decompress(data).size == (451, 300)


def test_a_retired_model_decodes_as_before_and_refuses_to_encode(models):
    write(models)
    picture = Image.fromarray(synthetic(64, 48))
    data = dqcodec.compress(picture, quality=70, model="small")
    before = np.asarray(dqcodec.decompress(data))
    done = CliRunner().invoke(cli, ["train", "retire", str(models / "small.safetensors"), "--output",
                                    str(models / "old.safetensors")])
    assert done.exit_code == 0 and load("small").fingerprint.hex() in done.output
    assert (models / "old.safetensors").stat().st_size < 0.9 * (models / "small.safetensors").stat().st_size
    assert np.array_equal(np.asarray(dqcodec.decompress(data, model="old")), before)
    with pytest.raises(UnknownModelError, match="old is kept for its old files"):
        dqcodec.compress(picture, quality=70, model="old")
