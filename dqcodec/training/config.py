"""Configuration of a training run: frozen dataclasses, read from YAML or JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from dqcodec.errors import ConfigError
from dqcodec.training.adversarial import AdversarialConfig


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms. lpips_crop: side of the patch on which LPIPS-VGG is computed, a
    multiple of 16; VGG costs several times the autoencoder, so a random patch of each crop buys
    more steps than the whole crop."""

    l1: float = 1.0
    lpips_vgg: float = 1.0
    commitment: float = 0.25
    router: float = 1.0
    lpips_crop: int = 64


@dataclass(frozen=True)
class OptimConfig:
    """AdamW and its schedule: linear warm-up, then cosine to `final` times lr.

    muon: move hidden matrices by Muon (muon.py), at the same rate, and only the rest by AdamW.
    """

    lr: float = 4e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    warmup_steps: int = 200
    final: float = 0.05
    grad_clip: float = 1.0
    ema_decay: float = 0.999
    muon: bool = False


@dataclass(frozen=True)
class DataConfig:
    """Crops of `crop` pixels, taken at a random scale in [min_scale, 1] of the stored picture."""

    crop: int = 128
    batch: int = 12
    min_scale: float = 0.5
    grey: float = 0.03
    workers: int = 2


@dataclass(frozen=True)
class DistilConfig:
    """Learning from a teacher, a model with the same ladder, whose codebooks the run takes over (distil.py).

    latents, router: weights on the squared distance of latents and predicted distortions to the teacher's.
    tokens: share of pictures that reach the decoder by the teacher's tokens and not by the encoder's own.
    target: what the decoder should make of them, "picture", what went in, or "teacher", what the teacher decodes.
    """

    latents: float = 1.0
    router: float = 1.0
    tokens: float = 0.5
    target: str = "picture"

    def __post_init__(self):
        if self.target not in ("picture", "teacher"):
            raise ConfigError(f"distil target is {self.target!r}; it must be 'picture' or 'teacher'")
        if not 0 <= self.tokens <= 1:
            raise ConfigError(f"distil tokens is {self.tokens}; it is a share, 0..1")


@dataclass(frozen=True)
class TrainConfig:
    """mode: "codec" or "paper". model: fields of the mode's dataclass. adversarial: None for no GAN. distil: None
    for no teacher.

    steps bounds the run; with hours > 0 the schedule follows wall-clock time instead and the run
    ends at whichever comes first. train_only: module names to train while the rest is frozen, e.g.
    ("decoder",), which keeps the meaning of tokens (and so the fingerprint) unchanged.
    """

    mode: str = "codec"
    model: dict = field(default_factory=dict)
    adversarial: AdversarialConfig | None = None
    distil: DistilConfig | None = None
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    data: DataConfig = DataConfig()
    steps: int = 10000
    hours: float = 0.0
    seed: int = 0
    train_only: tuple[str, ...] = ()
    compile: bool = False
    checkpoint_every: int = 500
    look_every: int = 500
    log_every: int = 20

    def to_dict(self) -> dict:
        return asdict(self)


def build_section(cls, values: dict, where: str):
    """Dataclass `cls` from a dict; raises ConfigError naming an unknown key and `where` it stands."""
    known = {f.name for f in fields(cls)}
    unknown = set(values) - known
    if unknown:
        raise ConfigError(f"{where}: unknown key {sorted(unknown)[0]!r}; known keys: {', '.join(sorted(known))}")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def from_dict(values: dict, where: str = "configuration") -> TrainConfig:
    """TrainConfig from nested dicts; raises ConfigError naming an unknown key."""
    values = dict(values)
    for name, cls in (("loss", LossConfig), ("optim", OptimConfig), ("data", DataConfig)):
        if name in values:
            values[name] = build_section(cls, dict(values[name]), f"{where}, section {name}")
    for name, cls in (("adversarial", AdversarialConfig), ("distil", DistilConfig)):
        if values.get(name) is not None:
            values[name] = build_section(cls, dict(values[name]), f"{where}, section {name}")
    config = build_section(TrainConfig, values, where)
    if config.mode not in ("codec", "paper"):
        raise ConfigError(f"{where}: mode is {config.mode!r}; it must be codec or paper")
    if config.loss.lpips_crop % 16 or config.data.crop % 16:
        raise ConfigError(f"{where}: crop and lpips_crop must be multiples of 16")
    return config


def load(path: str | Path) -> TrainConfig:
    """TrainConfig from a .yaml or .json file, or from the name of a packaged config."""
    return from_dict(*read_mapping(path))


def read_mapping(path: str | Path) -> tuple[dict, str]:
    """(settings, where they come from) of a .yaml or .json file, or of the name of a packaged config."""
    path = Path(path)
    if not path.exists():
        folder = Path(__file__).parent / "configs"
        names = {p.relative_to(folder).with_suffix("").as_posix(): p for p in sorted(folder.rglob("*.yaml"))}
        if path.as_posix() not in names:
            raise ConfigError(f"no config {str(path)!r}; give a YAML or JSON file or one of: "
                              f"{', '.join(names)}")
        path = names[path.as_posix()]
    text = path.read_text()
    try:
        if path.suffix == ".json":
            values = json.loads(text)
        else:
            import yaml  # not on a bare GPU machine: use JSON there

            values = yaml.safe_load(text)
    except Exception as error:
        raise ConfigError(f"{path}: not readable as a config: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a config is a mapping of settings, see dqcodec/training/configs")
    return values, str(path)
