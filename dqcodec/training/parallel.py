"""Several processes by torchrun: the few collective calls that training needs."""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import nn


def start(device: str) -> tuple[int, int, torch.device]:
    """(rank, world size, device); joins the group if torchrun started this process."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return 0, 1, torch.device(device)
    cuda = device.startswith("cuda")
    dist.init_process_group("nccl" if cuda else "gloo")
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        return dist.get_rank(), world, torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return dist.get_rank(), world, torch.device("cpu")


def finish() -> None:
    """Leave the group. A process that exits without it may abort: its threads would still run."""
    if dist.is_initialized():
        dist.destroy_process_group()


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Mean of the gradients over all processes, in one flat transfer."""
    if not dist.is_initialized():
        return
    # Every parameter takes part, with or without a gradient here, so that ranks agree on the layout.
    owners = [p for p in parameters if p.requires_grad]
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in owners])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for p, g in zip(owners, flat.split([p.numel() for p in owners]), strict=True):
        p.grad = g.view_as(p).clone()


def same_start(module: nn.Module) -> None:
    """Give all processes rank 0's parameters and buffers."""
    if dist.is_initialized():
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)


def agree(value: float, device: torch.device) -> float:
    """Rank 0's value on every rank (a clock, say, that must not make ranks disagree)."""
    if not dist.is_initialized():
        return value
    tensor = torch.tensor([value], dtype=torch.float64, device=device)
    dist.broadcast(tensor, 0)
    return float(tensor)
