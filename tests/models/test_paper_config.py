"""Paper mode: configurations, shipped files and model sizes."""

import dataclasses

import pytest
import torch

from dqcodec.errors import ConfigError
from dqcodec.models.paper import PaperConfig, PaperDQVAE
from dqcodec.training.adversarial import AdversarialConfig
from dqcodec.training.config import load


@pytest.mark.parametrize("name", ["paper_dual", "paper_triple", "paper_dual_tiny"])
def test_shipped_configs_are_valid(name):
    config = load(name)
    assert config.mode == "paper"
    PaperConfig.from_dict(config.model)
    assert isinstance(config.adversarial, AdversarialConfig)


def test_dual_file_is_the_default_model():
    assert PaperConfig.from_dict(load("paper_dual").model) == PaperConfig()


@pytest.mark.parametrize("name, millions", [("paper_dual", 48.1), ("paper_triple", 74.0)])
def test_parameter_count_is_the_papers(name, millions):
    with torch.device("meta"):
        model = PaperDQVAE(PaperConfig.from_dict(load(name).model))
    count = sum(p.numel() for p in model.parameters()) + model.codebook.embedding.numel()
    assert count / 1e6 == pytest.approx(millions, rel=0.005)


def test_config_survives_its_dictionary():
    config = PaperConfig(grains=(32, 16, 8), channel_multipliers=(1, 1, 2, 2, 4, 4), budget_ratios=(0.3, 0.3))
    plain = {key: list(v) if isinstance(v, tuple) else v for key, v in config.to_dict().items()}
    assert PaperConfig.from_dict(plain) == config


@pytest.mark.parametrize(
    "change",
    [
        {"grains": (8, 16)},
        {"grains": (16,)},
        {"grains": (16, 6)},
        {"channel_multipliers": (1, 2, 4)},
        {"decoder_multipliers": (1, 2)},
        {"budget_ratios": (0.5, 0.5)},
        {"budget_ratios": (1.5,)},
        {"budget_ratios": (-0.1,)},
        {"norm_groups": 48},
        {"res_blocks": 0},
        {"temperature": 0.0},
    ],
)
def test_contradictory_config_is_refused(change):
    with pytest.raises(ConfigError):
        dataclasses.replace(PaperConfig(), **change)


def test_unknown_field_is_named():
    with pytest.raises(ConfigError, match="granes"):
        PaperConfig.from_dict({"granes": [16, 8]})
