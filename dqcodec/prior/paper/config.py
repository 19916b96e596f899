"""Hyperparameters of the paper's DQ-Transformer, saved with its weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from dqcodec.errors import ConfigError
from dqcodec.models.paper.config import PaperConfig
from dqcodec.prior.paper.layout import Layout


@dataclass(frozen=True)
class PaperPriorConfig:
    """Shape of the network for one grid of one DQ-VAE; the defaults are the paper's base model, p6c18.

    grains: cell sides in pixels of the DQ-VAE, coarse to fine. codebook_size: its codes.
    rows, cols: regions of a picture. The network has an embedding for each cell, so the size is fixed.
    share_positions: grains share one table of positions, that of the finest grid, a coarser cell having the row of
    its first finest cell; otherwise, as in the paper, every grain has rows of its own.
    classes: class names that it was trained with; label 0 is "no class", label i + 1 is class i.

    Raises ConfigError if the fields contradict each other.
    """

    grains: tuple[int, ...] = (16, 8)
    codebook_size: int = 1024
    rows: int = 16
    cols: int = 16
    classes: tuple[str, ...] = ()
    dim: int = 1024
    heads: int = 8
    position_layers: int = 6
    content_layers: int = 18
    dropout: float = 0.1
    share_positions: bool = False

    def __post_init__(self):
        sizes = ("codebook_size", "rows", "cols", "dim", "heads", "position_layers", "content_layers")
        if bad := [name for name in sizes if getattr(self, name) < 1]:
            raise ConfigError(f"{bad[0]} is {getattr(self, bad[0])}; it must be at least 1")
        if self.dim % self.heads:
            raise ConfigError(f"dim {self.dim} must be a multiple of heads {self.heads}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}; it must lie in [0, 1)")
        nested = all(a > b >= 1 and a % b == 0 for a, b in zip(self.grains, self.grains[1:], strict=False))
        if len(self.grains) < 2 or not nested:
            raise ConfigError(f"grains {self.grains} must be two or more, coarse to fine, each a multiple of the next")

    @property
    def layout(self) -> Layout:
        """The grids of the grains."""
        return Layout(self.rows, self.cols, tuple(self.grains[0] // grain for grain in self.grains))

    @classmethod
    def for_vae(cls, vae: PaperConfig, size: int, classes: tuple[str, ...] = (), **model) -> PaperPriorConfig:
        """For pictures of size x size pixels of a DQ-VAE; `model` holds the other fields.

        Raises ConfigError for a size that regions do not cover and for a field that does not exist.
        """
        if size < 1 or size % vae.region:
            raise ConfigError(f"size is {size}; pictures must have a multiple of {vae.region} pixels a side")
        known = {field.name for field in fields(cls)} - {"grains", "codebook_size", "rows", "cols", "classes"}
        if unknown := sorted(set(model) - known):
            raise ConfigError(f"unknown key {unknown[0]!r}; known keys: {', '.join(sorted(known))}")
        side = size // vae.region
        return cls(vae.grains, vae.codebook_size, side, side, tuple(classes), **model)

    def to_dict(self) -> dict:
        """Plain values, for a file beside the weights."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> PaperPriorConfig:
        """From plain values, lists for tuples; raises ConfigError for a field that does not exist."""
        if unknown := sorted(set(values) - {field.name for field in fields(cls)}):
            raise ConfigError(f"the paper's prior has no field {', '.join(unknown)}; see PaperPriorConfig")
        return cls(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})
