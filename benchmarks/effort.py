"""What `--effort best` gains over `fast`, and which weight of measured errors it should use.

    python benchmarks/effort.py --images DIR --metric-weights DIR [--most 8] [--rates 0.1 0.2] [--weights 0 2] \
        [--output results/effort.json]

Files of equal size, scores of the decoded pictures: fast, and best with each weight of the measured L1 error
beside the router's prediction. On the validation pictures, since it chooses a setting. Times are of one picture in
memory; with --jobs they are of pictures beside each other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import over_pictures

from dqcodec import codec, effort
from dqcodec.eval.image_set import read_rgb
from dqcodec.eval.sweep import Shown, bpp


def ways(path: Path, rates: list[float], weights: list[float], model: str) -> Iterator[Shown]:
    image = read_rgb(path)
    for rate in rates:
        for weight in (None, *weights):
            with mock.patch.object(effort, "L1_WEIGHT", weight):
                start = time.perf_counter()
                data = codec.compress(image, bpp=rate, effort="fast" if weight is None else "best", model=model)
                took = time.perf_counter() - start
            way = {"target": rate, "effort": "fast" if weight is None else f"best, weight {weight:g}"}
            yield Shown(way, image, codec.decompress(data, model=model), {"bpp": bpp(data, image), "encode_s": took})


def main() -> None:
    parser = over_pictures.options(__doc__, rates=[0.1, 0.2])
    parser.add_argument("--weights", type=float, nargs="+", default=[effort.L1_WEIGHT])
    args = parser.parse_args()
    over_pictures.run(partial(ways, rates=args.rates, weights=args.weights, model=args.model), args)


if __name__ == "__main__":
    main()
