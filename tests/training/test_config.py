from pathlib import Path

import pytest

import dqcodec.training.config as config
from dqcodec.errors import ConfigError
from dqcodec.models.detail import Detail, DetailConfig
from dqcodec.models.paper import PaperConfig
from dqcodec.prior.config import PriorConfig
from dqcodec.prior.paper import PaperDQTransformer, PaperPriorConfig
from dqcodec.training import detail_config, paper_prior_config, prior_config, soft_config
from dqcodec.training.trainer import build_model

CONFIGS = sorted(Path(config.__file__).parent.glob("configs/**/*.yaml"))
PRIORS = [path for path in CONFIGS if path.stem.startswith("prior")]
DETAILS = [path for path in CONFIGS if path.stem.startswith("detail")]
SOFTS = [path for path in CONFIGS if path.stem.startswith("soft")]
PAPER_PRIORS = [path for path in CONFIGS if path.stem.startswith("paper_prior")]


@pytest.mark.parametrize("path", PRIORS, ids=lambda p: p.stem)
def test_every_packaged_prior_config_describes_a_network(path):
    PriorConfig.from_dict(prior_config.load(path).model)


@pytest.mark.parametrize("path", DETAILS, ids=lambda p: p.stem)
def test_every_packaged_detail_config_describes_a_layer(path):
    Detail(DetailConfig(**detail_config.load(path).model))


@pytest.mark.parametrize("path", SOFTS, ids=lambda p: p.stem)
def test_every_packaged_config_for_soft_pictures_loads(path):
    assert soft_config.load(path).rank >= 1


@pytest.mark.parametrize("path", PAPER_PRIORS, ids=lambda p: p.stem)
def test_every_packaged_paper_prior_fits_the_packaged_dq_vae_of_its_name(path):
    import torch

    assert paper_prior_config.is_paper(path)
    vae = PaperConfig.from_dict(config.load(path.with_stem(path.stem.replace("_prior", ""))).model)
    loaded = paper_prior_config.load(path)
    with torch.device("meta"):
        PaperDQTransformer(PaperPriorConfig.for_vae(vae, loaded.size, **loaded.model))


@pytest.mark.parametrize("path", sorted({*CONFIGS} - {*PRIORS, *PAPER_PRIORS, *DETAILS, *SOFTS}), ids=lambda p: p.stem)
def test_every_packaged_config_loads_and_builds_its_model(path):
    import torch

    loaded = config.load(path)
    with torch.device("meta"):
        build_model(loaded)


def test_json_and_yaml_say_the_same(tmp_path):
    (tmp_path / "c.json").write_text('{"steps": 5, "optim": {"betas": [0.5, 0.9]}}')
    (tmp_path / "c.yaml").write_text("steps: 5\noptim: {betas: [0.5, 0.9]}")
    assert config.load(tmp_path / "c.json") == config.load(tmp_path / "c.yaml")
    assert config.load(tmp_path / "c.json").optim.betas == (0.5, 0.9)


@pytest.mark.parametrize("values, message", [
    ({"stepz": 1}, "unknown key 'stepz'"),
    ({"loss": {"lpips": 1}}, "section loss.*unknown key 'lpips'"),
    ({"mode": "magic"}, "must be codec or paper"),
    ({"data": {"crop": 100}}, "multiples of 16"),
    ({"adversarial": {"wait": 1}}, "adversarial.*unknown key 'wait'"),
])
def test_a_wrong_setting_is_named(values, message):
    with pytest.raises(ConfigError, match=message):
        config.from_dict(values)


def test_a_missing_config_lists_the_packaged_ones():
    with pytest.raises(ConfigError, match="paper_dual"):
        config.load("nonsense")


def test_a_wrong_model_field_is_named():
    with pytest.raises(ConfigError, match="section model"):
        build_model(config.from_dict({"model": {"colour": 3}}))
