"""Learning from a teacher: a small DQ-VAE with the codebooks of a large one."""

from dataclasses import replace

import pytest
import torch

from dqcodec.errors import ConfigError, DataError
from dqcodec.models.config import CodecConfig
from dqcodec.models.dqvae import DQVAE
from dqcodec.training import checkpoint
from dqcodec.training.config import DistilConfig, from_dict
from dqcodec.training.distil import Distilled
from dqcodec.training.export import export_networks
from dqcodec.training.trainer import Trainer
from dqcodec.weights import load, model_file, slim
from tests.test_weights import SMALL, TABLES
from tests.training.test_trainer import CONFIG, folders  # noqa: F401

NARROW = replace(SMALL, encoder_channels=(16, 16, 8, 8), decoder_channels=(8, 8, 8, 8, 8), noise_factors=(4, 1))
STUDENT = CONFIG | {"model": NARROW.to_dict(), "train_only": ["encoder", "router", "decoder"],
                    "distil": {"target": "teacher"}}


@pytest.fixture
def teacher(tmp_path):
    torch.manual_seed(5)
    path = tmp_path / "teacher.safetensors"
    # Latents of some size, so that there is something to come near to.
    state = DQVAE(SMALL).state_dict()
    state |= {k: 20 * v for k, v in state.items() if k.startswith("encoder.heads.")}
    model_file.write(path, SMALL, state, TABLES, {})
    return path


def frozen(student):
    """A student as the trainer makes it: its quantizer does not learn."""
    student.quantizer.requires_grad_(False)
    return student


def models(teacher_config=SMALL):
    torch.manual_seed(0)
    return frozen(DQVAE(NARROW).train()), DQVAE(teacher_config)


def test_a_student_that_is_the_teacher_has_nothing_to_learn():
    torch.manual_seed(0)
    teacher, student = DQVAE(SMALL), DQVAE(SMALL)
    student.load_state_dict(teacher.state_dict())
    x = torch.rand(3, 3, 48, 32) * 2 - 1
    for tokens in (0.0, 1.0):
        out = Distilled(frozen(student), teacher, DistilConfig(tokens=tokens, target="teacher"))(x)
        assert out.auxiliary_loss.item() < 1e-9 and out.metrics["same_codes_0"] == out.metrics["same_codes_1"] == 1
        assert torch.allclose(out.reconstruction.clamp(-1, 1), out.target, atol=1e-5)


def test_noise_of_teacher_and_student_is_of_one_place():
    noisy = replace(SMALL, noise_factors=(4, 1))
    torch.manual_seed(0)
    teacher, student = DQVAE(noisy), DQVAE(noisy).train()
    student.load_state_dict(teacher.state_dict())
    out = Distilled(frozen(student), teacher, DistilConfig(tokens=1.0, target="teacher"))(torch.rand(2, 3, 32, 32))
    assert torch.allclose(out.reconstruction.clamp(-1, 1), out.target, atol=1e-5)


def test_by_the_teachers_tokens_the_pixels_teach_the_encoder_nothing():
    x = torch.rand(2, 3, 32, 32)
    gradients = []
    for tokens in (0.0, 1.0):
        student, teacher = models()
        out = Distilled(student, teacher, DistilConfig(tokens=tokens))(x)
        assert out.target is None and out.predicted_distortion is None
        out.reconstruction.abs().mean().backward()
        assert student.decoder.to_image.weight.grad is not None
        assert all(p.grad is None for p in teacher.parameters())
        gradients.append(student.encoder.stem.weight.grad)
    assert gradients[0].abs().sum() > 0 and (gradients[1] is None or not gradients[1].any())


def test_codes_come_near_the_teachers(folders, teacher):  # noqa: F811
    config = from_dict(STUDENT | {"steps": 60, "optim": {"lr": 3e-3, "warmup_steps": 2, "ema_decay": 0.5}})
    trainer = Trainer(config, folders, teacher=teacher)
    rows = []
    trainer.run(rows.append)
    assert rows[-1]["latents"] < 0.7 * rows[0]["latents"]
    books = (trainer.model.quantizer, load(str(teacher)).vae.quantizer)
    for ours, its in zip(books[0].codebooks, books[1].codebooks, strict=True):
        assert torch.equal(ours.embedding, its.embedding)


def test_a_run_with_a_teacher_resumes_exactly_and_makes_a_model_of_its_fingerprint(folders, tmp_path, teacher):  # noqa: F811
    config = from_dict(STUDENT)
    straight = Trainer(config, folders, teacher=teacher)
    straight.run()
    again = replace(folders, out=tmp_path / "again")
    first = Trainer(config, again, teacher=teacher)
    first.run(should_stop=lambda: first.step == 3)
    Trainer(config, again, resume=True, teacher=teacher).run()
    ends = [checkpoint.load(f.out)["model"] for f in (folders, again)]
    assert all(torch.equal(v, ends[1][k]) for k, v in ends[0].items())
    output = tmp_path / "whole.safetensors"
    mark = export_networks(folders.out, teacher, output)
    assert mark == load(str(teacher)).fingerprint
    assert load(str(output)).config == CodecConfig.from_dict(STUDENT["model"])


def test_teachers_that_cannot_teach_are_named(folders, tmp_path, teacher):  # noqa: F811
    with pytest.raises(DataError, match="--teacher"):
        Trainer(from_dict(STUDENT), folders)
    slim.retire(teacher, tmp_path / "retired.safetensors", None, 7)
    with pytest.raises(DataError, match="decodes only"):
        Trainer(from_dict(STUDENT), folders, teacher=tmp_path / "retired.safetensors")
    with pytest.raises(ConfigError, match="the same ladder"):
        Distilled(*models(replace(SMALL, factors=(16, 16))), DistilConfig())
    with pytest.raises(ConfigError, match="train_only"):
        Trainer(from_dict(STUDENT | {"train_only": []}), folders, teacher=teacher)
    for wrong in ({"target": "both"}, {"tokens": 1.5}, {"taught": 1}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            from_dict(STUDENT | {"distil": wrong})
