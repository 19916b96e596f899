"""Hyperparameters of the paper's DQ-VAE."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from dqcodec.errors import ConfigError
from dqcodec.models.paper.policy import POLICIES


@dataclass(frozen=True)
class PaperConfig:
    """Sizes, grains and budget; the defaults are the paper's dual model (f16/f8).

    grains: cell sides in pixels, coarse to fine; the first is the region.
    channel_multipliers: encoder width of each octave (factor 1, 2, 4, ...) over `base_channels`;
        the last octave is the coarsest grain.
    decoder_multipliers: likewise for the decoder, whose last octave is the finest grain.
    attention_factors, decoder_attention_factors: downsampling factors whose blocks attend. Factors
        instead of resolutions, so that any image size works.
    latent_channels: width of the codes, the heads and the router's inputs.
    router_hidden: width of the router's hidden layer.
    temperature: of the Gumbel-softmax.
    budget_ratios: wanted share of regions of every grain but the coarsest, in [0, 1], per image.
    budget_gamma: weight of the budget loss.
    routing: "learned", or a rule in its place with exact shares `budget_ratios`: "random", "entropy" or "fixed"
        (policy.py), for comparison.
    position_grid: rows and columns of the learned position table, interpolated to other sizes.
    norm_groups: groups of every GroupNorm; divides all widths.

    Raises ConfigError if the fields contradict each other.
    """

    grains: tuple[int, ...] = (16, 8)
    base_channels: int = 128
    channel_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    res_blocks: int = 2
    attention_factors: tuple[int, ...] = (8, 16)
    decoder_multipliers: tuple[int, ...] = (1, 1, 2, 2)
    decoder_attention_factors: tuple[int, ...] = (8,)
    latent_channels: int = 256
    codebook_size: int = 1024
    codebook_decay: float = 0.99
    router_hidden: int = 512
    temperature: float = 1.0
    budget_ratios: tuple[float, ...] = (0.5,)
    budget_gamma: float = 10.0
    routing: str = "learned"
    position_grid: int = 32
    norm_groups: int = 32

    def __post_init__(self):
        self._check_grains()
        self._check_widths()
        self._check_budget()

    @property
    def region(self) -> int:
        """Side of a region in pixels; image sides must be multiples of it."""
        return self.grains[0]

    @property
    def replications(self) -> tuple[int, ...]:
        """Finest cells along one side of a cell of each grain, e.g. (2, 1)."""
        return tuple(grain // self.grains[-1] for grain in self.grains)

    @property
    def codes_per_region(self) -> tuple[int, ...]:
        """Codes that a region of each grain carries, e.g. (1, 4)."""
        return tuple((self.region // grain) ** 2 for grain in self.grains)

    def to_dict(self) -> dict:
        """Plain values, for a file beside the weights."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> PaperConfig:
        """From plain values, lists for tuples; raises ConfigError for a field that does not exist."""
        if unknown := sorted(set(values) - {field.name for field in fields(cls)}):
            raise ConfigError(f"the paper model has no field {', '.join(unknown)}; see PaperConfig")
        return cls(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})

    def _check_grains(self) -> None:
        if len(self.grains) < 2 or list(self.grains) != sorted(set(self.grains), reverse=True):
            raise ConfigError(f"grains {self.grains} must be two or more, from coarse to fine")
        if any(grain < 1 or grain & (grain - 1) for grain in self.grains):
            raise ConfigError(f"grains {self.grains} must be powers of two")
        for name, multipliers, grain in (
            ("channel_multipliers", self.channel_multipliers, self.grains[0]),
            ("decoder_multipliers", self.decoder_multipliers, self.grains[-1]),
        ):
            if len(multipliers) != grain.bit_length():
                raise ConfigError(
                    f"{name} has {len(multipliers)} octaves; grain {grain} needs {grain.bit_length()}"
                )

    def _check_widths(self) -> None:
        for name in ("base_channels", "res_blocks", "codebook_size", "router_hidden", "position_grid"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        widths = [self.base_channels * m for m in (*self.channel_multipliers, *self.decoder_multipliers)]
        if any(width < 1 or width % self.norm_groups for width in (*widths, self.latent_channels)):
            raise ConfigError(f"norm_groups {self.norm_groups} must divide every width and latent_channels")
        if self.temperature <= 0:
            raise ConfigError(f"temperature is {self.temperature}; it must be positive")

    def _check_budget(self) -> None:
        if self.routing not in POLICIES:
            raise ConfigError(f"routing {self.routing!r} is none of {', '.join(POLICIES)}")
        if len(self.budget_ratios) != len(self.grains) - 1:
            raise ConfigError(f"budget_ratios needs {len(self.grains) - 1} entries for grains {self.grains}")
        if any(ratio < 0 for ratio in self.budget_ratios) or sum(self.budget_ratios) > 1:
            raise ConfigError(f"budget_ratios {self.budget_ratios} must be shares that sum to at most 1")
