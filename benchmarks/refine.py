"""What `--effort search` (dqcodec/refine.py) buys: scores at equal bytes with several numbers and lengths of steps.

    python benchmarks/refine.py --images DIR --metric-weights DIR [--search 0x0 4x0.1 8x0.05] [--side 256] \
        [--most 6] [--rates 0.1 0.3] [--output results/refine.json]

On validation pictures, or squares of `--side` pixels from their middles, it chooses the setting; 0x0 is `fast`.
LPIPS-VGG is what the search descends, and DISTS looks through the same network: LPIPS-AlexNet, MS-SSIM and PSNR judge.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import over_pictures

from dqcodec import codec, refine
from dqcodec.eval import metric_weights
from dqcodec.eval.image_set import read_rgb
from dqcodec.eval.sweep import Shown, bpp


def ways(path: Path, rates: list[float], settings: list[str], side: int, weights: Path | None,
         model: str) -> Iterator[Shown]:
    image = read_rgb(path)
    if side:
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    for rate in rates:
        for setting in settings:
            steps, length = setting.split("x")
            with mock.patch.object(refine, "length", lambda steps, length=float(length): length):
                start = time.perf_counter()
                data = codec.compress(image, bpp=rate, effort="search" if int(steps) else "fast", model=model,
                                      metric_weights=weights, search_steps=int(steps) or None)
                took = time.perf_counter() - start
            way = {"target": rate, "steps": int(steps), "length": float(length)}
            yield Shown(way, image, codec.decompress(data, model=model), {"bpp": bpp(data, image), "encode_s": took})


def main() -> None:
    parser = over_pictures.options(__doc__, rates=[0.1, 0.3], most=6)
    parser.add_argument("--search", nargs="+", default=["0x0", "4x0.1", "8x0.05"])
    parser.add_argument("--side", type=int, default=0)
    args = parser.parse_args()
    weights = metric_weights.find(args.metric_weights)
    over_pictures.run(partial(ways, rates=args.rates, settings=args.search, side=args.side, weights=weights,
                              model=args.model), args, side=args.side)


if __name__ == "__main__":
    main()
