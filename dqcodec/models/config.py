"""Configuration of the codec-mode DQ-VAE, saved with its weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from dqcodec.bitstream.tokens import Ladder


@dataclass(frozen=True)
class CodecConfig:
    """Shape of the codec-mode DQ-VAE.

    factors: grain of each ladder step in pixels, e.g. (16, 16, 16, 8, 4): depth 3 at f16, then f8, f4.
    exclusive: a region carries the codes of its own level only, all from one shared codebook (the
        paper's choice, kept for the experiment); otherwise steps 0..level, each with its codebook.
    bypass: share of training images that reach the decoder unquantised. A ladder trained without it
        keeps to three dimensions, the mean colour: what the codebooks do not hold earns no gradient.
    encoder_channels / decoder_channels: widths at f16, f8, f4, f2 (and f1 for the decoder).
    encoder_blocks / decoder_blocks: residual blocks at the same resolutions.
    noise_factors: resolutions at which the decoder gets noise to make texture from, e.g. (4, 2, 1).
    """

    factors: tuple[int, ...] = (16, 16, 16, 8, 4)
    codebook_size: int = 1024
    code_dim: int = 16
    normalised: bool = False
    exclusive: bool = False
    ema_decay: float = 0.99
    encoder_channels: tuple[int, ...] = (256, 128, 64, 32)
    encoder_blocks: tuple[int, ...] = (2, 2, 1, 0)
    decoder_channels: tuple[int, ...] = (256, 128, 64, 32, 16)
    decoder_blocks: tuple[int, ...] = (3, 3, 2, 1, 0)
    noise_factors: tuple[int, ...] = ()
    router_hidden: int = 128
    bypass: float = 0.0

    def __post_init__(self):
        if self.exclusive and self.bypass:
            raise ValueError("bypass is for ladders, not for exclusive grains")

    @property
    def ladder(self) -> Ladder:
        return Ladder(tuple(self.factors), (self.codebook_size,) * len(self.factors))

    @property
    def grains(self) -> tuple[int, ...]:
        """Distinct factors, coarse to fine."""
        return tuple(sorted(set(self.factors), reverse=True))

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> CodecConfig:
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
