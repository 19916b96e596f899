"""Models of one fingerprint read each other's files: scores of every encoder with every decoder.

    python benchmarks/exchange.py --images DIR --metric-weights DIR [--models default tiny] [--most 16] \
        [--rates 0.15] [--jobs 2] [--output results/exchange.json]

Each picture is compressed by each model to each rate (bits a pixel of the file) and each file decompressed by each
model. Prints a table and writes means.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import over_pictures

from dqcodec import codec
from dqcodec.eval.image_set import read_rgb
from dqcodec.eval.sweep import Shown, bpp


def ways(path: Path, rates: list[float], models: list[str]) -> Iterator[Shown]:
    image = read_rgb(path)
    for rate in rates:
        for encoder in models:
            data = codec.compress(image, bpp=rate, model=encoder)
            for decoder in models:
                decoded = codec.decompress(data, model=decoder)
                way = {"target": rate, "encoder": encoder, "decoder": decoder}
                yield Shown(way, image, decoded, {"bpp": bpp(data, image)})


def main() -> None:
    parser = over_pictures.options(__doc__, rates=[0.15], most=1000)
    parser.add_argument("--models", nargs="+", default=["default", "tiny"])
    args = parser.parse_args()
    over_pictures.run(partial(ways, rates=args.rates, models=args.models), args)


if __name__ == "__main__":
    main()
