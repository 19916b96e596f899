"""Integer layers of the prior: int8 in, integers out, the same on every machine.

Integers live in int8 or float32 tensors. float32 holds every integer up to 2**24, and +, -, * and / of
IEEE 754 are correctly rounded everywhere, so nothing here depends on the order of a sum, on threads or on
the device; what must stay below 2**23 is checked when a model is loaded.
"""

from __future__ import annotations

from functools import cached_property
from threading import Lock

import torch
from torch import Tensor

from dqcodec.prior.fixed_point import INT8_MAX, SCORE_SHIFT, SCORE_TOP, integer_root


def _int_mm_is_exact() -> bool:
    """Whether torch._int_mm gives exact sums on this processor.

    Without VNNI oneDNN adds pairs of products in 16 bits, where they saturate; so it does where the processor
    has VNNI but ONEDNN_MAX_CPU_ISA hides it. Hence a trial with the largest products.
    """
    names = ("_is_vnni_supported", "_is_avx512_vnni_supported")
    if not hasattr(torch, "_int_mm") or not any(getattr(torch.cpu, name, lambda: False)() for name in names):
        return False
    most = torch.full((64, 256), INT8_MAX, dtype=torch.int8)
    right = 256 * INT8_MAX**2
    return all((torch._int_mm(most[:n], sign * most.t()) == sign * right).all() for n in (1, 64) for sign in (1, -1))


_INT_MM = _int_mm_is_exact()


class IntegerLinear:
    """Linear layer on integers; its arithmetic is docs/FORMAT.md's.

    weight (k, m) int8, bias (m,) float32 integers, scale (m,) powers of two from the products' grid to the
    outputs'. Sums of products are below 2**24. Products of int8 are exact in bfloat16 and TF32 too, and their sums in
    float32: any precision setting of float32 products gives the same result.
    """

    def __init__(self, weight: Tensor, bias: Tensor, scale: Tensor):
        self.weight, self.bias, self.scale = weight, bias, scale
        # bias and rounding together; the sum with a product is an integer below 2**24 times the scale, so exact.
        self._offset = bias * scale + 0.5

    @cached_property
    def _wide_weight(self) -> Tensor:
        """The weight as float32: to convert it at every call takes a tenth of the prior's time."""
        return self.weight.float()

    def __call__(self, x: Tensor) -> Tensor:
        """x (n, k) int8 -> (n, m) float32 integers, rounded half up."""
        if len(x) == 0:
            return torch.zeros(0, self.weight.shape[1], device=x.device)
        in_int8 = x.device.type == "cpu" and _INT_MM
        y = torch._int_mm(x, self.weight).float() if in_int8 else x.float() @ self._wide_weight
        return torch.addcmul(self._offset, y, self.scale, out=y).floor_()


class _AnyPrecision:
    """A with-block in which float32 products may use bfloat16 or TF32: here these are as exact and up to three times
    as fast. The setting is the process's, so the first thread to come in keeps it and the last to go restores it.
    """

    def __init__(self):
        self._lock, self._inside, self._kept = Lock(), 0, "highest"

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._kept = torch.get_float32_matmul_precision()
                torch.set_float32_matmul_precision("medium")
            self._inside += 1

    def __exit__(self, *exc) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                torch.set_float32_matmul_precision(self._kept)


_any_precision = _AnyPrecision()


def to_int8(x: Tensor, least: int = -INT8_MAX) -> Tensor:
    """Clamp float32 integers to least..127; x is used up."""
    return x.clamp_(least, INT8_MAX).to(torch.int8)


def normalise(h: Tensor) -> Tensor:
    """int8 of the stream h (n, d): round(512 h / root), root = floor(sqrt(floor(256 sum h^2 / d))), at least 1."""
    n = torch.floor(h.double().square_().sum(-1, keepdim=True) * 256 / h.shape[-1])
    root = integer_root(n).clamp_min(1).float()
    return to_int8(torch.add(root, h, alpha=1024).div_(2 * root).floor_())


def mean_int8(x: Tensor) -> Tensor:
    """Rounded mean (n, d) int8 of x (n, c, d) int8."""
    count = x.shape[1]
    total = x.float().sum(1)
    return torch.floor((2 * total + count) / (2 * count)).to(torch.int8)


def attend(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None) -> Tensor:
    """q (B, h, n, c), k, v (B, h, m, c) float32 integers of int8 -> (B, h, n, c) integers of int8.

    hidden (B, 1, n, m): which of the m are not seen, None if all are. Weights are (t * t) >> 10 with
    t = max(255 - ((best - score) >> 5), 0): 63 at the best score, 0 far below it.
    """
    with _any_precision:
        score = (q * 2.0**-SCORE_SHIFT) @ k.transpose(-1, -2)  # (B, h, n, m), multiples of 2**-5 below 2**15
    if hidden is not None:
        score.add_(hidden, alpha=-(2.0**20))  # far below the best; masked_fill_ takes four times as long
    best = score.amax(-1, keepdim=True)
    t = score.sub_(best.sub_(SCORE_TOP)).ceil_().clamp_min_(0)
    e = t.mul_(t).mul_(2.0**-10).floor_()
    with _any_precision:
        total = (e @ v).double()  # (B, h, n, c)
    weight = e.sum(-1, keepdim=True).double()
    return total.mul_(2).add_(weight).div_(2 * weight).floor_().float()
