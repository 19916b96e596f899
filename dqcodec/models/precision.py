"""The precision that a machine computes networks in fastest."""

from __future__ import annotations

import torch


def native_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself. A processor that does not takes up to a hundred times as long."""
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)  # torch >= 2.6
    return device.type == "cuda" or native()


def autocast(device: torch.device) -> torch.autocast:
    """A with-block that computes in bfloat16 where the device does so natively, else in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=native_bfloat16(device))
