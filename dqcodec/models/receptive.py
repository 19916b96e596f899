"""How far a pixel or region looks: the halo that makes tiles join without seams."""

from __future__ import annotations

from dqcodec.models.config import CodecConfig


def _round_up(pixels: int, region: int) -> int:
    return -(-pixels // region) * region


def encoder_radius(config: CodecConfig) -> int:
    """Pixels beyond a region that its codes and predicted distortion depend on, rounded up to regions."""
    radius = 3 + 2  # pixel unshuffle and stem
    for side, blocks in zip((16, 8, 4, 2), config.encoder_blocks, strict=True):
        radius += 2 * blocks * side + side  # residual blocks, strided convolution
    return _round_up(radius + 16, 16)  # latent head


def decoder_radius(config: CodecConfig) -> int:
    """Pixels beyond a pixel whose tokens it depends on, rounded up to regions."""
    radius = 2  # refine, to_image
    for side, blocks in zip((16, 8, 4, 2, 1), config.decoder_blocks, strict=True):
        radius += 2 * blocks * side
    return _round_up(radius + 16, 16)
