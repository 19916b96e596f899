"""Softness in files: said in a byte, skipped by readers that do not know it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from skimage import data

from dqcodec import bitstream, codec
from dqcodec.bitstream import Extra
from dqcodec.cli import cli
from dqcodec.errors import DqError, FormatError
from dqcodec.eval.metrics import Scorer
from dqcodec.models.dqvae import DQVAE
from dqcodec.models.softness import Softness
from dqcodec.weights import load, model_file, registry, slim, soft_file
from tests.conftest import synthetic
from tests.test_weights import SMALL, TABLES


@pytest.fixture
def model(tmp_path) -> str:
    """A small model with a softness that calls every picture half soft."""
    torch.manual_seed(0)
    path = tmp_path / "small.safetensors"
    model_file.write(path, SMALL, DQVAE(SMALL).state_dict(), TABLES, {})
    vae = load(str(path)).vae
    softness = Softness(vae.decoder, 2)
    with torch.no_grad():
        for value in softness.add.values():
            value += 0.2 * torch.randn_like(value)
        softness.reading[0] = 0.5
    own = tmp_path / "soft_one.safetensors"
    path.rename(own)
    soft_file.write(soft_file.path_for(own), vae, softness, {})
    return str(own)


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(synthetic(64, 80))


def amount_in(data: bytes) -> int:
    return next((s.payload[0] for s in bitstream.inspect(data).sections if s.name == "soft"), 0)


def decoded(data, model, **how) -> np.ndarray:
    return np.asarray(codec.decompress(data, model=model, **how)).astype(int)


def without(data: bytes) -> bytes:
    """The file without its section of softness."""
    section = next(s for s in bitstream.inspect(data).sections if s.name == "soft")
    return data[: section.offset] + data[section.end :]


def test_the_amount_is_said_and_adapts_the_decoder(model, image):
    data = codec.compress(image, quality=60, model=model, softness=1.0, detail=False)
    assert amount_in(data) == 255 and "{}.{}".format(*bitstream.inspect(data).header.version) == "1.3"
    with_it, plain = decoded(data, model), decoded(without(data), model)
    assert np.abs(with_it - plain).mean() > 1
    half = decoded(codec.compress(image, quality=60, model=model, softness=0.5, detail=False), model)
    assert np.abs(half - plain).mean() < np.abs(with_it - plain).mean()
    assert np.array_equal(with_it, decoded(data, model)), "a decoded file leaves no trace in the model"
    assert np.array_equal(plain, decoded(without(data), model))


def test_by_itself_it_is_measured_and_zero_is_not_written(model, image):
    assert amount_in(codec.compress(image, quality=60, model=model)) > 0
    data = codec.compress(image, quality=60, model=model, softness=0.0, detail=False)
    assert amount_in(data) == 0 and bitstream.inspect(data).header.version == (1, 0)


def test_a_size_counts_it(model, image):
    data = codec.compress(image, size=400, model=model, softness=0.7)
    assert amount_in(data) == round(0.7 * 255) and 360 <= len(data) <= 400


def test_a_model_that_cannot_adapt_shows_the_file_all_the_same(model, image, tmp_path):
    data = codec.compress(image, quality=60, model=model, softness=1.0)
    soft_file.path_for(tmp_path / "soft_one.safetensors").unlink()
    (tmp_path / "soft_one.safetensors").rename(tmp_path / "plain_one.safetensors")
    plain = str(tmp_path / "plain_one.safetensors")
    assert np.array_equal(decoded(data, plain), decoded(without(data), plain))
    assert amount_in(codec.compress(image, quality=60, model=plain)) == 0


def test_a_superseded_model_adapts_the_decoder_that_it_borrows(model, image):
    data = codec.compress(image, quality=60, model=model, softness=1.0, detail=False)
    older = Path(model).with_name("older.safetensors")
    slim.retire(Path(model), older, Path(model), 7)
    assert np.array_equal(decoded(data, str(older)), decoded(data, model))


@pytest.mark.parametrize("payload", [b"", b"\1\2"])
def test_a_payload_of_another_length_is_refused(model, image, payload):
    tokens, entropy = codec.tokens_of(codec.compress(image, quality=60, model=model), model), load(model).entropy
    data = bitstream.write(tokens, entropy, extras=[Extra("soft", payload)])
    with pytest.raises(FormatError, match="section soft"):
        decoded(data, model)


def test_amounts_out_of_range_are_refused(model, image):
    with pytest.raises(DqError, match="softness 1.5 is outside"):
        codec.compress(image, model=model, softness=1.5)


def test_the_dial_keeps_the_amount(photo):
    loaded = load()
    half = loaded.softened(0.5)
    there, back = half.at(0.2).vae.decoder.state_dict(), loaded.at(0.2).softened(0.5).vae.decoder.state_dict()
    assert half.at(0.2).amount == 0.5 and all(torch.allclose(there[k], back[k], atol=1e-6) for k in there)
    away = half.softened(0.0).vae.decoder.state_dict()
    assert all(torch.allclose(away[k], v, atol=1e-5) for k, v in loaded.vae.decoder.state_dict().items())


def test_the_packaged_model_tells_soft_pictures_from_sharp_ones(photo):
    large = photo.resize((2 * photo.width, 2 * photo.height), Image.Resampling.LANCZOS).crop((200, 100, 651, 400))
    sharp, soft = (amount_in(codec.compress(image, bpp=0.2, scale=1)) for image in (photo, large))
    assert soft > 192 and sharp == 0


def test_adapting_makes_soft_pictures_look_better(shared):
    """By measures that nothing was trained on."""
    scores = {name: Scorer(name, shared / "data" / "metrics") for name in ("lpips_alex", "dists")}
    found = {name: np.zeros(2) for name in scores}
    for picture in map(Image.fromarray, (data.chelsea(), data.astronaut(), data.coffee())):
        large = picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.LANCZOS)
        large = large.crop((200, 100, 651, 400))
        files = [codec.compress(large, bpp=0.2, scale=1, softness=amount) for amount in (1.0, 0.0)]
        decoded = [np.asarray(codec.decompress(file)) for file in files]
        for name, score in scores.items():
            found[name] += [score(np.asarray(large), one) for one in decoded]
    for adapted, plain in found.values():
        assert adapted < 0.95 * plain


@pytest.mark.parametrize("path", sorted((Path(registry.__file__).parent / "soft").glob("*.xz")), ids=lambda p: p.name)
def test_a_packaged_softness_has_a_card_and_its_models_decoder(path):
    name = registry.name_of(path)
    mark = soft_file.decoder_mark(load(name).plain.vae)
    assert f"decoder {mark}" in path.with_name(f"{name}.md").read_text()


def test_the_command_takes_an_amount_and_info_shows_it(tmp_path, photo):
    photo.save(tmp_path / "a.png")
    args = ["compress", str(tmp_path / "a.png"), "--bpp", "0.2", "--softness", "0.4"]
    assert CliRunner().invoke(cli, args).exit_code == 0
    assert amount_in((tmp_path / "a.dq").read_bytes()) == round(0.4 * 255)
    assert "soft" in CliRunner().invoke(cli, ["info", str(tmp_path / "a.dq")]).output
    assert CliRunner().invoke(cli, [*args[:-1], "2"]).exit_code == 2
