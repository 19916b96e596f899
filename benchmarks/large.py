"""Memory and time of the command line on large pictures.

    python benchmarks/large.py [--megapixels 1.5 3 6 12] [--bpp 0.15] [--image FILE] [--output results/large.json]

Pictures of 4:3, tiled from one photograph and its mirror images. Each is compressed and decompressed by a process of
its own; peak memory is the process's. Limits: 3 GB for any of them, and no more than 1.5 times the time a pixel of the
smallest picture, start of the program not counted. Exits 1 if one is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from speed import sample_image

from dqcodec.eval import machine

MOST_GB, MOST_RATIO = 3.0, 1.5


def mosaic(tile: np.ndarray, megapixels: float) -> Image.Image:
    """tile (h, w, 3) uint8 and its mirror images, side by side, cut to 4:3."""
    width = round(math.sqrt(megapixels * 1e6 * 4 / 3))
    height = width * 3 // 4
    rows, cols = -(-height // tile.shape[0]), -(-width // tile.shape[1])
    lines = [np.concatenate([tile[:: (-1) ** r, :: (-1) ** c] for c in range(cols)], 1) for r in range(rows)]
    return Image.fromarray(np.concatenate(lines)[:height, :width])


def run(*words: str) -> tuple[float, float]:
    """Seconds and peak memory in GB of one run of the command line."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "dqcodec", *words])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"dqcodec {' '.join(words)} failed")
    return time.perf_counter() - start, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1.5, 3, 6, 12])
    parser.add_argument("--bpp", type=float, default=0.15)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    tile, rows = np.asarray(sample_image(args.image)), []
    with tempfile.TemporaryDirectory() as folder:
        picture, file, back = (str(Path(folder) / name) for name in ("a.png", "a.dq", "b.png"))
        sample_image(None).resize((32, 32)).save(picture)
        idle = [run("compress", picture, "--quality", "50", "-o", file)[0], run("decompress", file, "-o", back)[0]]
        for megapixels in args.megapixels:
            mosaic(tile, megapixels).save(picture, compress_level=1)
            encode, encode_gb = run("compress", picture, "--bpp", str(args.bpp), "-o", file, "--force")
            decode, decode_gb = run("decompress", file, "-o", back, "--force")
            rows.append({"megapixels": megapixels, "compress_s": encode, "decompress_s": decode,
                         "compress_gb": encode_gb, "decompress_gb": decode_gb})
            print("  ".join(f"{k} {v:.3g}" for k, v in rows[-1].items()), flush=True)
    missed = [r for r in rows if max(r["compress_gb"], r["decompress_gb"]) > MOST_GB]
    for key, start in zip(("compress_s", "decompress_s"), idle, strict=True):
        pace = [(r[key] - start) / r["megapixels"] for r in rows]
        print(f"{key} a megapixel, less {start:.2f} s of start: " + ", ".join(f"{p:.2f}" for p in pace))
        missed += [r for r, p in zip(rows, pace, strict=True) if p > MOST_RATIO * pace[0]]
    if args.output:
        facts = {"bpp": args.bpp, "start_s": idle, "rows": rows, "threads": os.environ.get("OMP_NUM_THREADS", "all")}
        args.output.write_text(json.dumps(facts | machine.describe(), indent=1) + "\n")
    for row in missed:
        print(f"MISSED at {row['megapixels']} megapixels")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
