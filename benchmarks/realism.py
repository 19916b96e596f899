"""Both ends of the realism dial, and what lies between: scores of the same files decoded at several settings.

    python benchmarks/realism.py --images DIR --metric-weights DIR [--model default] [--most 16] \
        [--rates 0.05 0.1 0.2 0.4] [--realism 0 0.5 1] [--output results/realism.json]

On validation pictures it chooses the default setting; on Kodak it reports. Prints a table and writes means.
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

METRICS = ("psnr", "ms_ssim", "lpips_vgg", "lpips_alex", "dists")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--most", type=int, default=1000)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.05, 0.1, 0.2, 0.4])
    parser.add_argument("--realism", type=float, nargs="+", default=[0.0, 0.5, 1.0])
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    scorers = {name: Scorer(name, args.metric_weights) for name in METRICS}
    sources = sorted(args.images.glob("*.png"))[: args.most]
    rows = []
    print("| bpp | realism | " + " | ".join(METRICS) + " |\n| --- | --- |" + " --- |" * len(METRICS))
    for rate in args.rates:
        scores = {r: [] for r in args.realism}
        spent = []
        for source in sources:
            image = Image.open(source).convert("RGB")
            original = np.asarray(image)
            data = codec.compress(image, bpp=rate, model=args.model)
            spent.append(8 * len(data) / image.width / image.height)
            for realism in args.realism:
                decoded = np.asarray(codec.decompress(data, model=args.model, realism=realism))
                scores[realism].append([scorer(original, decoded) for scorer in scorers.values()])
        for realism, found in scores.items():
            mean = dict(zip(METRICS, np.mean(found, 0).tolist(), strict=True))
            rows.append({"bpp": float(np.mean(spent)), "realism": realism, **mean})
            cells = (f"{mean[m]:.2f}" if m == "psnr" else f"{mean[m]:.4f}" for m in METRICS)
            print(f"| {np.mean(spent):.4f} | {realism:g} | " + " | ".join(cells) + " |", flush=True)
    if args.output:
        facts = {"model": load(args.model).fingerprint.hex(), "images": args.images.name, "pictures": len(sources),
                 "rows": rows, "machine": machine.describe()}
        args.output.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
