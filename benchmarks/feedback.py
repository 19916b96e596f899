"""What rounds of feedback (dqcodec/feedback.py) buy: scores at equal bytes with several rounds and gains.

    python benchmarks/feedback.py --images DIR --metric-weights DIR [--rounds 0x0 1x0.1 1x0.2 1x0.3 2x0.15 4x0.1] \
        [--most 6] [--rates 0.1 0.3] [--output results/feedback.json]

On validation pictures it chooses the setting. Prints a table and writes means. Times are of one picture in memory; with
--jobs they are of pictures beside each other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import over_pictures

from dqcodec import codec, feedback
from dqcodec.eval.image_set import read_rgb
from dqcodec.eval.sweep import Shown, bpp


def ways(path: Path, rates: list[float], settings: list[str], model: str) -> Iterator[Shown]:
    image = read_rgb(path)
    for rate in rates:
        for setting in settings:
            rounds, gain = setting.split("x")
            with mock.patch.object(feedback, "FAST", (int(rounds), float(gain))):
                start = time.perf_counter()
                data = codec.compress(image, bpp=rate, model=model)
                took = time.perf_counter() - start
            way = {"target": rate, "rounds": int(rounds), "gain": float(gain)}
            yield Shown(way, image, codec.decompress(data, model=model), {"bpp": bpp(data, image), "encode_s": took})


def main() -> None:
    parser = over_pictures.options(__doc__, rates=[0.1, 0.3], most=6)
    parser.add_argument("--rounds", nargs="+", default=["0x0", "1x0.1", "1x0.2", "1x0.3", "2x0.15", "4x0.1"])
    args = parser.parse_args()
    over_pictures.run(partial(ways, rates=args.rates, settings=args.rounds, model=args.model), args)


if __name__ == "__main__":
    main()
