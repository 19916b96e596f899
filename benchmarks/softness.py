"""What adapting the decoder to soft pictures buys: scores at equal bytes, without and with what is measured.

    python benchmarks/softness.py --images DIR --metric-weights DIR [--first 0] [--most 8] [--enlarge 1 1.25 1.5 2] \
        [--noise 0 2] [--rates 0.1 0.3] [--sharp 0.25] [--model default] [--jobs 2] \
        [--output results/softness.json] [--card FILE]

Each picture is taken as it is and enlarged (Lanczos), of which the middle as large as the picture is coded, and with
white noise of some levels in luma. `sharp` is encoder.SHARP, the measure of a picture that counts as sharp, without
--sharp the one in use. Prints a table and writes means; --card writes the card of the model's softness with that table.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import over_pictures
from PIL import Image
from scale import enlarged

from dqcodec import bitstream, codec, encoder
from dqcodec.eval import sweep
from dqcodec.eval.image_set import read_rgb
from dqcodec.eval.sweep import Shown, bpp
from dqcodec.models.softness import STATISTICS
from dqcodec.weights import load, registry, soft_file

CARD = """# Model card: softness of `{model}`

- For the decoder {decoder}{dial}; {kilobytes:.0f} kB: additions of rank {rank} to the kernels in 8 bits, to all else in
  half precision; {weights} weights that tell how soft a picture is.
- What the decoder lacks for pictures that are soft at their size (dqcodec/models/softness.py; docs/architecture.md).
- Trained by `dqcodec train soft`, from nothing added or from what the decoder's state before had (docs/training.md),
  the model frozen and its decoder that of least distortion, {steps} steps, {hours} h on the CPU beside other jobs;
  L1 + LPIPS-VGG on crops enlarged by 1.1 to 2, averaged weights.
- The amount by {views} views of training pictures: correlation {correlation} with what they were enlarged by, on views
  that took no part. A picture measured at {sharp} or less counts as sharp, chosen on validation pictures
  (docs/experiments.md, section 2).
- Data: the training photographs of the default model (its card), no labelled pictures.

{pictures} pictures ({images}), bytes of real files, `{command}`:

{table}
"""


def noisy(image: Image.Image, deviation: float, seed: int) -> Image.Image:
    """An image with the same white noise of `deviation` levels in all channels."""
    grain = deviation * np.random.default_rng(seed).normal(size=(image.height, image.width, 1))
    return Image.fromarray((np.asarray(image) + grain).round().clip(0, 255).astype(np.uint8))


def amount_of(data: bytes) -> float:
    """The amount of softness, 0..1, that a file says."""
    return next((s.payload[0] / 255 for s in bitstream.inspect(data).sections if s.name == "soft"), 0.0)


def ways(path: Path, places: list[Path], factors: list[float], noises: list[float], rates: list[float],
         sharps: list[float], model: str) -> Iterator[Shown]:
    """places: all pictures, as each has noise of its own."""
    for factor, noise in itertools.product(factors, noises):
        image = noisy(enlarged(read_rgb(path), factor), noise, places.index(path))
        for rate, sharp in itertools.product(rates, (None, *sharps)):  # None: not adapted
            with mock.patch.object(encoder, "SHARP", sharp):
                data = codec.compress(image, bpp=rate, softness=0.0 if sharp is None else None, model=model)
            way = {"enlarged": factor, "noise": noise, "target": rate, "sharp": sharp}
            facts = {"bpp": bpp(data, image), "amount": amount_of(data)}
            yield Shown(way, image, codec.decompress(data, model=model), facts)


def main() -> None:
    parser = over_pictures.options(__doc__, rates=[0.1, 0.3])
    parser.add_argument("--enlarge", nargs="+", type=float, default=[1, 1.25, 1.5, 2])
    parser.add_argument("--noise", nargs="+", type=float, default=[0, 2])
    parser.add_argument("--sharp", nargs="+", type=float, default=[encoder.SHARP])
    parser.add_argument("--card", type=Path)
    args = parser.parse_args()
    places = over_pictures.pictures(args)
    rows = over_pictures.run(partial(ways, places=places, factors=args.enlarge, noises=args.noise, rates=args.rates,
                                     sharps=args.sharp, model=args.model), args)
    if args.card:
        args.card.write_text(card(sweep.table(rows, ("target", "pictures")), args, len(places)))


def card(table: str, args: argparse.Namespace, pictures: int) -> str:
    """The card of a model's softness, with a table and how it was asked for."""
    path = soft_file.path_for(registry.path_of(args.model))
    header = registry.read_header(path)
    asked = {"first": [args.first], "most": [pictures], "enlarge": args.enlarge, "noise": args.noise,
             "rates": args.rates}
    command = " ".join([f"python benchmarks/softness.py --images {args.images.name.upper()} --metric-weights DIR",
                        *(f"--{name} {' '.join(f'{v:g}' for v in values)}" for name, values in asked.items()),
                        f"--model {args.model}"])
    dial = "" if load(args.model).dial is None else " of least distortion, and on top of it at any end of the dial"
    return CARD.format(
        model=args.model, dial=dial, sharp=encoder.SHARP,
        kilobytes=path.stat().st_size / 1000, weights=STATISTICS, pictures=pictures, images=args.images.name,
        command=command, table=table,
        **{k: header[k] for k in ("decoder", "rank", "steps", "hours", "views", "correlation")})


if __name__ == "__main__":
    main()
