"""Muon: momentum whose update of each matrix is made orthogonal, so that all its directions move alike.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the size of a step as in Liu et al.,
"Muon is scalable for LLM training", 2025, section 2.2, so that it takes Adam's learning rates and weight decay.
torch.optim has one from 2.9 on; we allow older ones.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dqcodec.models.precision import native_bfloat16

_QUINTIC = (3.4445, -4.7750, 2.0315)  # drives singular values to about 1 in five rounds
_ROUNDS = 5
_RMS = 0.2  # of an update's entries, about that of Adam's


def orthogonal(matrices: Tensor) -> Tensor:
    """About U V^T of each matrix = U S V^T, (..., rows, columns), by Newton-Schulz rounds in the fastest precision."""
    a, b, c = _QUINTIC
    wide = matrices.shape[-2] <= matrices.shape[-1]
    precision = torch.bfloat16 if native_bfloat16(matrices.device) else torch.float32
    x = (matrices if wide else matrices.mT).to(precision)
    x = x / (torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x if wide else x.mT


class Muon(torch.optim.Optimizer):
    """For matrices (rows, columns) between hidden values, and kernels (rows, ...) of convolutions, taken as such.

    Embeddings, first and last layers and biases want Adam. Matrices of one shape are made orthogonal together: one by
    one they are too small for a GPU.
    """

    def __init__(self, parameters: Iterable[nn.Parameter] | Iterable[dict], lr: float | Tensor, momentum: float = 0.95,
                 weight_decay: float = 0.0):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        """One update; `closure` is not supported and must be None."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[nn.Parameter]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault(p.shape, []).append(p)
            for shape, alike in shapes.items():
                gradients = [p.grad for p in alike]
                averages = [self.state[p].setdefault("momentum", torch.zeros_like(p)) for p in alike]
                torch._foreach_lerp_(averages, gradients, 1 - group["momentum"])
                ahead = torch._foreach_lerp(gradients, averages, group["momentum"])  # Nesterov's
                matrices = torch.stack(ahead).flatten(2)  # (N, rows, columns)
                size = group["lr"] * (_RMS * max(matrices.shape[1:]) ** 0.5)
                if group["weight_decay"]:
                    torch._foreach_mul_(alike, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_sub_(alike, list((orthogonal(matrices).float() * size).view(-1, *shape)))
