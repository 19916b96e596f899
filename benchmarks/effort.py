"""What `--effort best` gains over `fast`, and which weight of measured errors it should use.

    python benchmarks/effort.py --images shared/data/valid --metric-weights shared/data/metrics \
        [--most 8] [--rates 0.1 0.2] [--weights 0 2] [--output results/effort.json]

Files of equal size, scores of the decoded pictures: fast, and best with each weight of the measured L1 error
beside the router's prediction. On the validation pictures, since it chooses a setting.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image

from dqcodec import codec, effort
from dqcodec.eval.metrics import Scorer

METRICS = ("lpips_alex", "lpips_vgg", "dists", "psnr")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--most", type=int, default=8)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.1, 0.2])
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 2.0])
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    scorers = {name: Scorer(name, args.metric_weights) for name in METRICS}
    sources = sorted(args.images.glob("*.png"))[: args.most]
    facts = []
    for rate in args.rates:
        for weight in (None, *args.weights):
            rows, seconds = [], 0.0
            for source in sources:
                image = Image.open(source).convert("RGB")
                if weight is not None:
                    effort.L1_WEIGHT = weight
                start = time.perf_counter()
                data = codec.compress(image, bpp=rate, effort="fast" if weight is None else "best", model=args.model)
                seconds += time.perf_counter() - start
                decoded = np.asarray(codec.decompress(data, model=args.model))
                scores = [scorer(np.asarray(image), decoded) for scorer in scorers.values()]
                rows.append([8 * len(data) / image.width / image.height, *scores])
            mean = np.mean(rows, 0)
            name = "fast" if weight is None else f"best, weight {weight}"
            row = {"bpp": mean[0], **dict(zip(METRICS, mean[1:], strict=True)), "encode_s": seconds / len(sources)}
            facts.append({"target": rate, "effort": name} | {k: round(float(v), 4) for k, v in row.items()})
            print(f"{rate} {name:<18} " + "  ".join(f"{k} {v:.4f}" for k, v in row.items()), flush=True)
    if args.output:
        args.output.write_text(json.dumps({"pictures": len(sources), "rows": facts}, indent=1) + "\n")


if __name__ == "__main__":
    main()
