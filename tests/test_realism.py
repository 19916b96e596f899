"""The dial between two decoders of the same tokens."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import dqcodec
from dqcodec.cli import cli
from dqcodec.errors import DataError, DqError, UnknownModelError
from dqcodec.eval import codecs
from dqcodec.models.dqvae import DQVAE
from dqcodec.training import checkpoint
from dqcodec.training.config import DataConfig, LossConfig, TrainConfig
from dqcodec.training.export import export_networks
from dqcodec.training.trainer import RunFolders, Trainer
from dqcodec.weights import load, model_file, registry, slim
from dqcodec.weights.realism import DECODER, dial_tensors
from tests.conftest import synthetic
from tests.test_weights import SMALL, TABLES

NOISY = replace(SMALL, noise_factors=(4, 1), decoder_blocks=(*SMALL.decoder_blocks[:4], SMALL.decoder_blocks[4] + 1))


def states():
    """A DQ-VAE, and the same after a training of its decoder, with noise."""
    torch.manual_seed(0)
    plain, real = DQVAE(SMALL).state_dict(), DQVAE(NOISY).state_dict()
    real |= {k: v + 0.05 * torch.randn_like(v) if k.startswith(DECODER) and v.is_floating_point() else v
             for k, v in plain.items()}
    return plain, real


@pytest.fixture
def model(tmp_path):
    plain, real = states()
    model_file.write(tmp_path / "plain.safetensors", SMALL, plain, TABLES, {})
    run = tmp_path / "run"
    config = {"mode": "codec", "model": NOISY.to_dict(), "train_only": ("decoder",)}
    checkpoint.save(run, {"config": config, "ema": real, "step": 7, "elapsed": 1})
    export_networks(run, tmp_path / "plain.safetensors", tmp_path / "dial.safetensors", realism=0.75)
    export_networks(run, tmp_path / "plain.safetensors", tmp_path / "real.safetensors")
    return str(tmp_path / "dial.safetensors")


@pytest.fixture
def file(model):
    return dqcodec.compress(Image.fromarray(synthetic(64, 80)), quality=80, model=model, detail=False)


def decoded(data, **how) -> np.ndarray:
    return np.asarray(dqcodec.decompress(data, **how)).astype(int)


def trained_around(folder):
    """The model plain.safetensors of a folder, the weights of a run that left its codebooks alone, and the run."""
    plain = load(str(folder / "plain.safetensors"))
    state = {k: v.clone() for k, v in plain.vae.state_dict().items()}
    for name in ("encoder.", "router.", "decoder."):
        state[next(k for k in state if k.startswith(name))] += 0.5
    config = {"mode": "codec", "model": SMALL.to_dict(), "train_only": ("encoder", "router", "decoder")}
    checkpoint.save(folder / "around", {"config": config, "ema": state, "step": 9, "elapsed": 1})
    return plain, state, folder / "around"


def test_networks_trained_around_the_codebooks_replace_the_models_own(tmp_path, model):
    """Encoder, router and plain decoder come from the run, tables and codebooks stay, with them the fingerprint, and
    the dial leads as far as before."""
    plain, state, run = trained_around(tmp_path)
    output = tmp_path / "around.safetensors"
    assert export_networks(run, Path(model), output) == plain.fingerprint
    end, new = load(str(output)).at(1.0).vae.state_dict(), load(str(output)).plain.vae.state_dict()
    for k, v in state.items():
        step = v.abs().amax(tuple(range(1, v.ndim)), keepdim=True) / 127 if v.ndim > 1 else v.abs() / 1000
        assert ((new[k] - v).abs() <= step * (0 if k.startswith("quantizer.") else 0.51)).all()
    before = load(model)
    for k, v in before.at(1.0).vae.state_dict().items():
        assert torch.allclose(end[k] - new[k], v - before.plain.vae.state_dict()[k], atol=1e-6)


def test_a_run_of_all_networks_brings_its_encoder_and_becomes_the_other_end(tmp_path, model):
    plain, state, run = trained_around(tmp_path)
    output = tmp_path / "all.safetensors"
    assert export_networks(run, tmp_path / "plain.safetensors", output, realism=0.5) == plain.fingerprint
    new = load(str(output))
    assert new.dial.default == 0.5
    for ends, decoder in ((new.plain, plain.vae.state_dict()), (new.at(1.0), state)):
        for k, v in ends.vae.state_dict().items():
            wanted = decoder[k] if k.startswith(DECODER) else state[k]
            assert (v - wanted).abs().max() <= wanted.abs().max() / 20, k


@pytest.mark.parametrize("how", ["retired", "shared"])
def test_a_slimmer_model_keeps_the_decoder_where_its_dial_stands(tmp_path, model, file, how):
    less = tmp_path / "less.safetensors.xz"
    slim.retire(Path(model), less, None, 7) if how == "retired" else slim.share(Path(model), less, Path(model), 8)
    old = load(str(less))
    assert old.dial is None and old.encodes == (how == "shared") and old.fingerprint == load(model).fingerprint
    away, there = (np.abs(decoded(file, model=str(less)) - decoded(file, model=model, **how)).mean()
                   for how in ({"realism": 0}, {}))
    assert there < 1.5 and there < 0.3 * away


def test_a_dial_does_not_outlive_a_decoder_that_grew(tmp_path, model):
    large = replace(SMALL, decoder_blocks=tuple(n + 2 for n in SMALL.decoder_blocks),
                    encoder_blocks=tuple(n + 1 for n in SMALL.encoder_blocks))
    books = {k: v for k, v in load(model).plain.vae.state_dict().items() if k.startswith("quantizer.")}
    config = {"mode": "codec", "model": large.to_dict(), "train_only": ("encoder", "router", "decoder")}
    checkpoint.save(tmp_path / "grown", {"config": config, "ema": DQVAE(large).state_dict() | books, "step": 9,
                                         "elapsed": 1})
    mark = export_networks(tmp_path / "grown", Path(model), tmp_path / "grown.safetensors")
    grown = load(str(tmp_path / "grown.safetensors"))
    assert grown.fingerprint == mark == load(model).fingerprint
    assert grown.dial is None and grown.config == large


def test_both_ends_are_the_two_decoders(model, file):
    folder = model.removesuffix("dial.safetensors")
    for realism, name in ((0, "plain"), (1, "real")):
        alone = decoded(file, model=f"{folder}{name}.safetensors")
        most = 6 if realism else 2  # the difference is in 4 bits
        assert np.abs(decoded(file, model=model, realism=realism) - alone).max() <= most, name
    ends = [decoded(file, model=model, realism=realism) for realism in (0, 1)]
    assert np.abs(ends[0] - ends[1]).mean() > 2


def test_the_dial_stands_where_the_model_says_and_leaves_no_trace(model, file):
    assert load(model).dial.default == 0.75
    before = decoded(file, model=model)
    assert np.array_equal(before, decoded(file, model=model, realism=0.75))
    assert not np.array_equal(before, decoded(file, model=model, realism=0.25))
    assert np.array_equal(before, decoded(file, model=model))


def test_tokens_and_fingerprint_do_not_know_the_dial(model, file):
    folder = model.removesuffix("dial.safetensors")
    marks = {load(f"{folder}{name}.safetensors").fingerprint for name in ("plain", "dial", "real")}
    assert len(marks) == 1
    plain = f"{folder}plain.safetensors"
    assert dqcodec.compress(Image.fromarray(synthetic(64, 80)), quality=80, model=plain, detail=False) == file


def test_settings_out_of_range_and_models_with_one_decoder_are_named(model, file, tmp_path):
    with pytest.raises(DqError, match="realism 1.5 is outside"):
        dqcodec.decompress(file, model=model, realism=1.5)
    with pytest.raises(DqError, match="plain has one decoder"):
        dqcodec.decompress(file, model=str(tmp_path / "plain.safetensors"), realism=0.5)
    plain, real = states()
    lame = dial_tensors(plain, {k: v for k, v in real.items() if k in plain})
    lame.popitem()
    model_file.write(tmp_path / "lame.safetensors", SMALL, plain, TABLES, {}, dial=(1.0, lame))
    with pytest.raises(UnknownModelError, match="broken model file"):
        load(str(tmp_path / "lame.safetensors"))


def test_a_decoder_that_grows_starts_as_the_function_it_was(model, tmp_path):
    Image.fromarray(synthetic(64, 80)).save(tmp_path / "a.png")
    settings = TrainConfig(model=replace(NOISY, noise_factors=()).to_dict(), train_only=("decoder",),
                           loss=LossConfig(lpips_vgg=0.0), data=DataConfig(crop=32, batch=1, workers=1), steps=1)
    plain = tmp_path / "plain.safetensors"
    trainer = Trainer(settings, RunFolders((tmp_path / "a.png",), tmp_path / "grown"), init=plain)
    trainer.batches.close()
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    before, after = load(str(plain)).vae.eval(), trainer.model.eval()
    assert len(after.decoder.state_dict()) > len(before.decoder.state_dict())
    assert torch.allclose(before.reconstruct(x, 0.2)[0], after.reconstruct(x, 0.2)[0], atol=1e-5)


@pytest.mark.parametrize("config, train_only, end", [(SMALL, (), 0), (NOISY, ("decoder",), 1)])
def test_training_goes_on_from_either_end_of_a_shipped_dial(model, tmp_path, config, train_only, end):
    Image.fromarray(synthetic(64, 80)).save(tmp_path / "a.png")
    settings = TrainConfig(model=config.to_dict(), train_only=train_only, loss=LossConfig(lpips_vgg=0.0),
                           data=DataConfig(crop=32, batch=1, workers=1), steps=1)
    trainer = Trainer(settings, RunFolders((tmp_path / "a.png",), tmp_path / "on"), init=Path(model))
    trainer.batches.close()
    found = trainer.model.decoder.state_dict()
    expected = load(model).at(end).vae.decoder.state_dict()
    assert all(torch.allclose(value, expected[name], atol=1e-6) for name, value in found.items())
    assert any(name.startswith("noise.") for name in found) == (end == 1)


def test_the_benchmark_measures_any_setting(model, file, tmp_path, monkeypatch):
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path))
    (codec,), skipped = codecs.select(("dqcodec-dial@0.25", "dqcodec-plain@0"))
    assert codec.name == "dqcodec-dial@0.25" and "one decoder" in skipped[0].reason
    assert np.array_equal(np.asarray(codec.decode(file)).astype(int), decoded(file, model=model, realism=0.25))
    for name in ("dqcodec@2", "dqcodec@much"):
        with pytest.raises(DataError, match="is no realism"):
            codecs.select((name,))


def test_command_line_turns_the_dial(model, file, tmp_path):
    (tmp_path / "a.dq").write_bytes(file)
    for realism in ("0", "1"):
        command = ["decompress", str(tmp_path / "a.dq"), "-o", str(tmp_path / f"{realism}.png"), "--model", model,
                   "--realism", realism]
        done = CliRunner().invoke(cli, command)
        assert done.exit_code == 0, done.output
        assert np.array_equal(np.asarray(Image.open(tmp_path / f"{realism}.png")),
                              decoded(file, model=model, realism=float(realism)))
    assert CliRunner().invoke(cli, ["decompress", str(tmp_path / "a.dq"), "--realism", "2"]).exit_code == 2
