"""Configuration of a training for soft pictures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from dqcodec.errors import ConfigError
from dqcodec.training.config import DataConfig, LossConfig, OptimConfig, build_section, read_mapping


@dataclass(frozen=True)
class SoftTrainConfig:
    """rank: of the additions to kernels. enlargements: least and most of the views. loss: only l1 and LPIPS-VGG mean
    anything here. steps, hours: as in TrainConfig.
    """

    rank: int = 8
    enlargements: tuple[float, float] = (1.1, 2.0)
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig(lr=1e-3, betas=(0.9, 0.98), warmup_steps=30, final=0.02, ema_decay=0.99)
    data: DataConfig = DataConfig()
    steps: int = 100_000
    hours: float = 0.0
    seed: int = 0
    checkpoint_every: int = 200
    look_every: int = 500
    log_every: int = 20

    def to_dict(self) -> dict:
        return asdict(self)


def from_dict(values: dict, where: str = "configuration") -> SoftTrainConfig:
    """SoftTrainConfig from nested dicts; raises ConfigError naming an unknown key."""
    values = dict(values)
    for name, cls in (("loss", LossConfig), ("optim", OptimConfig), ("data", DataConfig)):
        if name in values:
            values[name] = build_section(cls, dict(values[name]), f"{where}, section {name}")
    config = build_section(SoftTrainConfig, values, where)
    if config.rank < 1:
        raise ConfigError(f"{where}: rank must be at least 1")
    if len(config.enlargements) != 2 or not 1 < config.enlargements[0] <= config.enlargements[1]:
        raise ConfigError(f"{where}: enlargements must be two numbers over 1, the least first")
    if config.data.crop % 16 or config.loss.lpips_crop % 16:
        raise ConfigError(f"{where}: crop and lpips_crop must be multiples of 16")
    return config


def load(path: str | Path) -> SoftTrainConfig:
    """SoftTrainConfig from a .yaml or .json file, or from the name of a packaged config."""
    return from_dict(*read_mapping(path))
