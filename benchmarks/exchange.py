"""Models of one fingerprint read each other's files: scores of every encoder with every decoder.

    python benchmarks/exchange.py --images DIR --metric-weights DIR [--models default tiny] [--most 16] \
        [--rates 0.1 0.3] [--output results/exchange.json]

Each picture is compressed by each model to each rate (bits a pixel of the file) and each file decompressed by each
model. Prints a table and writes means.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from dqcodec import codec
from dqcodec.eval import machine
from dqcodec.eval.metrics import Scorer
from dqcodec.weights import load

METRICS = ("psnr", "lpips_vgg", "lpips_alex", "dists")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--models", nargs="+", default=["default", "tiny"])
    parser.add_argument("--most", type=int, default=1000)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.1, 0.3])
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    scorers = {name: Scorer(name, args.metric_weights) for name in METRICS}
    sources = sorted(args.images.glob("*.png"))[: args.most]
    rows = []
    print("| bpp | encoder | decoder | " + " | ".join(METRICS) + " |\n| --- | --- | --- |" + " --- |" * len(METRICS))
    for rate in args.rates:
        for encoder in args.models:
            scores, spent = {decoder: [] for decoder in args.models}, []
            for source in sources:
                image = Image.open(source).convert("RGB")
                original = np.asarray(image)
                data = codec.compress(image, bpp=rate, model=encoder)
                spent.append(8 * len(data) / image.width / image.height)
                for decoder, found in scores.items():
                    decoded = np.asarray(codec.decompress(data, model=decoder))
                    found.append([scorer(original, decoded) for scorer in scorers.values()])
            for decoder, found in scores.items():
                mean = dict(zip(METRICS, np.mean(found, 0).tolist(), strict=True))
                rows.append({"bpp": float(np.mean(spent)), "encoder": encoder, "decoder": decoder, **mean})
                cells = (f"{mean[m]:.2f}" if m == "psnr" else f"{mean[m]:.4f}" for m in METRICS)
                print(f"| {np.mean(spent):.4f} | {encoder} | {decoder} | " + " | ".join(cells) + " |", flush=True)
    if args.output:
        facts = {"fingerprint": load(args.models[0]).fingerprint.hex(), "images": args.images.name,
                 "pictures": len(sources), "rows": rows, "machine": machine.describe()}
        args.output.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
