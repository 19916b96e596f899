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
    adapt_codes: for each step (rate, weight) of the adaptation to the image at hand, or nothing for none; rate in
    1/16, weight in 1/65536 of a code. adapt_maps: the same for map bits, of all steps (adaptation.py).
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
    adapt_codes: tuple[tuple[int, int], ...] = ()
    adapt_maps: tuple[int, int] | None = None

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
        if bool(self.adapt_codes) != bool(self.adapt_maps) or len(self.adapt_codes) not in (0, len(self.factors)):
            raise ValueError("adapt_codes has a pair for each step and adapt_maps one, or neither is there")
        for rate, weight in (*self.adapt_codes, self.adapt_maps or (0, 1)):
            if not 0 <= rate <= 64 or not 1 <= weight <= 1 << 32:
                raise ValueError("a pair of adapt_codes or adapt_maps is a rate in 0..64 and a weight in 1..2**32")

    @property
    def adapts(self) -> bool:
        """Whether frequencies follow the image at hand."""
        return bool(self.adapt_codes)

    @property
    def ladder(self) -> Ladder:
        return Ladder(tuple(self.factors), tuple(self.codebook_sizes))

    def to_dict(self) -> dict:
        """Plain values. A prior that does not adapt has no word about it, like those before there was adaptation."""
        values = asdict(self)
        return values if self.adapts else {k: v for k, v in values.items() if not k.startswith("adapt_")}

    @classmethod
    def from_dict(cls, values: dict) -> PriorConfig:
        return cls(**{k: _tuples(v) for k, v in values.items()})


def _tuples(value):
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
