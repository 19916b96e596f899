"""What detail buys: scores at equal bytes without it and with it, for some values of what a plan expects of it.

    python benchmarks/detail.py --images DIR --metric-weights DIR [--most 8] [--rates 0.3 0.4 0.6 0.8] \
        [--without] [--worths 0.05 0.1 0.2] [--shares 0.33 0.5] [--gains 0.25 0.35 0.5] [--avif 28 42 55 62] \
        [--model default] [--jobs 2] [--output results/detail.json] [--cards]

A worth is detail_plan.DETAIL_WORTH, for files as they are written, by default at the one in use; a share is
detail_plan.MOST_SPARSE. A gain is rate.DETAIL_GAIN, for files whose detail is of whole regions alone. All are chosen on
validation pictures. A rate that a picture has no file for counts in no mean: `pictures` says how many do. AVIF at
some settings for comparison. Prints a table and writes means; --cards writes the cards of the packaged layers with
that table.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from unittest import mock

import over_pictures
from PIL import Image

from dqcodec import bitstream, codec, detail_plan, rate
from dqcodec.errors import RateError
from dqcodec.eval import sweep
from dqcodec.eval.image_set import read_rgb
from dqcodec.eval.sweep import Shown, bpp
from dqcodec.weights import detail_file
from dqcodec.weights.registry import read_header

CARDS = {
    "default": """# Model card: the layer of detail for regions

- Fingerprint {mark} (codebook and table); {kilobytes:.0f} kB; {parameters:.2f} M parameters in 8 bits, {codes} codes
  for 4x4 pixels in half precision.
- One code for what a decoded picture lacks in each patch of 4x4 pixels, in regions at the last level of the ladder, on
  top of any model's picture (dqcodec/models/detail.py; docs/FORMAT.md, section 11). Its network shows the codes of the
  layer for single patches (sparse.md) too.
- Codebook: k-means of what pictures of `default` and `tiny` lack, from training crops. Network: trained from random
  initialisation by `dqcodec train detail` with the packaged config `detail`, then `detail_both` for the codes of both
  layers, models frozen, {steps} steps, {hours} h on one or two CPU cores; L1 + LPIPS-VGG, averaged weights.
- Data: the training photographs of the default model (its card), no labelled pictures.
- Used where it makes more than {most:.0f} % of a file whose plan expects {gain} of the predicted distortion gone by it,
  chosen on validation pictures (docs/experiments.md, section 2).
""",
    "sparse": """# Model card: the layer of detail for single patches

- Fingerprint {mark} (codebook and table); {kilobytes:.0f} kB; {codes} codes for 4x4 pixels in half precision. Shown by
  the network of the layer for regions (default.md).
- A code for what a decoded picture lacks in a patch of 4x4 pixels, in regions of any level but the coarsest, where it
  saves more squared error than its bits are worth, on top of any model's picture (dqcodec/models/detail.py;
  docs/FORMAT.md, section 11).
- Made by `dqcodec train book`: entropy-constrained vector quantisation from random patches of what pictures of
  `default` and `tiny` lack, {crops} crops of 256x256 and a quarter as many others for the table.
- Data: the training photographs of the default model (its card), no labelled pictures.
- A bit has to save {worth} (slope / 0.001)^{power} of a patch's squared error, chosen on validation pictures
  (docs/experiments.md, section 2).
""",
}
TABLE = """
{pictures} pictures ({images}), bytes of real files, `{command}`:

{table}
"""


def avif(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "AVIF", quality=quality)
    return buffer.getvalue()


def share_of_detail(data: bytes) -> float:
    """The part of a .dq file's bytes that is detail."""
    sizes = {s.name: s.end - s.offset for s in bitstream.inspect(data).sections}
    return sizes.get("detail", 0) / len(data)


