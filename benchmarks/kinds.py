"""How kinds of pictures come back that are not photographs, beside photographs and beside AVIF at equal bytes.

    python benchmarks/kinds.py --photos shared/data/valid --metric-weights shared/data/metrics \
        [--most 6] [--rates 0.1 0.2 0.4] [--model default] [--peer avif] [--output results/kinds.json] \
        [--document docs/reliability.md]

Pictures drawn by dqcodec.eval.kinds and centre crops of photographs, 384x256 pixels. Scores of the whole
picture, colour shift, flat patches, mesh (dqcodec.eval.artefacts), and the seam between tiles of one
photograph, mirrored to 2560x2560 pixels so that the networks take it in tiles. Prints tables in Markdown and
puts them between the marks of --document. Two minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dqcodec import networks, rate, weights
from dqcodec.content import screen_score
from dqcodec.eval import artefacts, kinds, machine, metric_weights
from dqcodec.eval.codecs import CLASSICAL, Codec
from dqcodec.eval.codecs.dq import DqCodec
from dqcodec.eval.image_set import read_rgb
from dqcodec.eval.markdown_table import table
from dqcodec.eval.metrics import Scorer
from dqcodec.eval.search import nearest_setting
from dqcodec.tiles import TILE

METRICS = ("psnr", "lpips_alex")
PERIODS = (2, 4, 8, 16)
COLUMNS = ["picture", "warned", "bpp", "PSNR", "LPIPS-AlexNet", "colour shift", "flat: shift", "flat: std",
           "mesh " + ", ".join(map(str, PERIODS))]
PHOTOS = "photographs"  # their mean is one row
LARGE = 2560  # pixels of a side: two tiles each way
BEGIN, END = "<!-- kinds -->\n", "<!-- /kinds -->"


def centre_crop(image: Image.Image) -> np.ndarray:
    left, top = (image.width - kinds.WIDTH) // 2, (image.height - kinds.HEIGHT) // 2
    return np.asarray(image)[top : top + kinds.HEIGHT, left : left + kinds.WIDTH]


def facts(reference: np.ndarray, decoded: np.ndarray, scorers: dict[str, Scorer]) -> dict[str, float]:
    """What is measured of one decoded picture (H, W, 3) uint8; levels of 0..255."""
    flat_shift, restless, _ = artefacts.flat_patches(reference, decoded)
    return {name: scorer(reference, decoded) for name, scorer in scorers.items()} | {
        "colour_shift": float(np.abs(artefacts.colour_shift(reference, decoded)).max()),
        "flat_shift": flat_shift, "flat_std": restless,
    } | {f"mesh_{period}": artefacts.mesh(reference, decoded, period) for period in PERIODS}


def measure(name: str, pixels: np.ndarray, rates: list[float], ours: DqCodec, peer: Codec,
            scorers: dict[str, Scorer]) -> list[dict]:
    """A row for each rate and codec; the peer's files are those nearest to our bytes."""
    image, rows, known = Image.fromarray(pixels), [], {}
    for target in rates:
        goal = target
        for codec in (ours, peer):
            value = nearest_setting(codec, image, goal, known if codec is peer else None)
            data = codec.encode(image, value)
            goal = 8 * len(data) / (image.width * image.height)
            if codec is peer:
                known[value] = goal
            decoded = np.asarray(codec.decode(data).convert("RGB"))
            rows.append({"picture": name, "target": target, "codec": codec.name, "bpp": goal}
                        | facts(pixels, decoded, scorers))
    return rows


