"""What quantisation costs: pictures decoded from codes, and from the latents before they became codes.

    python benchmarks/quantisation.py [--model NAME] --valid DIR --metric-weights DIR [--output FILE.json]

Centre crops of 256x256, the plain decoder, every region at the same level. The gap between the two is what better
codebooks could win at most; what is left is the networks'.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from dqcodec.eval import machine
from dqcodec.models.perceptual import LpipsVgg
from dqcodec.models.precision import autocast
from dqcodec.training.validate import load_crops
from dqcodec.weights import load


def figures(decoded: Tensor, x: Tensor, lpips: LpipsVgg) -> Tensor:
    """(2,): mean LPIPS-VGG and PSNR in dB of pictures decoded, x (N, 3, H, W) in [-1, 1]."""
    decoded = decoded.float().clamp(-1, 1)
    mse = (decoded - x).square().mean((1, 2, 3)) / 4
    return torch.stack([lpips(decoded, x).mean(), (-10 * mse.log10()).mean()])


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="default")
    parser.add_argument("--valid", required=True, type=Path)
    parser.add_argument("--metric-weights", required=True, type=Path)
    parser.add_argument("--crops", type=int, default=12)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    model = load(args.model)
    vae, lpips = model.plain.vae, LpipsVgg(args.metric_weights)
    crops = load_crops(args.valid, most=args.crops)
    rows = []
    for level in range(len(vae.ladder)):
        found = {"codes": [], "latents": []}
        for x in crops.split(4):
            with autocast(torch.device("cpu")):
                latents, q, distortion = vae.analyse(x)
                levels = torch.full_like(distortion[:, 0], level, dtype=torch.int64)
                values = {"codes": vae.quantizer.values(q.partial, None, levels),
                          "latents": vae.quantizer.continuous(latents, levels)}
                for name, value in values.items():
                    found[name].append(len(x) * figures(vae.decoder(value, levels), x, lpips))
        row = {"level": level, "raw_bpp": float(vae.level_bits[level]) / vae.ladder.region**2}
        for name, sums in found.items():
            lpips_vgg, psnr = (torch.stack(sums).sum(0) / len(crops)).tolist()
            row |= {f"{name}_lpips_vgg": round(lpips_vgg, 4), f"{name}_psnr": round(psnr, 2)}
        rows.append(row)
        print(row)
    if args.output:
        facts = {"model": model.fingerprint.hex(), "crops": len(crops), "rows": rows, **machine.describe()}
        args.output.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
