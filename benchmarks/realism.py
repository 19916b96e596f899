"""Both ends of the realism dial, and what lies between: scores of the same files decoded at several settings.

    python benchmarks/realism.py --images DIR --metric-weights DIR [--model default] [--most 16] \
        [--rates 0.1 0.3] [--realism 0 0.9 1] [--jobs 2] [--output results/realism.json]

On validation pictures it chooses the default setting; on Kodak it reports. Prints a table and writes means.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import over_pictures

from dqcodec import codec
from dqcodec.eval.image_set import read_rgb
from dqcodec.eval.sweep import Shown, bpp


def ways(path: Path, rates: list[float], settings: list[float], model: str) -> Iterator[Shown]:
    image = read_rgb(path)
    for rate in rates:
        data = codec.compress(image, bpp=rate, model=model)
        for realism in settings:
            decoded = codec.decompress(data, model=model, realism=realism)
            yield Shown({"target": rate, "realism": realism}, image, decoded, {"bpp": bpp(data, image)})


def main() -> None:
    parser = over_pictures.options(__doc__, rates=[0.1, 0.3], most=1000)
    parser.add_argument("--realism", type=float, nargs="+", default=[0.0, 0.9, 1.0])
    args = parser.parse_args()
    over_pictures.run(partial(ways, rates=args.rates, settings=args.realism, model=args.model), args)


if __name__ == "__main__":
    main()
