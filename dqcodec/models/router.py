"""Gain router: predicts each region's distortion at every level of the ladder.

The paper's router (a hard choice trained through Gumbel-softmax, see models/paper/router.py) fixes
one ratio at training. A codec needs any rate from one model, so this one estimates distortions by
regression on what the trainer measured, and the choice is left to a Lagrangian at encode time
(models/allocation.py), as in rate-distortion optimised quadtrees (Sullivan & Baker 1994).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dqcodec.models.config import CodecConfig


class GainRouter(nn.Module):
    """forward: features (B, C16, Hr, Wr) and energy (B, L, Hr, Wr) of the residual left after each
    step -> distortion (B, L, Hr, Wr) >= 0, not increasing along L for a residual ladder."""

    def __init__(self, config: CodecConfig):
        super().__init__()
        levels = len(config.factors)
        self.net = nn.Sequential(
            nn.Conv2d(config.encoder_channels[0] + levels, config.router_hidden, 1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(config.router_hidden, config.router_hidden, 1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(config.router_hidden, levels, 1),
        )
        nn.init.constant_(self.net[-1].bias, -2.0)

    def forward(self, features: Tensor, energy: Tensor) -> Tensor:
        # Detached: predicting distortion must not bend the features away from coding.
        x = torch.cat([features.detach().float(), torch.log(energy + 1e-4)], 1)
        with torch.autocast(x.device.type, enabled=False):
            gains = F.softplus(self.net(x))  # (B, L, Hr, Wr)
        # D_l = sum of gains at and above l: a finer level is never predicted to be worse.
        return gains.flip(1).cumsum(1).flip(1)
