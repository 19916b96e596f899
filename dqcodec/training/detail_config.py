"""Configuration of a training of the detail layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from dqcodec.errors import ConfigError
from dqcodec.training.config import DataConfig, LossConfig, OptimConfig, build_section, read_mapping


@dataclass(frozen=True)
class DetailTrainConfig:
    """model: fields of DetailConfig. realism: where the dials of the models stand whose pictures it learns to add to,
    one after another; models without a dial have one decoder. loss: only l1 and LPIPS-VGG mean anything here.
    start_batches: batches whose residuals the codebook is made of. sparse: share of the batches with detail of single
    patches, in a run that goes on from layers. steps, hours: as in TrainConfig.
    """

    model: dict = field(default_factory=dict)
    realism: tuple[float, ...] = (0.9, 0.9, 0.0, 0.45)
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig(lr=1e-3, warmup_steps=50, final=0.01, ema_decay=0.998, muon=True)
    data: DataConfig = DataConfig()
    start_batches: int = 120
    sparse: float = 0.0
    steps: int = 100_000
    hours: float = 0.0
    seed: int = 0
    checkpoint_every: int = 200
    look_every: int = 400
    log_every: int = 20

    def to_dict(self) -> dict:
        return asdict(self)


def from_dict(values: dict, where: str = "configuration") -> DetailTrainConfig:
    """DetailTrainConfig from nested dicts; raises ConfigError naming an unknown key."""
    values = dict(values)
    for name, cls in (("loss", LossConfig), ("optim", OptimConfig), ("data", DataConfig)):
        if name in values:
            values[name] = build_section(cls, dict(values[name]), f"{where}, section {name}")
    config = build_section(DetailTrainConfig, values, where)
    if not config.realism or not all(0 <= r <= 1 for r in config.realism):
        raise ConfigError(f"{where}: realism must be one or more numbers in 0..1")
    if not 0 <= config.sparse <= 1:
        raise ConfigError(f"{where}: sparse must be a share, 0..1")
    if config.data.crop % 16 or config.loss.lpips_crop % 16:
        raise ConfigError(f"{where}: crop and lpips_crop must be multiples of 16")
    return config


def load(path: str | Path) -> DetailTrainConfig:
    """DetailTrainConfig from a .yaml or .json file, or from the name of a packaged config."""
    return from_dict(*read_mapping(path))
