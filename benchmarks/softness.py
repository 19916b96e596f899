"""What adapting the decoder to soft pictures buys: scores at equal bytes, without and with what is measured.

    python benchmarks/softness.py --images DIR --metric-weights DIR [--first 0] [--most 8] [--enlarge 1 1.25 1.5 2] \
        [--noise 0 2] [--rates 0.1 0.3] [--sharp 0.25] [--model default] [--output results/softness.json] [--card FILE]

Each picture is taken as it is and enlarged (Lanczos), of which the middle as large as the picture is coded, and with
white noise of some levels in luma. `sharp` is encoder.SHARP, the measure of a picture that counts as sharp, without
--sharp the one in use. Prints a table and writes means; --card writes the card of the model's softness with that table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image
from scale import enlarged

from dqcodec import bitstream, codec, encoder
from dqcodec.eval import machine
from dqcodec.eval.metrics import Scorer
from dqcodec.models.softness import STATISTICS
from dqcodec.weights import load, registry, soft_file

CARD = """# Model card: softness of `{model}`

- For the decoder {decoder}{dial}; {kilobytes:.0f} kB: additions of rank {rank} to the kernels in 8 bits, to all else in
  half precision; {weights} weights that tell how soft a picture is.
- What the decoder lacks for pictures that are soft at their size (dqcodec/models/softness.py; docs/architecture.md).
- Trained from nothing added by `dqcodec train soft`, the model frozen and its decoder that of least distortion
  (docs/training.md), {steps} steps, {hours} h on the CPU beside other jobs; L1 + LPIPS-VGG on crops
  enlarged by 1.1 to 2, averaged weights.
- The amount by {views} views of training pictures: correlation {correlation} with what they were enlarged by, on views
  that took no part. A picture measured at {sharp} or less counts as sharp, chosen on validation pictures
  (docs/experiments.md, section 2).
- Data: the training photographs of the default model (its card), no labelled pictures.

{pictures} pictures ({images}), bytes of real files, `{command}`:

{table}
"""

METRICS = ("psnr", "lpips_vgg", "lpips_alex", "dists")


def noisy(image: Image.Image, deviation: float, seed: int) -> Image.Image:
    """An image with the same white noise of `deviation` levels in all channels."""
    grain = deviation * np.random.default_rng(seed).normal(size=(image.height, image.width, 1))
    return Image.fromarray((np.asarray(image) + grain).round().clip(0, 255).astype(np.uint8))


def amount_of(data: bytes) -> float:
    """The amount of softness, 0..1, that a file says."""
    return next((s.payload[0] / 255 for s in bitstream.inspect(data).sections if s.name == "soft"), 0.0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--most", type=int, default=8)
    parser.add_argument("--enlarge", nargs="+", type=float, default=[1, 1.25, 1.5, 2])
    parser.add_argument("--noise", nargs="+", type=float, default=[0, 2])
    parser.add_argument("--rates", nargs="+", type=float, default=[0.1, 0.3])
    parser.add_argument("--sharp", nargs="+", type=float, default=[encoder.SHARP])
    parser.add_argument("--model", default="default")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--card", type=Path)
    args = parser.parse_args()
    scorers = [Scorer(name, args.metric_weights) for name in METRICS]
    sources = sorted(args.images.glob("*.png"))[args.first : args.first + args.most]
    rows = []
    lines = ["| enlarged by | noise | sharp | bpp | amount | " + " | ".join(METRICS) + " |",
             "|" + " --- |" * (5 + len(METRICS))]
    print("\n".join(lines))
    for factor, noise, rate in [(f, n, r) for f in args.enlarge for n in args.noise for r in args.rates]:
        images = [noisy(enlarged(Image.open(s).convert("RGB"), factor), noise, i) for i, s in enumerate(sources)]
        for sharp in (None, *args.sharp):
            found = []
            for image in images:
                with mock.patch.object(encoder, "SHARP", encoder.SHARP if sharp is None else sharp):
                    data = codec.compress(image, bpp=rate, softness=0.0 if sharp is None else None, model=args.model)
                pair = np.asarray(image), np.asarray(codec.decompress(data, model=args.model))
                found.append([8 * len(data) / image.width / image.height, amount_of(data),
                              *(scorer(*pair) for scorer in scorers)])
            row = dict(zip(("bpp", "amount", *METRICS), np.mean(found, 0).round(4).tolist(), strict=True))
            rows.append({"enlarged": factor, "noise": noise, "sharp": sharp, **row})
            cells = [f"{v:.2f}" if k in ("psnr", "amount") else f"{v:.4f}" for k, v in row.items()]
            name = "without" if sharp is None else f"{sharp:g}"
            lines.append(f"| {factor:g} | {noise:g} | {name} | " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    if args.output:
        facts = {"model": load(args.model).fingerprint.hex(), "images": args.images.name, "first": args.first,
                 "pictures": len(sources), "rows": rows, "machine": machine.describe()}
        args.output.write_text(json.dumps(facts, indent=1) + "\n")
    if args.card:
        args.card.write_text(card(lines, args, len(sources)))


def card(lines: list[str], args: argparse.Namespace, pictures: int) -> str:
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
        command=command, table="\n".join(lines),
        **{k: header[k] for k in ("decoder", "rank", "steps", "hours", "views", "correlation")})


if __name__ == "__main__":
    main()
