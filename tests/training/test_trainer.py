import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dqcodec.errors import DataError
from dqcodec.training import checkpoint
from dqcodec.training.config import from_dict
from dqcodec.training.trainer import RunFolders, Trainer

MODEL = {"factors": [16, 16, 8], "codebook_size": 16, "code_dim": 4, "encoder_channels": [16, 16, 16, 16],
         "encoder_blocks": [1, 0, 0, 0], "decoder_channels": [16, 16, 16, 16, 16],
         "decoder_blocks": [1, 0, 0, 0, 0], "router_hidden": 8}
CONFIG = {"model": MODEL, "loss": {"lpips_vgg": 0.0}, "data": {"crop": 32, "batch": 2, "workers": 1},
          "steps": 8, "log_every": 1, "look_every": 4, "checkpoint_every": 2,
          "optim": {"warmup_steps": 2}}


@pytest.fixture
def folders(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(data / f"{i}.png")
    return RunFolders((data,), tmp_path / "out")


def run(config, folders, stop_at=None, resume=False):
    trainer = Trainer(config, folders, resume=resume)
    trainer.run(should_stop=lambda: trainer.step == stop_at)
    return checkpoint.load(folders.out)


@pytest.mark.parametrize("extra", [{}, {"adversarial": {"ndf": 8, "norm": "none", "start_step": 2}},
                                   {"optim": {"muon": True}}], ids=["plain", "adversarial", "muon"])
def test_a_stopped_and_resumed_run_ends_exactly_like_an_uninterrupted_one(folders, tmp_path, extra):
    config = from_dict(CONFIG | extra)
    straight = run(config, folders)
    broken = replace(folders, out=tmp_path / "broken")
    assert run(config, broken, stop_at=3)["step"] == 3
    resumed = run(config, broken, resume=True)
    assert resumed["step"] == straight["step"] == 8
    for part in ("model", "ema"):
        for name, value in straight[part].items():
            assert torch.equal(value, resumed[part][name]), name
    logs = [(f / "log.csv").read_text().splitlines() for f in (folders.out, broken.out)]
    assert len(logs[0]) == len(logs[1]) == 9  # header and 8 steps, none twice


def test_a_bad_batch_does_not_poison_the_weights(folders):
    trainer = Trainer(from_dict(CONFIG | {"train_only": ["encoder", "router", "decoder"]}), folders)
    good = trainer.batches
    trainer.batches = lambda step: good(step) * (float("nan") if step == 2 else 1)
    trainer.batches.close = good.close
    rows = []
    trainer.run(rows.append)
    assert [np.isfinite(row["loss"]) for row in rows] == [step != 2 for step in range(8)]
    assert all(torch.isfinite(v).all() for v in trainer.model.state_dict().values())


def test_a_compiled_run_learns_the_same(folders, tmp_path, monkeypatch):
    real, compiled_parts = torch.compile, []

    def traced(part, **how):  # without the compiler behind it, which takes minutes
        compiled_parts.append(part)
        return real(part, **how, backend="aot_eager")

    monkeypatch.setattr(torch, "compile", traced)
    ends = []
    for name, compiled in (("plain", False), ("compiled", True)):
        config = from_dict(CONFIG | {"steps": 3, "look_every": 2, "compile": compiled})
        ends.append(run(config, replace(folders, out=tmp_path / name))["model"])
    assert len(compiled_parts) == 2  # encoder and decoder
    assert all(torch.allclose(v, ends[1][k], atol=1e-4) for k, v in ends[0].items())


def test_the_time_of_the_first_steps_does_not_count_where_compilers_work_in_them(folders, tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("dqcodec.training.loop.time", SimpleNamespace(monotonic=lambda: clock[0]))
    elapsed = []
    for name, warm_up in (("counted", 0), ("warm", 2)):
        trainer = Trainer(from_dict(CONFIG | {"steps": 4}), replace(folders, out=tmp_path / name))
        trainer.warm_up = warm_up
        step = trainer._one_step

        def slow(step=step, trainer=trainer):
            clock[0] += 100 if trainer.step < 2 else 1
            return step()

        trainer._one_step = slow
        trainer.run()
        elapsed.append(trainer.elapsed)
    assert elapsed == [202, 2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_captured_step_does_what_its_kernels_do_one_by_one(folders, tmp_path, monkeypatch):
    config = CONFIG | {"steps": 12, "compile": True, "train_only": ["encoder", "router", "decoder"], "log_every": 1}
    ends = []
    for name, one_by_one in (("captured", False), ("eager", True)):
        if one_by_one:
            monkeypatch.setattr("dqcodec.training.trainer.CapturedStep", lambda step, warm: step)
        trainer = Trainer(from_dict(config), replace(folders, out=tmp_path / name), device="cuda")
        trainer.run()
        ends.append(trainer.model.state_dict())
    assert all(torch.allclose(v, ends[1][k], atol=1e-3) for k, v in ends[0].items())


def test_a_finished_run_is_not_started_over(folders):
    run(from_dict(CONFIG | {"steps": 1}), folders)
    with pytest.raises(DataError, match="--resume"):
        Trainer(from_dict(CONFIG), folders)


def test_resuming_nothing_and_broken_checkpoints_are_named(folders):
    with pytest.raises(DataError, match="nothing to resume"):
        Trainer(from_dict(CONFIG), folders, resume=True)
    folders.out.mkdir(exist_ok=True)
    (folders.out / checkpoint.NAME).write_bytes(b"broken")
    with pytest.raises(DataError, match="broken checkpoint"):
        Trainer(from_dict(CONFIG), folders, resume=True)


def test_frozen_parts_do_not_move_so_that_tokens_keep_their_meaning(folders, tmp_path):
    base = from_dict(CONFIG | {"steps": 2})
    before = run(base, folders)["model"]
    only_decoder = replace(base, train_only=("decoder",), steps=6)
    trainer = Trainer(only_decoder, replace(folders, out=tmp_path / "second"), init=folders.out / checkpoint.NAME)
    start = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.run()
    for name, value in trainer.model.state_dict().items():
        if not name.startswith("decoder."):
            assert torch.equal(value, start[name]), name
    assert any(not torch.equal(v, start[k]) for k, v in trainer.model.state_dict().items() if k.startswith("decoder."))
    assert before.keys() == start.keys()


def test_a_picture_and_a_log_are_written(folders):
    run(from_dict(CONFIG), folders)
    assert Image.open(folders.out / "reconstructions.png").width == 4 * 32
    header, first = (folders.out / "log.csv").read_text().splitlines()[:2]
    assert {"step", "img_s", "loss", "l1"} <= set(header.split(",")) and first.startswith("0,")


def test_two_processes_learn_the_same_weights(folders, tmp_path):
    import json

    (tmp_path / "c.json").write_text(json.dumps(CONFIG | {"steps": 3}))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0",
               "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0",
               "-m", "dqcodec.training", "--config", str(tmp_path / "c.json"),
               "--data", str(folders.data[0]), "--out", str(folders.out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr  # all of it: the cause stands above the launcher's own trace
    pair = checkpoint.load(folders.out)
    assert pair["step"] == 3
    # Two ranks of 2 see the batch of one process of 4; only level maps and rounding differ.
    assert all(torch.isfinite(v).all() for v in pair["model"].values())


def test_training_needs_only_torch_numpy_pillow_safetensors():
    code = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {'click','rich','yaml','constriction','compressai','skimage','torchvision','scipy'}:
            raise ImportError('blocked ' + name)
sys.meta_path.insert(0, Blocker())
import dqcodec.training.trainer, dqcodec.training.__main__, dqcodec.models.paper.dqvae
import dqcodec.models.dqvae, dqcodec.training.export
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_generator_follows_the_adversary_from_push_step_on(folders, tmp_path):
    adversary = {"ndf": 4, "layers": 1, "norm": "none", "rate": 3.0}
    ends = []
    for name, push_step in (("late", 3), ("later", 9)):
        config = from_dict(CONFIG | {"steps": 5, "log_every": 1, "adversarial": adversary | {"push_step": push_step}})
        ends.append(run(config, replace(folders, out=tmp_path / name)))
    logs = [(tmp_path / name / "log.csv").read_text().splitlines() for name in ("late", "later")]
    rows = [[line.split(",") for line in log] for log in logs]
    loss = rows[0][0].index("loss")
    alike = [a[loss] == b[loss] for a, b in zip(*rows, strict=True)]
    assert alike == [True, True, True, True, False, False]  # the header and three steps
    rates = [group["lr"] for part in ("critic", "optimiser") for group in ends[0][part][0]["param_groups"]]
    assert rates[0] == pytest.approx(3 * rates[1])
