"""Configuration of the DQ-Transformer, saved with its weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from dqcodec.bitstream.tokens import Ladder

ORDERS = ("groups", "raster")


@dataclass(frozen=True)
class PriorConfig:
    """Shape of the DQ-Transformer for one ladder.

    factors, codebook_sizes: the ladder whose tokens it models.
    dim, heads, position_layers, content_layers, hidden: widths and depths of the two stacks.
    embedding: width of the content embedding shared by all grains.
    tile: side in regions of the square within which tokens attend to each other.
    groups: for each step, in how many groups its cells are coded, 1 to 16.
    order: "groups" (cells dispersed by an ordered-dither matrix) or "raster" (cell after cell in each tile).
    classes: class labels that it was trained with; label 0 is "no class".
    """

    factors: tuple[int, ...] = (16, 8, 4)
    codebook_sizes: tuple[int, ...] = (1024, 1024, 1024)
    dim: int = 192
    heads: int = 4
    position_layers: int = 3
    content_layers: int = 3
    hidden: int = 768
    embedding: int = 32
    map_hidden: int = 64
    tile: int = 8
    groups: tuple[int, ...] = (16, 8, 8)
    order: str = "groups"
    classes: tuple[str, ...] = ()

    def __post_init__(self):
        if self.order not in ORDERS:
            raise ValueError(f"order {self.order!r} is none of {', '.join(ORDERS)}")
        if len(self.groups) != len(self.factors) or not all(1 <= g <= 16 for g in self.groups):
            raise ValueError(f"groups {self.groups}: one number from 1 to 16 for each of the {len(self.factors)} steps")
        if any(width < 8 or width % 8 for width in (self.dim, self.hidden, self.embedding, self.map_hidden)):
            raise ValueError("dim, hidden, embedding and map_hidden must be multiples of 8")
        if self.tile < 1 or self.heads < 1 or not all(1 <= size <= 2**16 for size in self.codebook_sizes):
            raise ValueError("tile and heads must be at least 1, codebooks have 1 to 65536 codes")
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}")

    @property
    def ladder(self) -> Ladder:
        return Ladder(tuple(self.factors), tuple(self.codebook_sizes))

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> PriorConfig:
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
