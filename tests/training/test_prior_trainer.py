import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

import dqcodec
from dqcodec import feedback
from dqcodec.errors import ConfigError, DataError
from dqcodec.models.dqvae import DQVAE
from dqcodec.training import checkpoint
from dqcodec.training.data import Pictures
from dqcodec.training.export import export_prior
from dqcodec.training.prior_config import from_dict
from dqcodec.training.prior_trainer import TOKENS, PriorFolders, PriorTrainer
from dqcodec.training.token_cache import Views, read_cache
from dqcodec.weights import load, model_file
from dqcodec.weights.registry import read_header
from tests.test_weights import SMALL, TABLES

CONFIG = {"model": {"dim": 16, "heads": 2, "hidden": 32, "position_layers": 1, "content_layers": 1, "tile": 4,
                    "groups": [4, 4]},
          "symbols": 100, "steps": 6, "log_every": 1, "look_every": 6, "checkpoint_every": 2, "quantise_from": 0.5,
          "optim": {"lr": 0.01, "warmup_steps": 1}}


@pytest.fixture
def folders(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "classes.json").write_text('["cat", "dog"]')
    rng = np.random.default_rng(0)
    for i in range(3):
        smooth = Image.fromarray(rng.integers(0, 255, (4, 6, 3), np.uint8)).resize((96, 70))
        smooth.save(data / f"{i % 2:02d}_{i:05d}.png")
    torch.manual_seed(0)
    vae = tmp_path / "vae.safetensors"
    model_file.write(vae, SMALL, DQVAE(SMALL).state_dict(), TABLES, {})
    return PriorFolders(vae, (data,), tmp_path / "out", data)


def run(config, folders, stop_at=None, resume=False):
    trainer = PriorTrainer(config, folders, resume=resume)
    trainer.run(should_stop=lambda: trainer.step == stop_at)
    return checkpoint.load(folders.out)


def test_processes_pack_the_batches_that_a_thread_would(folders, tmp_path):
    config = from_dict(CONFIG)
    thread = run(config, folders)
    processes = run(replace(config, workers=2), replace(folders, out=tmp_path / "forked"))
    for name, value in thread["model"].items():
        assert torch.equal(value, processes["model"][name]), name


@pytest.mark.parametrize("muon", [False, True])
def test_a_stopped_and_resumed_run_ends_like_an_uninterrupted_one(folders, tmp_path, muon):
    config = from_dict(CONFIG | {"optim": CONFIG["optim"] | {"muon": muon}})
    straight = run(config, folders)
    broken = replace(folders, out=tmp_path / "broken")
    assert run(config, broken, stop_at=3)["step"] == 3
    resumed = run(config, broken, resume=True)
    for part in ("model", "ema"):
        for name, value in straight[part].items():
            assert torch.equal(value, resumed[part][name]), name


def test_training_lowers_the_bits_and_reports_every_kind(folders):
    config = from_dict(CONFIG | {"steps": 60, "look_every": 30, "quantise_from": 1.0})
    trainer = PriorTrainer(config, folders)
    before = trainer._look()
    trainer.run()
    after = trainer._look()
    assert after["integer@0.5"] < 0.9 * before["integer@0.5"]
    assert abs(after["integer@0.5"] - after["float@0.5"]) < 0.05 * after["float@0.5"]
    assert {"code_0_float", "code_1_integer", "map_1_float"} <= set(after)


def test_labels_come_from_names_and_are_kept_with_the_prior(folders):
    trainer = PriorTrainer(from_dict(CONFIG), folders)
    assert trainer.prior.classes == ("cat", "dog")
    assert [trainer.cache[i].label for i in range(6)] == [1, 1, 1, 1, 2, 2]  # each picture and its mirror image


