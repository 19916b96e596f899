"""Feature router: which grain codes a region (dynamic grained coding, section 3.2 of the paper)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dqcodec.models.paper.blocks import group_norm
from dqcodec.models.paper.config import PaperConfig


class FeatureRouter(nn.Module):
    """Scores every grain of every region from the latent maps of all grains."""

    def __init__(self, config: PaperConfig):
        super().__init__()
        channels, grains = config.latent_channels, len(config.grains)
        self.pools = [config.region // grain for grain in config.grains]
        self.norms = nn.ModuleList(group_norm(channels, config.norm_groups) for _ in range(grains))
        self.mlp = nn.Sequential(
            nn.Linear(grains * channels, config.router_hidden),
            nn.SiLU(),
            nn.Linear(config.router_hidden, grains),
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps (B, D, H/grain, W/grain), coarse to fine -> float32 logits (B, G, Hr, Wr)."""
        pooled = [
            F.avg_pool2d(norm(m), pool)  # (B, D, Hr, Wr)
            for norm, m, pool in zip(self.norms, maps, self.pools, strict=True)
        ]
        logits = self.mlp(torch.cat(pooled, dim=1).permute(0, 2, 3, 1))  # (B, Hr, Wr, G)
        return logits.permute(0, 3, 1, 2).float()


def hard_gumbel(logits: Tensor, temperature: float) -> Tensor:
    """One-hot sample of each region's grain whose gradient is that of the softmax.

    logits: (B, G, Hr, Wr). Returns gates of the same shape, exactly 0 or 1 in value (Jang et al.,
    "Categorical reparameterization with Gumbel-softmax", ICLR 2017, straight-through form).
    """
    noise = -torch.empty_like(logits).exponential_().log()
    soft = ((logits + noise) / temperature).softmax(dim=1)  # (B, G, Hr, Wr)
    hard = one_hot(soft.argmax(dim=1), logits.shape[1]).to(soft.dtype)
    return hard + (soft - soft.detach())


def one_hot(levels: Tensor, grains: int) -> Tensor:
    """Levels (B, Hr, Wr) -> int64 gates (B, G, Hr, Wr)."""
    return F.one_hot(levels, grains).permute(0, 3, 1, 2)
