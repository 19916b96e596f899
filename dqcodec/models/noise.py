"""Noise that a decoder makes texture from, the same for the same place of a picture on every machine.

A decoder without it can make texture only from what repeats, its own upsampling grid. Karras et al. 2019
(StyleGAN), section 3.2, add fresh noise; a codec must decode the same file to the same picture, in tiles too,
so each pixel's number is a hash of its coordinates.
"""

from __future__ import annotations

from torch import Tensor

_MASK = 0xFFFFFFFF
_ROOT_3 = 3**0.5  # half the width of a uniform distribution of variance 1


def noise(rows: Tensor, cols: Tensor, salt: int) -> Tensor:
    """Numbers (B, 1, h, w) of mean 0 and variance 1 at the coordinates rows (B, h), cols (B, w) int64.

    salt: another integer gives another field. The mixing steps are those of 32-bit integer hashes.
    """
    x = rows[:, :, None] * 0x9E3779B1 + cols[:, None, :] * 0x85EBCA77 + salt * 0xC2B2AE3D  # (B, h, w)
    x = x & _MASK
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        x = ((x ^ (x >> shift)) * factor) & _MASK
    x = x ^ (x >> 15)
    return (x.float() * (2 * _ROOT_3 / 2**32) - _ROOT_3)[:, None]
