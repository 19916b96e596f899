"""Multiply-accumulates per pixel and parameters of a shipped model.

    python benchmarks/compute.py [--model default]

Exits 1 if encoder and decoder together exceed the budget: 150 kMAC per pixel, of the model tiny 30.
"""

from __future__ import annotations

import argparse
import sys

import torch
from torch.utils.flop_counter import FlopCounterMode

from dqcodec.models.dqvae import DQVAE
from dqcodec.weights import load

BUDGETS = {"tiny": 30.0}  # kMAC per pixel
BUDGET = 150.0  # of any other
SIDE = 256


def kmac_per_pixel(vae: DQVAE) -> dict[str, float]:
    """kMAC per pixel of encoding (quantizer and router included) and decoding, by torch's flop counter."""
    x = torch.zeros(1, 3, SIDE, SIDE)
    with torch.no_grad():
        with FlopCounterMode(display=False) as encoding:
            _, q, _ = vae.analyse(x)
        levels = torch.full((1, SIDE // 16, SIDE // 16), len(vae.ladder) - 1)
        values = vae.quantizer.lookup(q.codes, levels)
        with FlopCounterMode(display=False) as decoding:
            vae.decoder(values, levels)
    per_pixel = 2 * 1000 * SIDE * SIDE  # the counter counts two operations a MAC
    return {"encoder": encoding.get_total_flops() / per_pixel, "decoder": decoding.get_total_flops() / per_pixel}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="default")
    model = parser.parse_args().model
    vae, budget = load(model).vae, BUDGETS.get(model, BUDGET)
    parts = kmac_per_pixel(vae)
    total = sum(parts.values())
    for name, value in parts.items():
        print(f"{name:<10} {value:7.1f} kMAC/px")
    print(f"{'together':<10} {total:7.1f} kMAC/px (budget {budget:.0f})")
    for name in ("encoder", "quantizer", "router", "decoder"):
        module = getattr(vae, name)
        count = sum(p.numel() for p in module.parameters()) + sum(
            b.numel() for n, b in module.named_buffers() if n.endswith("embedding"))
        print(f"{name:<10} {count / 1e6:7.2f} M parameters")
    return int(total > budget)


if __name__ == "__main__":
    sys.exit(main())
