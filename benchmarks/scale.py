"""What coding pictures at less than their size buys: scores at equal bytes, at their own size and at the chosen one.

    python benchmarks/scale.py --images DIR --metric-weights DIR [--first 24] [--most 8] [--enlarge 1 1.5 2] \
        [--rates 0.05 0.1 0.2 0.3] [--shares 0.003 0.006] [--model default] [--jobs 2] [--output results/scale.json]

Each picture is taken as it is and enlarged (Lanczos), of which the middle as large as the picture is coded: cameras
deliver pictures that are as soft as that. On validation pictures it judges the rule (dqcodec/reduction.py), at the
share in use or at others. Prints a table and writes means.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import over_pictures
from PIL import Image

from dqcodec import bitstream, codec, reduction
from dqcodec.bitstream import WHOLE
from dqcodec.eval.image_set import read_rgb
from dqcodec.eval.sweep import Shown, bpp


def enlarged(image: Image.Image, factor: float) -> Image.Image:
    """The middle of an image enlarged, as large as the image."""
    width, height = (round(side * factor) for side in image.size)
    left, top = (width - image.width) // 2, (height - image.height) // 2
    large = image.resize((width, height), Image.Resampling.LANCZOS)
    return large.crop((left, top, left + image.width, top + image.height))


def ways(path: Path, factors: list[float], rates: list[float], shares: list[float], model: str) -> Iterator[Shown]:
    for factor in factors:
        image = enlarged(read_rgb(path), factor)
        for rate in rates:
            for share in (None, *shares):  # None: never reduced
                with mock.patch.object(reduction, "SHARE", share):
                    data = codec.compress(image, bpp=rate, scale=1.0 if share is None else None, model=model)
                facts = {"bpp": bpp(data, image), "mean_scale": bitstream.inspect(data).header.scale / WHOLE}
                way = {"enlarged": factor, "target": rate, "share": share}
                yield Shown(way, image, codec.decompress(data, model=model), facts)


def main() -> None:
    parser = over_pictures.options(__doc__, rates=[0.05, 0.1, 0.2, 0.3], first=24)
    parser.add_argument("--enlarge", nargs="+", type=float, default=[1, 1.5, 2])
    parser.add_argument("--shares", nargs="+", type=float, default=[reduction.SHARE])
    args = parser.parse_args()
    over_pictures.run(
        partial(ways, factors=args.enlarge, rates=args.rates, shares=args.shares, model=args.model), args)


if __name__ == "__main__":
    main()
