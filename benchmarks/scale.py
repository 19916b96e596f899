"""What coding pictures at less than their size buys: scores at equal bytes, at their own size and at the chosen one.

    python benchmarks/scale.py --images DIR --metric-weights DIR [--first 24] [--most 8] [--enlarge 1 1.25 1.5 2] \
        [--rates 0.05 0.1 0.2 0.3] [--shares 0.003 0.006] [--model default] [--jobs 2] [--output results/scale.json]

Each picture is taken as it is and enlarged (Lanczos), of which the middle as large as the picture is coded: cameras
deliver pictures that are as soft as that. On validation pictures it judges the rule (dqcodec/reduction.py), at the
share in use or at others. Prints a table and writes means.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image

from dqcodec import bitstream, codec, reduction
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


@lru_cache
def scorers(weights: Path | None) -> list[Scorer]:
    """The metrics, once for each process."""
    torch.set_num_threads(1)
    return [Scorer(name, weights) for name in METRICS]


def measured(source: Path, factor: float, bpp: float, share: float | None, model: str,
             weights: Path | None) -> list[float]:
    """bpp, scale and scores of a picture enlarged by `factor`, reduced by the rule of `share` or not at all."""
    score = scorers(weights)
    image = enlarged(Image.open(source).convert("RGB"), factor)
    with mock.patch.object(reduction, "SHARE", share):
        data = codec.compress(image, bpp=bpp, scale=1 if share is None else None, model=model)
    pair = np.asarray(image), np.asarray(codec.decompress(data, model=model))
    scale = bitstream.inspect(data).header.scale / WHOLE
    return [8 * len(data) / image.width / image.height, scale, *(one(*pair) for one in score)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--first", type=int, default=24)
    parser.add_argument("--most", type=int, default=8)
    parser.add_argument("--enlarge", nargs="+", type=float, default=[1, 1.25, 1.5, 2])
    parser.add_argument("--rates", nargs="+", type=float, default=[0.05, 0.1, 0.2, 0.3])
    parser.add_argument("--shares", nargs="+", type=float, default=[reduction.SHARE])
    parser.add_argument("--model", default="default")
    parser.add_argument("--jobs", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    sources = sorted(args.images.glob("*.png"))[args.first : args.first + args.most]
    rows = []
    print("| enlarged by | bpp | share | scale | " + " | ".join(METRICS) + " |\n|" + " --- |" * (4 + len(METRICS)))
    pool = ProcessPoolExecutor(args.jobs, multiprocessing.get_context("spawn"))
    for factor, bpp in itertools.product(args.enlarge, args.rates):
        for share in (None, *args.shares):
            one = partial(measured, factor=factor, bpp=bpp, share=share, model=args.model, weights=args.metric_weights)
            found = np.mean(list(pool.map(one, sources)), 0).round(4).tolist()
            row = dict(zip(("bpp", "mean_scale", *METRICS), found, strict=True))
            rows.append({"enlarged": factor, "share": share, **row})
            scores = " | ".join(f"{row[k]:.2f}" if k == "psnr" else f"{row[k]:.4f}" for k in METRICS)
            name = "never" if share is None else f"{share:g}"
            print(f"| {factor:g} | {row['bpp']:.4f} | {name} | {row['mean_scale']:.2f} | {scores} |", flush=True)
    pool.shutdown()
    if args.output:
        facts = {"model": load(args.model).fingerprint.hex(), "images": args.images.name, "first": args.first,
                 "pictures": len(sources), "rows": rows, "machine": machine.describe()}
        args.output.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
