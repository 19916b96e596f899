"""Configuration of a prior's training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from dqcodec.errors import ConfigError
from dqcodec.training.config import OptimConfig, build_section, read_mapping


@dataclass(frozen=True)
class PriorTrainConfig:
    """model: fields of PriorConfig, less the ladder, which the DQ-VAE brings, and classes, which the data do.

    symbols: codes and map bits of a batch, about. window: side in regions of the largest piece of a picture.
    mirror: encode each picture's mirror image too. scales: sizes at which pictures without a label are encoded,
    1 as they are; labelled ones only as they are, since size is part of what a class looks like.
    part: of each folder's pictures that is encoded, drawn at random, in (0, 1].
    raster: share of batches in raster order.
    quantise_from: share of the run after which weights and values lie on the integers' grid. classless:
    share of labelled pictures whose label is dropped, for classifier-free guidance (Ho & Salimans 2022).
    workers: processes that pack batches, where more than one; else a thread does.
    steps, hours: as in TrainConfig.
    """

    model: dict = field(default_factory=dict)
    optim: OptimConfig = OptimConfig(lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01, warmup_steps=100, final=0.02)
    symbols: int = 8000
    window: int = 24
    mirror: bool = True
    scales: tuple[float, ...] = (1.0,)
    part: float = 1.0
    raster: float = 0.1
    quantise_from: float = 0.6
    classless: float = 0.15
    workers: int = 1
    steps: int = 100_000
    hours: float = 0.0
    seed: int = 0
    checkpoint_every: int = 100
    look_every: int = 200
    log_every: int = 10

    def to_dict(self) -> dict:
        return asdict(self)


def from_dict(values: dict, where: str = "configuration") -> PriorTrainConfig:
    """PriorTrainConfig from nested dicts; raises ConfigError naming an unknown key."""
    values = dict(values)
    if "optim" in values:
        values["optim"] = build_section(OptimConfig, dict(values["optim"]), f"{where}, section optim")
    config = build_section(PriorTrainConfig, values, where)
    config = replace(config, scales=tuple(config.scales))
    if not config.scales or not all(0 < s <= 4 for s in config.scales):
        raise ConfigError(f"{where}: scales must be one or more numbers in (0, 4]")
    for name in ("part", "quantise_from"):
        if not 0 < getattr(config, name) <= 1:
            raise ConfigError(f"{where}: {name} must lie in (0, 1]")
    return config


def load(path: str | Path) -> PriorTrainConfig:
    """PriorTrainConfig from a .yaml or .json file, or from the name of a packaged config."""
    return from_dict(*read_mapping(path))
