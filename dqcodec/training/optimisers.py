"""The optimiser of a network: AdamW, or AdamW beside Muon."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from dqcodec.training.config import OptimConfig
from dqcodec.training.muon import Muon


class Optimiser:
    """AdamW of `parameters` (name, parameter); with config.muon Muon moves those whose name is `hidden`.

    decays: names of the parameters with weight decay. captured: to be part of a CUDA graph (captured.py), where the
    learning rate is a tensor that each step reads.
    """

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], config: OptimConfig,
                 hidden: Callable[[str], bool] = lambda name: False,
                 decays: Callable[[str], bool] = lambda name: True, captured: bool = False):
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, p in parameters:
            groups.setdefault((config.muon and hidden(name), decays(name)), []).append(p)
        self.parts: list[torch.optim.Optimizer] = []
        for muon in (False, True):
            found = [{"params": ps, "weight_decay": config.weight_decay if decayed else 0.0}
                     for (of_muon, decayed), ps in groups.items() if of_muon == muon]
            lr = torch.tensor(config.lr, device=found[0]["params"][0].device) if found and captured else config.lr
            if found and muon:
                self.parts.append(Muon(found, lr))
            elif found:
                self.parts.append(torch.optim.AdamW(found, lr, betas=config.betas, fused=True, capturable=captured))

    def set_rate(self, rate: float) -> None:
        """The learning rate of the steps to come."""
        for part in self.parts:
            for group in part.param_groups:
                if isinstance(group["lr"], torch.Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Move all parameters."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> list[dict]:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, state: list[dict]) -> None:
        for part, kept in zip(self.parts, state, strict=True):
            part.load_state_dict(kept)
