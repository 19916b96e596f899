"""What coding pictures at less than their size buys: scores at equal bytes, at their own size and at the chosen one.

    python benchmarks/scale.py --images DIR --metric-weights DIR [--first 24] [--most 8] [--enlarge 1 1.25 1.5 2] \
        [--rates 0.05 0.1 0.2 0.3] [--model default] [--output results/scale.json]

Each picture is taken as it is and enlarged (Lanczos), of which the middle as large as the picture is coded: cameras
deliver pictures that are as soft as that. On validation pictures it judges the rule (dqcodec/reduction.py). Prints a
table and writes means.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from dqcodec import bitstream, codec
from dqcodec.bitstream import WHOLE
from dqcodec.eval import machine
from dqcodec.eval.metrics import Scorer
from dqcodec.weights import load

METRICS = ("psnr", "lpips_vgg", "lpips_alex", "dists")


def enlarged(image: Image.Image, factor: float) -> Image.Image:
    """The middle of an image enlarged, as large as the image."""
    width, height = (round(side * factor) for side in image.size)
    left, top = (width - image.width) // 2, (height - image.height) // 2
    large = image.resize((width, height), Image.Resampling.LANCZOS)
    return large.crop((left, top, left + image.width, top + image.height))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--first", type=int, default=24)
    parser.add_argument("--most", type=int, default=8)
    parser.add_argument("--enlarge", nargs="+", type=float, default=[1, 1.25, 1.5, 2])
    parser.add_argument("--rates", nargs="+", type=float, default=[0.05, 0.1, 0.2, 0.3])
    parser.add_argument("--model", default="default")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    scorers = [Scorer(name, args.metric_weights) for name in METRICS]
    sources = sorted(args.images.glob("*.png"))[args.first : args.first + args.most]
    rows = []
    print("| enlarged by | bpp | scale | " + " | ".join(METRICS) + " |\n|" + " --- |" * (3 + len(METRICS)))
    for factor in args.enlarge:
        images = [enlarged(Image.open(source).convert("RGB"), factor) for source in sources]
        for rate in args.rates:
            for scale in (1, None):
                found = []
                for image in images:
                    data = codec.compress(image, bpp=rate, scale=scale, model=args.model)
                    coded_at = bitstream.inspect(data).header.scale / WHOLE
                    pair = np.asarray(image), np.asarray(codec.decompress(data, model=args.model))
                    scores = [scorer(*pair) for scorer in scorers]
                    found.append([8 * len(data) / image.width / image.height, coded_at, *scores])
                row = dict(zip(("bpp", "mean_scale", *METRICS), np.mean(found, 0).round(4).tolist(), strict=True))
                rows.append({"enlarged": factor, "chosen": scale is None, **row})
                cells = [f"{v:.2f}" if k in ("psnr", "mean_scale") else f"{v:.4f}" for k, v in row.items()]
                print(f"| {factor:g} | " + " | ".join(cells) + " |", flush=True)
    if args.output:
        facts = {"model": load(args.model).fingerprint.hex(), "images": args.images.name, "first": args.first,
                 "pictures": len(sources), "rows": rows, "machine": machine.describe()}
        args.output.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
