"""Configuration of a training run of the paper's DQ-Transformer (a prior's config with `mode: paper`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from dqcodec.errors import ConfigError
from dqcodec.training.config import OptimConfig, build_section, read_mapping


@dataclass(frozen=True)
class PaperPriorTrainConfig:
    """model: fields of PaperPriorConfig, less grains and codebook, which the DQ-VAE brings, the grid, which
    follows from `size`, and classes, which the data bring.

    size: side in pixels of the pictures, resized and cropped. views: encoded versions of each picture: the
    centre crop, its mirror image, then random crops, mirrored or not. ratios: share of regions of every
    grain but the coarsest, met exactly in each view; None takes the router's choice, as the paper does.
    batch: pictures of a process. classless: share of labelled pictures whose label is dropped, for
    classifier-free guidance (Ho & Salimans 2022). position_weight: weight of the mean over grains of the
    positions' cross-entropies, beside that of the codes. valid_pictures: at most. samples: pictures drawn
    at each look into samples.png. steps, hours: as in TrainConfig.
    """

    mode: str = "paper"
    model: dict = field(default_factory=dict)
    optim: OptimConfig = OptimConfig(lr=5e-4, betas=(0.9, 0.95), weight_decay=0.01, warmup_steps=0, final=0.0)
    size: int = 256
    views: int = 2
    ratios: tuple[float, ...] | None = None
    batch: int = 30
    classless: float = 0.1
    position_weight: float = 1.0
    valid_pictures: int = 64
    samples: int = 0
    steps: int = 100_000
    hours: float = 0.0
    seed: int = 0
    checkpoint_every: int = 1000
    look_every: int = 1000
    log_every: int = 20

    def to_dict(self) -> dict:
        return asdict(self)


def from_dict(values: dict, where: str = "configuration") -> PaperPriorTrainConfig:
    """PaperPriorTrainConfig from nested dicts; raises ConfigError naming an unknown key."""
    values = dict(values)
    if "optim" in values:
        values["optim"] = build_section(OptimConfig, dict(values["optim"]), f"{where}, section optim")
    config = build_section(PaperPriorTrainConfig, values, where)
    if config.mode != "paper":
        raise ConfigError(f"{where}: mode is {config.mode!r}; it must be paper, or absent for the codec's prior")
    if min(config.size, config.views, config.batch, config.steps) < 1:
        raise ConfigError(f"{where}: size, views, batch and steps must be at least 1")
    if not 0 <= config.classless <= 1 or config.position_weight < 0:
        raise ConfigError(f"{where}: classless must lie in [0, 1] and position_weight must not be negative")
    return config


def load(path: str | Path) -> PaperPriorTrainConfig:
    """PaperPriorTrainConfig from a .yaml or .json file, or from the name of a packaged config."""
    return from_dict(*read_mapping(path))


def is_paper(path: str | Path) -> bool:
    """Whether a prior's config asks for the paper's DQ-Transformer."""
    return "mode" in read_mapping(path)[0]