def coded(image: Image.Image, target: float, model: str, detail: bool, constants: dict[str, float]) -> bytes | None:
    """A file with or without detail and with some constants of the encoder replaced, None if there is none of that
    rate."""
    with ExitStack() as stack:
        for name, value in constants.items():
            stack.enter_context(mock.patch.object(detail_plan if hasattr(detail_plan, name) else rate, name, value))
        try:
            return codec.compress(image, bpp=target, model=model, detail=detail)
        except RateError:
            return None


def ways(path: Path, rates: list[float], kinds: list[tuple[str, bool, dict[str, float]]], qualities: list[int],
         model: str) -> Iterator[Shown]:
    """kinds: name, whether with detail, and constants of a way to code by `model`. qualities: of AVIF."""
    image = read_rgb(path)
    for target in rates:
        for name, detail, constants in kinds:
            data, way = coded(image, target, model, detail, constants), {"target": target, "way": name}
            if data is None:
                yield Shown(way, image, None)
                continue
            facts = {"bpp": bpp(data, image), "detail": share_of_detail(data)}
            yield Shown(way, image, codec.decompress(data, model=model), facts)
    for quality in qualities:
        data = avif(image, quality)
        way, facts = {"target": None, "way": f"AVIF {quality}"}, {"bpp": bpp(data, image), "detail": 0.0}
        yield Shown(way, image, Image.open(io.BytesIO(data)), facts)


def main() -> None:
    parser = over_pictures.options(__doc__, rates=[0.3, 0.4, 0.6, 0.8])
    parser.add_argument("--without", action="store_true", help="files without detail too")
    parser.add_argument("--worths", nargs="*", type=float, default=[detail_plan.DETAIL_WORTH])
    parser.add_argument("--shares", nargs="*", type=float, default=[], help="in the place of detail_plan.MOST_SPARSE")
    parser.add_argument("--gains", nargs="*", type=float, default=[])
    parser.add_argument("--avif", nargs="*", type=int, default=[])
    parser.add_argument("--cards", action="store_true")
    args = parser.parse_args()
    kinds: list[tuple[str, bool, dict[str, float]]] = [("without", False, {})] if args.without else []
    kinds += [(f"worth {w}", True, {"DETAIL_WORTH": w}) for w in args.worths]
    kinds += [(f"patches up to {s}", True, {"MOST_SPARSE": s}) for s in args.shares]
    kinds += [(f"regions, gain {g}", True, {"DETAIL_GAIN": g, "MOST_SPARSE": -1.0}) for g in args.gains]
    layers = {name: detail_file.named(name).fingerprint.hex() for name in CARDS}
    rows = over_pictures.run(
        partial(ways, rates=args.rates, kinds=kinds, qualities=args.avif, model=args.model), args, layers=layers)
    if args.cards:
        write_cards(sweep.table(rows), args, len(over_pictures.pictures(args)))


def write_cards(table: str, args: argparse.Namespace, pictures: int) -> None:
    """The cards of the packaged layers, with a table and how it was asked for."""
    asked = {"most": [pictures], "rates": args.rates, "avif": args.avif}
    command = " ".join([f"python benchmarks/detail.py --images {args.images.name.upper()} --metric-weights DIR",
                        *(f"--{name} {' '.join(map(str, values))}" for name, values in asked.items() if values)])
    for name, text in CARDS.items():
        layer, path = detail_file.named(name), Path(detail_file.__file__).parent / "detail" / f"{name}.safetensors.xz"
        facts = {"mark": layer.fingerprint.hex(), "kilobytes": path.stat().st_size / 1000,
                 "codes": layer.net.config.codes, "parameters": sum(p.numel() for p in layer.net.parameters()) / 1e6,
                 "gain": rate.DETAIL_GAIN, "most": 100 * detail_plan.MOST_SPARSE, "worth": detail_plan.DETAIL_WORTH,
                 "power": detail_plan.WORTH_POWER, "pictures": pictures, "images": args.images.name, "command": command,
                 "table": table}
        path.with_name(f"{name}.md").write_text((text + TABLE).format(**facts, **read_header(path)))


if __name__ == "__main__":
    main()
