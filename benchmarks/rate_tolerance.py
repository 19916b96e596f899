"""Send a folder of pictures through the command line at several rates, and check every file's rate.

    python benchmarks/rate_tolerance.py --images DIR [--output results/kodak_rates.csv]

For each picture and rate: bytes on disk, share of the target, and whether the decoded tokens written
again give the same bytes. Exits 1 if a file is over its rate, more than 2 % below it, or not exact.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from dqcodec import bitstream, codec
from dqcodec.size_search import TOLERANCE
from dqcodec.weights import find

RATES = (0.05, 0.1, 0.2, 0.4)


def check(source: Path, packed: Path, unpacked: Path, rate: float) -> dict:
    """Facts about one picture's file."""
    data = packed.read_bytes()
    width, height = Image.open(source).size
    header = bitstream.inspect(data).header
    again = bitstream.write(codec.tokens_of(data), find(header.fingerprint).entropy, frame=header.frame)
    bpp = 8 * len(data) / (width * height)
    share = bpp / rate
    good = 1 - TOLERANCE <= share <= 1 and again == data and Image.open(unpacked).size == (width, height)
    return {"image": source.stem, "target_bpp": rate, "bytes": len(data), "bpp": round(bpp, 5),
            "share_of_target": round(share, 4), "tokens_exact": again == data, "good": good}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    sources = sorted(args.images.glob("*.png"))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for rate in RATES:
            packed, unpacked = Path(folder) / f"dq{rate}", Path(folder) / f"png{rate}"
            dqcodec = [sys.executable, "-m", "dqcodec"]
            subprocess.run([*dqcodec, "compress", str(args.images), "-o", str(packed), "--bpp", str(rate)], check=True)
            subprocess.run([*dqcodec, "decompress", str(packed), "-o", str(unpacked)], check=True)
            for source in sources:
                rows.append(check(source, packed / f"{source.stem}.dq", unpacked / f"{source.stem}.png", rate))
    if args.output:
        with args.output.open("w", newline="") as f:
            writer = csv.DictWriter(f, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    for rate in RATES:
        at_rate = [r for r in rows if r["target_bpp"] == rate]
        shares = [r["share_of_target"] for r in at_rate]
        print(f"{rate} bpp: {sum(r['good'] for r in at_rate)} of {len(at_rate)} good, "
              f"share of target {min(shares):.4f} to {max(shares):.4f}")
    return int(not all(r["good"] for r in rows))


if __name__ == "__main__":
    sys.exit(main())