def test_pictures_without_a_label_are_encoded_at_every_scale(folders):
    plain = folders.data[0].parent / "plain"
    plain.mkdir()
    Image.new("RGB", (64, 32)).save(plain / "a.png")
    config = from_dict(CONFIG | {"mirror": False, "scales": [1.0, 1.5]})
    trainer = PriorTrainer(config, replace(folders, data=(*folders.data, plain)))
    sizes = [trainer.cache[i].distortion.shape[1:] for i in range(len(trainer.cache))]
    region = trainer.cache.ladder.region
    assert len(sizes) == 3 + 2
    assert sizes[3:] == [(-(-32 // region), -(-64 // region)), (-(-48 // region), -(-96 // region))]
    with pytest.raises(ConfigError, match="scales must be"):
        from_dict({"scales": []})


def test_a_part_of_each_folders_pictures_is_enough(folders):
    plain = folders.data[0].parent / "plain"
    plain.mkdir()
    for i in range(4):
        Image.new("RGB", (32 * (1 + i), 32)).save(plain / f"{i}.png")
    both = replace(folders, data=(*folders.data, plain))
    all_of = PriorTrainer(from_dict(CONFIG | {"mirror": False}), both).cache
    half = PriorTrainer(from_dict(CONFIG | {"mirror": False, "part": 0.5}),
                        replace(both, out=folders.out.with_name("half"))).cache
    assert (len(all_of), len(half)) == (3 + 4, 2 + 2)
    assert {half[i].label for i in range(2)} <= {1, 2} and {half[i].label for i in range(2, 4)} == {0}
    for part in (0, 1.5):
        with pytest.raises(ConfigError, match="part must lie in"):
            from_dict({"part": part})


def test_mirror_images_have_mirrored_pixels():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    straight, mirrored = Views(mirror=True).of(pixels, 0)
    assert np.array_equal(straight, pixels) and np.array_equal(mirrored, pixels[:, ::-1])


def test_two_processes_train_one_prior(folders, tmp_path):
    config = tmp_path / "c.json"
    config.write_text(json.dumps(CONFIG | {"steps": 3}))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0",
               "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "-m", "dqcodec.training",
               "--config", str(config), "--vae", str(folders.vae), "--data", str(folders.data[0]),
               "--out", str(folders.out), "--valid", str(folders.data[0])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    alone = run(from_dict(CONFIG | {"steps": 3}), replace(folders, out=tmp_path / "alone"))
    pair = checkpoint.load(folders.out)
    assert pair["step"] == 3 and len((folders.out / "log.csv").read_text().splitlines()) == 1 + 3
    # The second process's batches count: otherwise both runs would be the same.
    assert any(not torch.equal(v, alone["model"][k]) for k, v in pair["model"].items())


def test_exported_model_codes_pictures_with_its_prior(folders, tmp_path):
    run(from_dict(CONFIG), folders)
    target = tmp_path / "with_prior.safetensors"
    mark = export_prior(folders.out, folders.vae, target)
    model = load(str(target))
    assert model.fingerprint == mark != load(str(folders.vae)).fingerprint
    assert len(model.cost_ratio) == 2 and model.prior.config.classes == ("cat", "dog")
    picture = Image.open(next(folders.data[0].glob("*.png")))
    data = dqcodec.compress(picture, quality=60, model=str(target))
    assert dqcodec.decompress(data, model=str(target)).size == picture.size


def test_tables_are_those_of_the_tokens_that_the_prior_learned(folders, tmp_path):
    run(from_dict(CONFIG), folders)
    path = tmp_path / "counted.safetensors"
    export_prior(folders.out, folders.vae, path)
    cache = read_cache(folders.out / TOKENS, load(str(folders.vae)).config.ladder)
    used = np.unique(np.concatenate([cache[i].codes[0].ravel() for i in range(len(cache))]))
    table = load(str(path)).tables.tables[0]
    assert len(used) < len(table) and table[used].mean() > 2 * table.mean()


def test_tokens_are_those_of_files(folders):
    trainer = PriorTrainer(from_dict(CONFIG | {"mirror": False}), folders)
    encoded = trainer.cache[0]
    picture = Pictures(list(folders.data))[0]
    model, cpu = load(str(folders.vae)), torch.device("cpu")
    analysis = dqcodec.networks.analyse(model.vae, picture, cpu)
    tokens = trainer.cache.tokens(encoded)
    files = feedback.corrected(model.vae, picture, analysis, tokens.levels, cpu, *feedback.FAST)
    assert all(np.array_equal(a, b) for a, b in zip(files.codes, encoded.codes, strict=True))
    assert any((a != b).any() for a, b in zip(analysis.codes, encoded.codes, strict=True)), "nothing was corrected"
    assert np.array_equal(tokens.codes[0], encoded.codes[0]), "the coarsest codes are always there"


def test_a_run_starts_from_the_prior_of_a_model_file(folders, tmp_path):
    run(from_dict(CONFIG | {"steps": 40, "quantise_from": 1.0}), folders)
    model = tmp_path / "with_prior.safetensors"
    export_prior(folders.out, folders.vae, model)
    fresh, further = (PriorTrainer(from_dict(CONFIG), replace(folders, out=tmp_path / name), init=init)
                      for name, init in (("fresh", None), ("further", model)))
    assert further._look()["integer@0.5"] < 0.95 * fresh._look()["integer@0.5"]
    with pytest.raises(DataError, match="not a prior of this shape"):
        PriorTrainer(from_dict(CONFIG), replace(folders, out=tmp_path / "none"), init=folders.vae)


def test_tokens_of_another_model_are_refused(folders, tmp_path):
    run(from_dict(CONFIG | {"steps": 1}), folders)
    torch.manual_seed(1)
    other = tmp_path / "other.safetensors"
    model_file.write(other, SMALL, DQVAE(SMALL).state_dict(), TABLES, {})
    (folders.out / checkpoint.NAME).rename(folders.out / "kept")
    with pytest.raises(DataError, match=f"{TOKENS}.*remove the file"):
        PriorTrainer(from_dict(CONFIG), replace(folders, vae=other))
    (folders.out / "kept").rename(folders.out / checkpoint.NAME)
    with pytest.raises(DataError, match="a prior of model"):
        export_prior(folders.out, other, tmp_path / "out.safetensors")


def test_tokens_of_an_earlier_version_are_refused(folders):
    run(from_dict(CONFIG | {"steps": 1}), folders)
    path, ladder = folders.out / TOKENS, load(str(folders.vae)).config.ladder
    kept = {k: v for k, v in load_file(path).items() if k != "share"}
    save_file(kept, path, read_header(path))
    with pytest.raises(DataError, match=f"{TOKENS}.*earlier version.*remove the file"):
        read_cache(path, ladder)


def test_wrong_settings_are_named(folders):
    with pytest.raises(ConfigError, match="unknown key 'colour'"):
        from_dict({"colour": 1})
    with pytest.raises(ConfigError, match="section model"):
        PriorTrainer(from_dict(CONFIG | {"model": {"groups": [1]}}), folders)


def test_bare_machine_entry_trains_a_prior(folders, tmp_path):
    config = tmp_path / "c.json"
    config.write_text('{"model": {"dim": 16, "heads": 2, "hidden": 16, "groups": [2, 2], "tile": 4}, "symbols": 50, '
                      '"steps": 2, "log_every": 1}')
    command = [sys.executable, "-m", "dqcodec.training", "--config", str(config), "--vae", str(folders.vae),
               "--data", str(folders.data[0]), "--out", str(tmp_path / "bare")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "bits=" in done.stdout
