"""Exponential moving average of the weights; the average is what ships."""

from __future__ import annotations

import torch
from torch import nn


class WeightAverage:
    """Average of parameters with decay min(decay, (1 + t) / (10 + t)); buffers are copied."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay, self.updates = decay, 0
        self.state = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averaged = dict(model.named_parameters())
        torch._foreach_lerp_([self.state[name] for name in averaged], list(averaged.values()), 1 - decay)
        for name, buffer in model.named_buffers():
            if name in self.state:
                self.state[name].copy_(buffer)
