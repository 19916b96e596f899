"""Which errors cost what: scores of decoded pictures whose low frequencies are replaced by the original's.

    python benchmarks/lowpass.py --images DIR --metric-weights DIR [--model default] [--most 6] [--bpp 0.1 0.3]
        [--output results/lowpass.json]

Means of blocks of 64, 32, 16 and 8 pixels, interpolated, of the original in place of the decoded picture's: what the
codec could gain at most by getting them right. Beside it the decoded picture with the original's colour (Cb, Cr), and
with its luma.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

import dqcodec
from dqcodec.eval import machine
from dqcodec.eval.metrics import Scorer

METRICS = ("lpips_alex", "lpips_vgg", "dists", "psnr")
BLOCKS = (64, 32, 16, 8)


def low(pixels: np.ndarray, block: int) -> np.ndarray:
    """(H, W, 3) float32: means of blocks, interpolated back to the picture's size."""
    height, width = pixels.shape[:2]
    small = (-(-width // block), -(-height // block))
    channels = [np.asarray(Image.fromarray(pixels[..., c]).resize(small, Image.Resampling.BOX)
                           .resize((width, height), Image.Resampling.BICUBIC)) for c in range(3)]
    return np.stack(channels, 2)


def variants(original: np.ndarray, decoded: np.ndarray) -> dict[str, np.ndarray]:
    """The decoded picture (H, W, 3) uint8 and what it would be without some of its errors."""
    x, y = original.astype(np.float32), decoded.astype(np.float32)
    found = {"decoded": decoded}
    for block in BLOCKS:
        mended = y + low(x, block) - low(y, block)
        found[f"means of {block} px"] = mended.round().clip(0, 255).astype(np.uint8)
    a, b = (np.asarray(Image.fromarray(p).convert("YCbCr")) for p in (original, decoded))
    for name, parts in (("colour", (b[..., :1], a[..., 1:])), ("luma", (a[..., :1], b[..., 1:]))):
        mended = np.ascontiguousarray(np.concatenate(parts, 2))
        found[name] = np.asarray(Image.fromarray(mended, "YCbCr").convert("RGB"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--most", type=int, default=6)
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.1, 0.3])
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    scorers = {name: Scorer(name, args.metric_weights) for name in METRICS}
    sources = sorted(args.images.glob("*.png"))[: args.most]
    rows = []
    print("| bpp | the original's | " + " | ".join(METRICS) + " |\n| --- | --- |" + " --- |" * len(METRICS))
    for bpp in args.bpp:
        scores: dict[str, list[list[float]]] = {}
        for path in sources:
            image = Image.open(path).convert("RGB")
            original = np.asarray(image)
            decoded = np.asarray(dqcodec.decompress(dqcodec.compress(image, bpp=bpp, model=args.model)).convert("RGB"))
            for name, picture in variants(original, decoded).items():
                scores.setdefault(name, []).append([scorers[m](original, picture) for m in METRICS])
        for name, found in scores.items():
            means = dict(zip(METRICS, np.mean(found, 0).round(4).tolist(), strict=True))
            rows.append({"bpp": bpp, "mended": name, **means})
            print(f"| {bpp} | {name} | " + " | ".join(f"{v:.4f}" for v in means.values()) + " |", flush=True)
    if args.output:
        args.output.write_text(json.dumps({"model": args.model, "pictures": len(sources), "rows": rows,
                                           "machine": machine.describe()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
