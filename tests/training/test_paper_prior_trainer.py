"""Training of the paper's DQ-Transformer: exact resume, figures of each grain, tokens, wrong input."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from dqcodec.errors import ConfigError, DataError
from dqcodec.models.paper import PaperConfig, PaperDQVAE
from dqcodec.prior.paper import sample
from dqcodec.training import __main__ as bare
from dqcodec.training import checkpoint, config, paper_prior_config
from dqcodec.training.paper_prior_tokens import read_prior, read_vae
from dqcodec.training.paper_prior_trainer import PaperPriorTrainer, trainer_for
from dqcodec.training.prior_trainer import TOKENS, PriorFolders

NARROW = {"dim": 16, "heads": 2, "position_layers": 1, "content_layers": 2}


@pytest.fixture(params=["dual", "triple"])
def run(request, tmp_path):
    """(settings, folders): pictures of two classes, and the run of an untrained tiny DQ-VAE."""
    data, vae = tmp_path / "data", tmp_path / "vae"
    data.mkdir()
    (data / "classes.json").write_text('["cat", "dog"]')
    rng = np.random.default_rng(0)
    for i in range(3):
        smooth = Image.fromarray(rng.integers(0, 255, (4, 6, 3), np.uint8)).resize((96, 70))
        smooth.save(data / f"{i % 2:02d}_{i:05d}.png")
    tiny = config.load(f"paper_{request.param}_tiny")
    torch.manual_seed(0)
    model = PaperDQVAE(PaperConfig.from_dict(tiny.model))
    with torch.no_grad():  # routers like one grain at first; here they are to be mixed
        model.router.mlp[-1].weight.mul_(50)
    checkpoint.save(vae, {"config": tiny.to_dict(), "ema": model.state_dict()})
    settings = paper_prior_config.load(f"paper_prior_{request.param}_tiny")
    settings = replace(settings, model=NARROW, batch=3, steps=6, log_every=1, look_every=6, checkpoint_every=2,
                       samples=0)
    return settings, PriorFolders(vae / checkpoint.NAME, (data,), tmp_path / "out", data)


def trained(settings, folders, stop_at=None, resume=False):
    trainer = PaperPriorTrainer(settings, folders, resume=resume)
    trainer.run(should_stop=lambda: trainer.step == stop_at)
    return checkpoint.load(folders.out)


def test_a_stopped_and_resumed_run_ends_like_an_uninterrupted_one(run, tmp_path):
    settings, folders = run
    straight = trained(settings, folders)
    broken = replace(folders, out=tmp_path / "broken")
    assert trained(settings, broken, stop_at=3)["step"] == 3
    resumed = trained(settings, broken, resume=True)
    for part in ("model", "ema"):
        for name, value in straight[part].items():
            assert torch.equal(value, resumed[part][name]), name


def test_training_lowers_the_bits_and_reports_every_grain(run):
    settings, folders = run
    settings = replace(settings, steps=60, look_every=60, samples=3)
    trainer = PaperPriorTrainer(settings, folders)
    shares = np.bincount(trainer.batches.tokens.levels.flatten(), minlength=len(trainer.prior.grains))
    regions = 64**2 // trainer.prior.grains[0] ** 2
    assert (shares[1:] == 6 * np.round(np.array(settings.ratios) * regions)).all()  # 3 pictures, 2 views
    before = trainer._look()
    trainer.run()
    after = trainer._look()
    assert after["bits"] < 0.8 * before["bits"] and after["bpp"] < 0.8 * before["bpp"]
    coarse, fine = trainer.prior.grains[0], trainer.prior.grains[-1]
    assert after[f"position_f{coarse}"] < before[f"position_f{coarse}"]
    assert after[f"content_f{fine}"] < before[f"content_f{fine}"]
    assert after[f"position_f{fine}"] == 0
    header = (folders.out / "log.csv").read_text().splitlines()[0].split(",")
    assert {f"{kind}_f{grain}" for kind in ("position", "content") for grain in trainer.prior.grains} <= set(header)
    assert Image.open(folders.out / "samples.png").size == (256, 64)
    network, (vae, _) = read_prior(folders.out / checkpoint.NAME), read_vae(folders.vae)
    assert vae.decode(sample(network, 1, label=2)).shape == (1, 3, 64, 64)


def test_tokens_are_what_the_dq_vae_says_of_both_views(run):
    settings, folders = run
    trainer = PaperPriorTrainer(replace(settings, views=3, ratios=None), folders)
    tokens = trainer.batches.tokens
    assert tokens.label.tolist() == [1, 1, 1, 1, 1, 1, 2, 2, 2] and trainer.prior.classes == ("cat", "dog")
    first = Image.open(folders.data[0] / "00_00000.png")
    resized = np.asarray(first.resize((88, 64), Image.Resampling.LANCZOS))[:, 12:76]
    for number, pixels in enumerate((resized, resized[:, ::-1])):
        x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        wanted, found = trainer.vae.encode(x), tokens.codes(np.array([number]))
        assert torch.equal(found.levels, wanted.levels)
        assert (found.indices == wanted.indices).float().mean() > 0.97  # batches round differently
    assert len(set(tokens.levels.flatten().tolist())) > 1


def test_a_config_with_mode_paper_starts_this_trainer_and_wrong_input_is_named(run, tmp_path):
    settings, folders = run
    path = tmp_path / "c.json"
    path.write_text('{"mode": "paper", "model": {"dim": 16, "heads": 2}, "size": 64, "batch": 1, "steps": 1}')
    assert isinstance(trainer_for(path, folders), PaperPriorTrainer)
    for values in ({"mode": "magic"}, {"mode": "paper", "size": 0}, {"colour": 1}):
        with pytest.raises(ConfigError):
            paper_prior_config.from_dict(values)
    for change in ({"model": {"colour": 3}}, {"size": 65}):
        with pytest.raises(ConfigError, match="section model"):
            PaperPriorTrainer(replace(settings, **change), folders)
    with pytest.raises(DataError, match=f"{TOKENS}.*remove the file"):
        PaperPriorTrainer(replace(settings, views=4), folders)
    (tmp_path / "nothing.pt").write_bytes(b"no")
    for vae in (tmp_path / "nothing.pt", tmp_path / "missing.pt"):
        with pytest.raises(DataError, match=vae.name):
            PaperPriorTrainer(settings, replace(folders, vae=vae))
    trained(replace(settings, steps=1), replace(folders, out=tmp_path / "prior"))
    with pytest.raises(DataError, match="not the checkpoint of a DQ-VAE"):
        read_vae(tmp_path / "prior" / checkpoint.NAME)
    with pytest.raises(DataError, match="not the checkpoint of a paper's prior"):
        read_prior(folders.vae)


@pytest.mark.parametrize("run", ["triple"], indirect=True)
def test_bare_machine_entry_trains_it(run, tmp_path, monkeypatch, capsys):
    _, folders = run
    path = tmp_path / "c.json"
    path.write_text('{"mode": "paper", "model": {"dim": 16, "heads": 2, "position_layers": 1, "content_layers": 1}, '
                    '"size": 64, "batch": 2, "steps": 2, "log_every": 1}')
    monkeypatch.setattr(bare.signal, "signal", lambda *_: None)  # pytest keeps its own handlers
    monkeypatch.setattr("sys.argv", ["training", "--config", str(path), "--vae", str(folders.vae),
                                     "--data", str(folders.data[0]), "--out", str(tmp_path / "bare")])
    assert bare.main() == 0
    assert "position_f16=" in capsys.readouterr().out
