"""The fixed-point numbers of the prior, and their counterpart in training.

Every value is an integer times a power of two. Here are the exponents; integers.py computes with the integers,
network.py with the same values as floats, rounded to the same grid, so that training sees what decoding does.
docs/FORMAT.md, "The prior", is the specification.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STREAM, STREAM_MAX = 6, 8191  # residual stream: units of 2**-6
NORM = 5  # normalised values, int8
HEAD = 4  # queries, keys, values, hidden units, int8
CONTENT, CONTENT_MAX = 3, 31  # content embedding: 6 bits, so that 1,400 products stay below 2**23
LOGIT = 5  # logits: units of 1/32 nat
INT8_MAX = 127
WEIGHT_LOW, WEIGHT_HIGH = 4, 14  # exponents of a weight row
SCORE_SHIFT, SCORE_TOP = 5, 255  # attention: score differences in steps of 2**5, 256 of them
EXP_SIZE = 512  # entries of the exponential table, one for each 1/32 nat
MAP_LOW, MAP_HIGH = 64, 65472  # bounds of a map bit's frequency


class _Snap(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, exponent: int, least: float, most: float) -> Tensor:
        ctx.save_for_backward((x >= least) & (x <= most))
        return (x * 2.0**exponent).add_(0.5).floor_().mul_(2.0**-exponent).clamp_(least, most)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return grad * ctx.saved_tensors[0], None, None, None


def snap(x: Tensor, exponent: int, most: int, quantise: bool, positive: bool = False) -> Tensor:
    """x on the grid of 2**-exponent, at most `most` units in size; the gradient passes straight through.

    positive: nor below 0. Values beyond the limits get no gradient. Without `quantise` only the limits hold.
    """
    limit = most / 2**exponent
    least = 0.0 if positive else -limit
    return _Snap.apply(x, exponent, least, limit) if quantise else F.hardtanh(x, least, limit)


def power_of_two(n: Tensor) -> Tensor:
    """2**n in float32 for integers n in -126..127, from the bits: torch.exp2 may be off in the last one."""
    return ((n.to(torch.int32) + 127) << 23).view(torch.float32)


def weight_exponents(weight: Tensor, shared: bool = False) -> Tensor:
    """Exponent of each row (rows,) of weight (rows, columns) such that its integers just fit int8."""
    most = weight.detach().abs().amax(1).clamp_min(1e-6)
    if shared:
        most = most.amax().expand(len(most))
    return torch.floor(torch.log2(INT8_MAX / most)).clamp(WEIGHT_LOW, WEIGHT_HIGH)


def snap_weight(weight: Tensor, shared: bool = False) -> Tensor:
    """Weight (rows, columns) on the grid of its rows' exponents, straight-through."""
    with torch.no_grad():
        scale = power_of_two(weight_exponents(weight, shared))[:, None]
        error = torch.floor(weight * scale + 0.5).clamp(-INT8_MAX, INT8_MAX) / scale - weight
    return weight + error


def integer_root(n: Tensor) -> Tensor:
    """floor(sqrt(n)) of float64 integers below 2**52, exact whatever torch.sqrt's last bit is."""
    root = torch.floor(torch.sqrt(n))
    root = root - (root * root > n).to(root.dtype)
    return root + ((root + 1) * (root + 1) <= n).to(root.dtype)
