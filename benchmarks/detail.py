"""What detail buys: scores at equal bytes without it and with it, for some values of what a plan expects of it.

    python benchmarks/detail.py --images DIR --metric-weights DIR [--most 8] [--rates 0.3 0.4 0.6 0.8] \
        [--without] [--worths 0.05 0.1 0.2] [--shares 0.33 0.5] [--gains 0.25 0.35 0.5] [--avif 28 42 55 62] \
        [--model default] [--jobs 2] [--output results/detail.json] [--cards]

A worth is rate.DETAIL_WORTH, for files as they are written, by default at the one in use; a share is
encoder.MOST_SPARSE. A gain is rate.DETAIL_GAIN, for files whose detail is of whole regions alone. All are chosen on
validation pictures. A rate that a picture has no file for counts in no mean: `pictures` says how many do. AVIF at
some settings for comparison. Prints a table and writes means; --cards writes the cards of the packaged layers with
that table.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import lru_cache, partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image

from dqcodec import bitstream, codec, encoder, rate
from dqcodec.errors import RateError
from dqcodec.eval import machine
from dqcodec.eval.metrics import Scorer
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

METRICS = ("psnr", "ms_ssim", "lpips_vgg", "lpips_alex", "dists")


def coded(image: Image.Image, bpp: float, model: str, detail: bool) -> tuple[bytes, Image.Image]:
    """A file and its picture, with or without detail. Raises RateError."""
    data = codec.compress(image, bpp=bpp, model=model, detail=detail)
    return data, codec.decompress(data, model=model).convert("RGB")


def avif(image: Image.Image, quality: int) -> tuple[bytes, Image.Image]:
    buffer = io.BytesIO()
    image.save(buffer, "AVIF", quality=quality)
    return buffer.getvalue(), Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def share_of_detail(data: bytes) -> float:
    """The part of a .dq file's bytes that is detail."""
    if not data.startswith(bitstream.SIGNATURE):
        return 0.0
    sizes = {s.name: s.end - s.offset for s in bitstream.inspect(data).sections}
    return sizes.get("detail", 0) / len(data)


@lru_cache
def scorers(weights: Path | None) -> list[Scorer]:
    """The metrics, once for each process."""
    torch.set_num_threads(1)
    return [Scorer(name, weights) for name in METRICS]


def measured(path: Path, code: Callable, constants: dict[str, float], weights: Path | None) -> list[float]:
    """bpp, share of detail and scores of what `code` makes of a picture with some constants of the encoder replaced,
    nothing if it has no file of that rate."""
    score = scorers(weights)
    image = Image.open(path).convert("RGB")
    with ExitStack() as stack:
        for name, value in constants.items():
            stack.enter_context(mock.patch.object(encoder if hasattr(encoder, name) else rate, name, value))
        try:
            data, shown = code(image)
        except RateError:
            return []
    pair = np.asarray(image), np.asarray(shown)
    return [8 * len(data) / (image.width * image.height), share_of_detail(data), *(one(*pair) for one in score)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--most", type=int, default=8)
    parser.add_argument("--rates", nargs="+", type=float, default=[0.3, 0.4, 0.6, 0.8])
    parser.add_argument("--without", action="store_true", help="files without detail too")
    parser.add_argument("--worths", nargs="*", type=float, default=[rate.DETAIL_WORTH])
    parser.add_argument("--shares", nargs="*", type=float, default=[], help="in the place of encoder.MOST_SPARSE")
    parser.add_argument("--gains", nargs="*", type=float, default=[])
    parser.add_argument("--avif", nargs="*", type=int, default=[])
    parser.add_argument("--model", default="default")
    parser.add_argument("--jobs", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--cards", action="store_true")
    args = parser.parse_args()
    images = sorted(args.images.glob("*.png"))[: args.most]
    kinds = [("without", False, {})] if args.without else []
    kinds += [(f"worth {w}", True, {"DETAIL_WORTH": w}) for w in args.worths]
    kinds += [(f"patches up to {s}", True, {"MOST_SPARSE": s}) for s in args.shares]
    kinds += [(f"regions, gain {g}", True, {"DETAIL_GAIN": g, "MOST_SPARSE": -1.0}) for g in args.gains]
    ways = [(bpp, name, constants, partial(coded, bpp=bpp, model=args.model, detail=detail))
            for bpp in args.rates for name, detail, constants in kinds]
    ways += [(None, f"AVIF {q}", {}, partial(avif, quality=q)) for q in args.avif]
    rows = []
    pool = ProcessPoolExecutor(args.jobs, multiprocessing.get_context("spawn"))
    head = "| target | | pictures | bpp | detail | " + " | ".join(METRICS) + " |"
    lines = [head, "|" + " --- |" * (5 + len(METRICS))]
    print("\n".join(lines))
    for target, name, constants, code in ways:
        one = partial(measured, code=code, constants=constants, weights=args.metric_weights)
        found = [scores for scores in pool.map(one, images) if scores]
        if not found:
            continue
        bpp, share, *scores = np.mean(found, 0)
        rows.append({"target": target, "way": name, "pictures": len(found), "bpp": round(bpp, 4),
                     "detail": round(share, 4), **{k: round(v, 4) for k, v in zip(METRICS, scores, strict=True)}})
        lines.append(f"| {target or ''} | {name} | {len(found)} | {bpp:.4f} | {100 * share:.0f} % | "
                     + " | ".join(f"{v:.2f}" if k == "psnr" else f"{v:.4f}"
                                  for k, v in zip(METRICS, scores, strict=True)) + " |")
        print(lines[-1], flush=True)
    pool.shutdown()
    if args.output:
        facts = {"pictures": len(images), "images": args.images.name, "model": args.model,
                 "layers": {name: detail_file.named(name).fingerprint.hex() for name in CARDS},
                 "machine": machine.describe(), "rows": rows}
        args.output.write_text(json.dumps(facts, indent=1) + "\n")
    if args.cards:
        write_cards(lines, args, len(images))


def write_cards(lines: list[str], args: argparse.Namespace, pictures: int) -> None:
    """The cards of the packaged layers, with a table and how it was asked for."""
    asked = {"most": [pictures], "rates": args.rates, "avif": args.avif}
    command = " ".join([f"python benchmarks/detail.py --images {args.images.name.upper()} --metric-weights DIR",
                        *(f"--{name} {' '.join(map(str, values))}" for name, values in asked.items() if values)])
    for name, text in CARDS.items():
        layer, path = detail_file.named(name), Path(detail_file.__file__).parent / "detail" / f"{name}.safetensors.xz"
        facts = {"mark": layer.fingerprint.hex(), "kilobytes": path.stat().st_size / 1000,
                 "codes": layer.net.config.codes, "parameters": sum(p.numel() for p in layer.net.parameters()) / 1e6,
                 "gain": rate.DETAIL_GAIN, "most": 100 * encoder.MOST_SPARSE, "worth": rate.DETAIL_WORTH,
                 "power": rate.WORTH_POWER, "pictures": pictures, "images": args.images.name, "command": command,
                 "table": "\n".join(lines)}
        path.with_name(f"{name}.md").write_text((text + TABLE).format(**facts, **read_header(path)))


if __name__ == "__main__":
    main()
