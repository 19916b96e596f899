"""Validation during training: PSNR and LPIPS-VGG at fixed raw budgets on held-out pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from dqcodec.errors import DataError
from dqcodec.models.perceptual import LpipsVgg
from dqcodec.models.precision import autocast

BUDGETS = (0.05, 0.1, 0.2, 0.4)  # raw code bits a pixel


def load_crops(folder: Path, side: int = 256, most: int = 16) -> Tensor:
    """Centre crops (N, 3, side, side) in [-1, 1] of the first pictures in `folder`."""
    crops = []
    for path in sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in {".png", ".webp", ".jpg"})[:most]:
        image = Image.open(path).convert("RGB")
        if min(image.size) < side:
            continue
        left, top = (image.width - side) // 2, (image.height - side) // 2
        crops.append(np.asarray(image.crop((left, top, left + side, top + side))))
    if not crops:
        raise DataError(f"{folder}: no validation pictures of at least {side}x{side} pixels there")
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def validate(model: nn.Module, crops: Tensor, lpips: LpipsVgg | None, device: torch.device) -> dict[str, float]:
    """Mean PSNR (dB), LPIPS-VGG and raw bpp at each budget; `model.reconstruct(x, bpp)` gives the pictures."""
    results: dict[str, float] = {}
    for budget in BUDGETS:
        psnr, distance, bits = [], [], []
        for x in crops.split(4):
            x = x.to(device)
            with autocast(device):
                rec, used = model.reconstruct(x, budget)
            rec = rec.float().clamp(-1, 1)
            mse = (rec - x).square().mean((1, 2, 3)) / 4
            psnr.append(-10 * mse.log10())
            bits.append(used.float() / (x.shape[2] * x.shape[3]))
            if lpips is not None:
                with autocast(device):
                    distance.append(lpips(rec, x).mean((1, 2)))
        results[f"bpp@{budget}"] = torch.cat(bits).mean().item()
        results[f"psnr@{budget}"] = torch.cat(psnr).mean().item()
        if distance:
            results[f"lpips_vgg@{budget}"] = torch.cat(distance).mean().item()
    return results
