import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from dqcodec.cli import cli
from dqcodec.errors import ConfigError, DataError, UnknownModelError
from dqcodec.models.dqvae import DQVAE
from dqcodec.training import checkpoint
from dqcodec.training.export import export_softness
from dqcodec.training.soft_config import from_dict
from dqcodec.training.soft_trainer import SoftFolders, SoftTrainer
from dqcodec.training.soft_views import soft_view
from dqcodec.weights import load, model_file, slim, soft_file
from tests.conftest import synthetic
from tests.test_weights import SMALL, TABLES

CONFIG = {"rank": 2, "loss": {"lpips_vgg": 0.0}, "data": {"crop": 32, "batch": 2, "workers": 1}, "steps": 6,
          "log_every": 1, "look_every": 3, "checkpoint_every": 2, "optim": {"warmup_steps": 2, "lr": 1e-3}}


@pytest.fixture
def folders(tmp_path):
    for name in ("data", "valid"):
        (tmp_path / name).mkdir()
    for i in range(3):
        Image.fromarray(synthetic(272, 288, seed=i)).save(tmp_path / "data" / f"{i}.png")
    Image.fromarray(synthetic(256, 256, seed=9)).save(tmp_path / "valid" / "0.png")
    torch.manual_seed(0)
    model_file.write(tmp_path / "base.safetensors", SMALL, DQVAE(SMALL).state_dict(), TABLES, {})
    return SoftFolders(tmp_path / "base.safetensors", (tmp_path / "data",), tmp_path / "out", tmp_path / "valid")


def run(config, folders, stop_at=None, resume=False):
    trainer = SoftTrainer(config, folders, resume=resume)
    trainer.run(should_stop=lambda: trainer.step == stop_at)
    return checkpoint.load(folders.out)


def test_a_stopped_and_resumed_run_ends_exactly_like_an_uninterrupted_one(folders, tmp_path):
    config = from_dict(CONFIG)
    straight = run(config, folders)
    broken = replace(folders, out=tmp_path / "broken")
    assert run(config, broken, stop_at=3)["step"] == 3
    resumed = run(config, broken, resume=True)
    assert resumed["step"] == straight["step"] == 6
    for part in ("model", "ema"):
        assert all(torch.equal(value, resumed[part][name]) for name, value in straight[part].items())
    with pytest.raises(DataError, match="--resume"):
        SoftTrainer(config, folders)


def test_training_makes_soft_views_of_validation_better(folders):
    config = from_dict(CONFIG | {"steps": 60, "look_every": 60, "optim": {"lr": 0.01, "ema_decay": 0.5}})
    run(config, folders)
    head, row = (line.split(",") for line in (folders.out / "valid.csv").read_text().splitlines())
    found = dict(zip(head, map(float, row), strict=True))
    assert found["psnr_soft"] > found["psnr_base"] + 0.02


def test_a_run_becomes_a_file_beside_its_model(folders):
    run(from_dict(CONFIG), folders)
    path, correlation = export_softness(folders.out, folders.model, list(folders.data), 160)
    assert path == folders.model.parent / "soft" / "base.safetensors.xz" and -1 <= correlation <= 1
    model = load(str(folders.model))
    trained = checkpoint.load(folders.out)["ema"]
    for name, value in model.softness.state_dict().items():
        if name != "reading":
            assert (value - trained[name]).abs().max() <= trained[name].abs().max() / 200
    assert model.softness.reading.abs().max() > 0
    moved = model.softened(1.0).vae.decoder.state_dict()
    assert any(not torch.equal(value, moved[name]) for name, value in model.vae.decoder.state_dict().items())


