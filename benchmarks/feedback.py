"""What rounds of feedback (dqcodec/feedback.py) buy: scores at equal bytes with several rounds and gains.

    python benchmarks/feedback.py --images DIR --metric-weights DIR [--rounds 0x0 1x0.1 1x0.2 1x0.3 2x0.15 4x0.1] \
        [--most 6] [--rates 0.1 0.3] [--output results/feedback.json]

On validation pictures it chooses the setting. Prints a table and writes means.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image

from dqcodec import codec, feedback
from dqcodec.eval import machine
from dqcodec.eval.metrics import Scorer
from dqcodec.weights import load

METRICS = ("psnr", "ms_ssim", "lpips_vgg", "lpips_alex", "dists")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--rounds", nargs="+", default=["0x0", "1x0.1", "1x0.2", "1x0.3", "2x0.15", "4x0.1"])
    parser.add_argument("--most", type=int, default=6)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.1, 0.3])
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    scorers = [Scorer(name, args.metric_weights) for name in METRICS]
    sources = sorted(args.images.glob("*.png"))[: args.most]
    rows = []
    print("| bpp | rounds x gain | " + " | ".join(METRICS) + " | encode s |\n|" + " --- |" * (len(METRICS) + 3))
    for rate in args.rates:
        for setting in args.rounds:
            rounds, gain = setting.split("x")
            feedback.FAST = (int(rounds), float(gain))
            found = []
            for source in sources:
                image = Image.open(source).convert("RGB")
                start = time.perf_counter()
                data = codec.compress(image, bpp=rate)
                took = time.perf_counter() - start
                original, shown = np.asarray(image), np.asarray(codec.decompress(data))
                scores = [scorer(original, shown) for scorer in scorers]
                found.append([8 * len(data) / image.width / image.height, *scores, took])
            row = dict(zip(("bpp", *METRICS, "encode_s"), np.mean(found, 0).round(4).tolist(), strict=True))
            rows.append({"rounds": int(rounds), "gain": float(gain), **row})
            cells = [f"{v:.2f}" if k in ("psnr", "encode_s") else f"{v:.4f}" for k, v in row.items()]
            print(f"| {cells[0]} | {setting} | " + " | ".join(cells[1:]) + " |", flush=True)
    if args.output:
        facts = {"model": load().fingerprint.hex(), "images": args.images.name, "pictures": len(sources), "rows": rows,
                 "machine": machine.describe()}
        args.output.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
