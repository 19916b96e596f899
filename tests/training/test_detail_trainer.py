import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from dqcodec.errors import ConfigError, DataError
from dqcodec.models.config import CodecConfig
from dqcodec.models.dqvae import DQVAE
from dqcodec.training import checkpoint
from dqcodec.training.detail_config import from_dict
from dqcodec.training.detail_trainer import DetailFolders, DetailTrainer, likely_detail, sample_detail
from dqcodec.training.export import export_detail
from dqcodec.weights import detail_file, model_file

BASE = CodecConfig(factors=(16, 8), codebook_size=16, code_dim=4, encoder_channels=(16, 16, 16, 16),
                   encoder_blocks=(0, 0, 0, 0), decoder_channels=(16, 16, 16, 16, 16), decoder_blocks=(0, 0, 0, 0, 0),
                   router_hidden=8)
CONFIG = {"model": {"codes": 32, "width": 8, "blocks": 1, "half": 4},
          "loss": {"lpips_vgg": 0.0}, "data": {"crop": 32, "batch": 2, "workers": 1}, "start_batches": 2, "steps": 6,
          "log_every": 1, "look_every": 3, "checkpoint_every": 2, "optim": {"warmup_steps": 2, "muon": True}}


@pytest.fixture
def folders(tmp_path):
    for name in ("data", "valid"):
        (tmp_path / name).mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        coarse = Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8))
        coarse.resize((64, 64)).save(tmp_path / "data" / f"{i}.png")
    smooth = np.linspace(0, 255, 256).astype(np.uint8)
    Image.fromarray(np.stack([np.add.outer(smooth // 2, smooth // 2)] * 3, 2)).save(tmp_path / "valid" / "0.png")
    torch.manual_seed(0)
    tables = [np.full(16, 4096, np.uint32)] * 2
    model_file.write(tmp_path / "base.safetensors", BASE, DQVAE(BASE).state_dict(), tables, {})
    return DetailFolders((tmp_path / "base.safetensors",), (tmp_path / "data",), tmp_path / "out", tmp_path / "valid")


def run(config, folders, stop_at=None, resume=False):
    trainer = DetailTrainer(config, folders, resume=resume)
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
    assert len((broken.out / "log.csv").read_text().splitlines()) == 7
    with pytest.raises(DataError, match="--resume"):
        DetailTrainer(config, folders)


def test_the_codebook_takes_away_most_of_what_an_untrained_decoder_lacks(folders):
    trainer = DetailTrainer(from_dict(CONFIG), folders)
    base = trainer.frozen(trainer.batches(7), 7, everywhere=True)
    vectors = trainer.model.lookup(trainer.model.quantise(base.x, base.shown))
    lacking = base.x - base.shown
    left = lacking - torch.nn.functional.pixel_shuffle(vectors, 4)
    assert left.square().mean() < 0.5 * lacking.square().mean()
    trainer.batches.close()


def test_a_run_becomes_a_file_that_is_found_by_its_fingerprint(folders, tmp_path, monkeypatch):
    run(from_dict(CONFIG), folders)
    output = tmp_path / "models" / "detail" / "mine.safetensors.xz"
    mark = export_detail(folders.out, list(folders.models), list(folders.data), output, 4)
    monkeypatch.setenv("DQCODEC_MODELS", str(tmp_path / "models"))
    layer = detail_file.find(mark)
    assert layer.fingerprint == mark and layer.table.side == 4 and layer.table.table.sum() == 65536
    trained = checkpoint.load(folders.out)["ema"]["codebook.embedding"]
    assert torch.equal(layer.net.codebook.embedding, trained.half().float())


def test_validation_tells_what_detail_is_worth(folders):
    run(from_dict(CONFIG), folders)
    rows = (folders.out / "valid.csv").read_text().splitlines()
    assert rows[0] == "step,hours,psnr_base,psnr_detail" and len(rows) == 3


@pytest.mark.parametrize("sample", [sample_detail, likely_detail])
def test_only_the_last_level_gets_detail(sample):
    torch.manual_seed(0)
    levels, detailed = sample(torch.rand(64, 3, 6, 6).sort(1, True).values, torch.tensor([10.0, 50.0, 210.0]))
    assert (levels[detailed] == 2).all() and 0.05 < detailed.float().mean() < 0.9
    assert ((levels == 2) & ~detailed).any()


@pytest.mark.parametrize("change", [{"realism": []}, {"realism": [2.0]}, {"data": {"crop": 40}}, {"other": 1}])
def test_a_wrong_config_is_refused(change):
    with pytest.raises(ConfigError):
        from_dict(CONFIG | change)


def test_too_few_patches_for_the_codebook_are_named(folders):
    with pytest.raises(DataError, match="too few for 32 codes"):
        DetailTrainer(from_dict(CONFIG | {"start_batches": 1, "data": {"crop": 16, "batch": 1}}), folders)


def test_bare_machine_entry_trains_a_layer_of_detail(folders, tmp_path):
    config = tmp_path / "c.json"
    config.write_text(json.dumps(CONFIG | {"steps": 2}))
    command = [sys.executable, "-m", "dqcodec.training", "--config", str(config), "--model", str(folders.models[0]),
               "--data", str(folders.data[0]), "--out", str(tmp_path / "bare")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "perplexity=" in done.stdout and checkpoint.load(tmp_path / "bare")["step"] == 2