def test_a_run_goes_on_from_the_file_of_an_earlier_decoder(folders, tmp_path):
    run(from_dict(CONFIG), folders)
    path, _ = export_softness(folders.out, folders.model, list(folders.data), 8)
    earlier = path.rename(tmp_path / "earlier.safetensors.xz")
    torch.manual_seed(1)
    model_file.write(folders.model, SMALL, DQVAE(SMALL).state_dict(), TABLES, {})
    with pytest.raises(ConfigError, match="earlier.*rank 2, but the config says 3"):
        SoftTrainer(from_dict(CONFIG | {"rank": 3}), replace(folders, out=tmp_path / "other", init=earlier))
    trainer = SoftTrainer(from_dict(CONFIG), replace(folders, out=tmp_path / "on", init=earlier))
    kept = soft_file.read_for_any(earlier, trainer.vae).state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in trainer.model.state_dict().items())
    assert any(value.abs().max() > 0 for name, value in kept.items() if name.endswith("/b"))
    trainer.run()
    path, _ = export_softness(tmp_path / "on", folders.model, list(folders.data), 8)
    assert load(str(folders.model)).softness is not None and path.exists()


def test_a_model_that_decodes_only_is_named(folders):
    old = folders.model.with_name("old.safetensors")
    slim.retire(folders.model, old, None, 7)
    with pytest.raises(DataError, match="old.safetensors: this model decodes only"):
        SoftTrainer(from_dict(CONFIG), replace(folders, model=old))


def test_a_file_of_another_decoder_or_a_broken_one_is_named(folders):
    run(from_dict(CONFIG), folders)
    path, _ = export_softness(folders.out, folders.model, list(folders.data), 8)
    torch.manual_seed(1)
    model_file.write(folders.model, SMALL, DQVAE(SMALL).state_dict(), TABLES, {})
    with pytest.raises(UnknownModelError, match="another decoder"):
        model_file.Model.read(folders.model)
    path.write_bytes(b"noise")
    with pytest.raises(UnknownModelError, match="soft"):
        model_file.Model.read(folders.model)
    path.unlink()
    assert model_file.Model.read(folders.model).softness is None


def test_views_are_enlarged_by_what_was_asked_for():
    torch.manual_seed(0)
    fine = torch.rand(4, 3, 64, 64) * 2 - 1

    def roughness(x):
        return float((x[..., 1:] - x[..., :-1]).abs().mean())

    views = [roughness(soft_view(fine, enlargement)) for enlargement in (1.0, 1.5, 2.0)]
    assert views[0] > 1.2 * views[1] > 1.4 * views[2]
    assert soft_view(fine, 1.7).shape == fine.shape and soft_view(fine, 1.7).abs().max() <= 1


@pytest.mark.parametrize("change", [{"rank": 0}, {"enlargements": [1.0, 2.0]}, {"enlargements": [2.0, 1.5]},
                                    {"enlargements": [1.5]}, {"data": {"crop": 40}}, {"other": 1}])
def test_a_wrong_config_is_refused(change):
    with pytest.raises(ConfigError):
        from_dict(CONFIG | change)


def test_command_and_bare_machine_entry_train_the_same(folders, tmp_path):
    (tmp_path / "c.json").write_text(json.dumps(CONFIG))
    common = ["--config", tmp_path / "c.json", "--data", tmp_path / "data"]
    bare = [sys.executable, "-m", "dqcodec.training", *common, "--soften", folders.model, "--out", tmp_path / "bare"]
    assert subprocess.run(list(map(str, bare)), capture_output=True, timeout=300).returncode == 0
    done = CliRunner().invoke(cli, ["train", "soft", *map(str, common), "--model", str(folders.model), "--out",
                                    str(tmp_path / "cli")])
    assert done.exit_code == 0, done.output
    one, two = (checkpoint.load(tmp_path / name)["ema"] for name in ("bare", "cli"))
    assert all(np.allclose(value, two[name], atol=1e-5) for name, value in one.items())
    exported = ["train", "export", "--run", str(tmp_path / "cli"), "--vae", str(folders.model)]
    assert CliRunner().invoke(cli, exported).exit_code == 2
    done = CliRunner().invoke(cli, [*exported, "--data", str(tmp_path / "data"), "--pictures", "8"])
    assert done.exit_code == 0 and soft_file.path_for(folders.model).exists(), done.output