def tile_seam(pixels: np.ndarray, model: str) -> float:
    """artefacts.seam of a picture mirrored to LARGE x LARGE pixels, at half of all refinements."""
    repeats = [(0, LARGE - pixels.shape[0]), (0, LARGE - pixels.shape[1]), (0, 0)]
    large = np.pad(pixels, repeats, mode="symmetric")
    loaded, cpu = weights.load(model), torch.device("cpu")
    analysis = networks.analyse(loaded.vae, large, cpu)
    plan = rate.plan(analysis, rate.table_costs(analysis, loaded.tables, loaded.cost_ratio))
    decoded = networks.synthesise(loaded.vae, plan.tokens(plan.levels(len(plan.region) // 2)), cpu)
    middle = LARGE // 2  # two tiles, as LARGE is between TILE and twice TILE
    assert TILE < LARGE <= 2 * TILE
    return artefacts.seam(large, decoded, [middle], [middle])


def means(rows: list[dict], photos: list[str]) -> list[dict]:
    """The rows with those of photographs replaced by their means."""
    kept = [row for row in rows if row["picture"] not in photos]
    for target, codec in dict.fromkeys((row["target"], row["codec"]) for row in rows):
        some = [r for r in rows if (r["target"], r["codec"]) == (target, codec) and r["picture"] in photos]
        if some:
            values = {key: float(np.nanmean([row[key] for row in some]))
                      for key in some[0] if key not in ("picture", "target", "codec")}
            kept.append({"picture": PHOTOS, "target": target, "codec": codec} | values)
    return kept


def tables(rows: list[dict], scores: dict[str, list[float]], ours: str, peer: Codec) -> str:
    """Markdown, a table for each rate: ours, and the peer's PSNR, LPIPS and flat patches beside it."""
    parts = []
    for target in dict.fromkeys(row["target"] for row in rows):
        lines = []
        for picture in dict.fromkeys(row["picture"] for row in rows):
            a, b = (next(r for r in rows if (r["picture"], r["target"], r["codec"]) == (picture, target, codec))
                    for codec in (ours, peer.name))
            pairs = [f"{shown(a[key], digits)} / {shown(b[key], digits)}" for key, digits in (
                ("bpp", 3), ("psnr", 1), ("lpips_alex", 3), ("colour_shift", 1), ("flat_shift", 1), ("flat_std", 1))]
            net = ", ".join(shown(a[f"mesh_{period}"], 1) for period in PERIODS)
            lines.append([picture, warned(scores[picture]), *pairs, net])
        parts += [f"**{target} bpp**, dqcodec / {peer.label}", table(COLUMNS, lines)]
    return "\n\n".join(parts)


def warned(scores: list[float]) -> str:
    """How many of some pictures `dqcodec compress` warns of."""
    count = sum(score >= 1 for score in scores)
    return f"{count} of {len(scores)}" if len(scores) > 1 else ("yes" if count else "no")


def shown(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", required=True, type=Path)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--most", type=int, default=6)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.1, 0.2, 0.4])
    parser.add_argument("--model", default="default")
    parser.add_argument("--peer", choices=list(CLASSICAL), default="avif")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--document", type=Path)
    args = parser.parse_args()
    ours, peer = DqCodec(args.model), CLASSICAL[args.peer]()
    for codec in (ours, peer):
        codec.check()
    folder = metric_weights.find(args.metric_weights)
    scorers = {name: Scorer(name, folder) for name in METRICS}
    photos = [read_rgb(path) for path in sorted(args.photos.glob("*.png"))[: args.most]]
    pictures = {kind: kinds.draw(kind) for kind in kinds.KINDS}
    pictures |= {f"photo {i}": centre_crop(photo) for i, photo in enumerate(photos)}
    names = [name for name in pictures if name not in kinds.KINDS]
    rows = [row for name, pixels in pictures.items()
            for row in measure(name, pixels, args.rates, ours, peer, scorers)]
    scores = {name: screen_score(pixels) for name, pixels in pictures.items()}
    grouped = {name: [score] for name, score in scores.items()} | {PHOTOS: [scores[name] for name in names]}
    excess = tile_seam(np.asarray(photos[0]), args.model)
    text = (tables(means(rows, names), grouped, ours.name, peer) +
            f"\n\nA tile boundary in {LARGE}x{LARGE} pixels stands out of the error map by {excess:.1f} standard "
            f"deviations. Model {ours.model} {weights.load(ours.model).fingerprint.hex()}; {peer.identity()}.\n")
    print(text)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        rounded = [{k: (None if math.isnan(v) else round(v, 4)) if isinstance(v, float) else v for k, v in row.items()}
                   for row in rows]
        args.output.write_text(json.dumps(
            {"rows": rounded, "screen_score": {k: round(v, 3) for k, v in scores.items()},
             "tile_seam": round(excess, 2), "model": ours.version(), "peer": peer.identity(),
             **machine.describe()}, indent=1) + "\n")
    if args.document:
        before, _, rest = args.document.read_text().partition(BEGIN)
        args.document.write_text(before + BEGIN + text + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
