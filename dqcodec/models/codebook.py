"""A codebook learned by exponential moving averages, with restart of dead codes.

van den Oord et al. 2017 (VQ-VAE), appendix A.1, for the moving averages; Dhariwal et al. 2020
(Jukebox), section 3.1, for the restart; Yu et al. 2022 (ViT-VQGAN), section 3.2, for the low
dimension and the l2-normalised variant.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

DEAD = 0.03  # share of uniform use below which a code is restarted
FRESH = 0.1  # share with which it starts: about 120 steps at decay 0.99 to prove itself
ROWS = 1024  # that a CPU scores at a time: the scores stay in its cache


class Codebook(nn.Module):
    """`size` vectors of `dim` entries that follow the data; takes no gradient.

    `quantise` has no side effects; call `update` exactly once for each training step, on
    de-duplicated vectors, or the averages forget twice as fast as `decay` says.
    """

    def __init__(self, size: int, dim: int, decay: float = 0.99, normalised: bool = False):
        super().__init__()
        self.size, self.dim, self.decay, self.normalised = size, dim, decay, normalised
        self.register_buffer("embedding", self._project(torch.randn(size, dim)))  # (K, D)
        self.register_buffer("ema_count", torch.zeros(size))  # (K,)
        self.register_buffer("ema_sum", torch.zeros(size, dim))  # (K, D)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def _project(self, z: Tensor) -> Tensor:
        return F.normalize(z, dim=-1) if self.normalised else z

    def lookup(self, indices: Tensor) -> Tensor:
        """Vectors (..., D) of the codes `indices` (...), int64."""
        return F.embedding(indices, self.embedding)

    @torch.no_grad()
    def nearest(self, z: Tensor) -> Tensor:
        """Index (N,) of the vector nearest to each row of z (N, D), in float32."""
        z = self._project(z.float())
        penalty = -0.5 * self.embedding.square().sum(-1)  # (K,)
        rows = ROWS if z.device.type == "cpu" else max(1, len(z))
        with torch.autocast(z.device.type, enabled=False):
            return torch.cat([torch.addmm(penalty, part, self.embedding.t()).max(-1).indices for part in z.split(rows)])

    def quantise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(indices (N,) int64, quantised (N, D) float32) of z (N, D)."""
        indices = self.nearest(z)
        return indices, self.lookup(indices)

    @torch.no_grad()
    def update(self, z: Tensor, indices: Tensor | None = None) -> None:
        """One step of the moving averages with z (N, D), its codes (N,) if known, then restart of codes hardly used.

        A code whose average count falls below DEAD of uniform use becomes a random vector of this batch, and its
        averages are reset with it. Sums are reduced over all processes of torch.distributed.
        """
        z = self._project(z.float())
        parallel = dist.is_available() and dist.is_initialized()
        rows = z.shape[0]
        count = torch.zeros_like(self.ema_count)
        total = torch.zeros_like(self.ema_sum)
        if rows:
            indices = self.nearest(z) if indices is None else indices
            count.index_add_(0, indices, torch.ones(rows, device=z.device))
            total.index_add_(0, indices, z)
        # Fresh vectors come from rank 0, which alone may draw them, so that ranks stay equal.
        pick = torch.randint(rows, (self.size,), device=z.device) if rows else None
        fresh = z[pick] if rows else self.embedding.clone()
        if parallel:
            dist.all_reduce(count)
            dist.all_reduce(total)
            dist.broadcast(fresh, 0)
        if count.sum() == 0:
            return
        self.updates += 1
        # Short memory at first: the vectors move fast and their scale is not known yet.
        t = float(self.updates)
        decay = min(self.decay, (1 + t) / (10 + t))
        self.ema_count.mul_(decay).add_(count, alpha=1 - decay)
        self.ema_sum.mul_(decay).add_(total, alpha=1 - decay)
        uniform = self.ema_count.sum() / self.size
        dead = self.ema_count < DEAD * uniform
        if dead.any():
            self.ema_sum[dead] = fresh[dead] * (FRESH * uniform)
            self.ema_count[dead] = FRESH * uniform
        self.embedding.copy_(self._project(self.ema_sum / self.ema_count.clamp_min(1e-6)[:, None]))


def perplexity(indices: Tensor, size: int) -> float:
    """exp(entropy) of the codes `indices` (...): how many of the `size` codes are used evenly."""
    if indices.numel() == 0:
        return 0.0
    p = torch.bincount(indices.flatten(), minlength=size).float()
    p = p / p.sum()
    return float(torch.exp(-(p * p.clamp_min(1e-12).log()).sum()))
