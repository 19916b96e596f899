"""Compare the grain designs of docs/experiments.md at equal bpp on the validation pictures.

    python benchmarks/grains.py --runs runs/grains --valid DIR --metric-weights DIR --output results/grains.json

--runs holds one folder DESIGN_sSEED for each training run. bpp counts log2 K bits a code (the tables
of a design are not its merit) and the map as the adaptive context model codes it. Each metric is
interpolated in log bpp to the rates of the table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from dqcodec.bitstream.adaptive_map import AdaptiveMap
from dqcodec.bitstream.code_model import Known
from dqcodec.bitstream.frequencies import TOTAL
from dqcodec.bitstream.range_coder import SymbolEncoder
from dqcodec.bitstream.tokens import Ladder
from dqcodec.eval.metrics import Scorer
from dqcodec.models.allocation import levels_for_bits
from dqcodec.models.config import CodecConfig
from dqcodec.models.dqvae import DQVAE
from dqcodec.training import checkpoint
from dqcodec.training.validate import load_crops

BUDGETS = (0.042, 0.08, 0.15, 0.27, 0.5)
RATES = (0.05, 0.1, 0.2, 0.3, 0.4)
METRICS = ("lpips_vgg", "dists", "psnr")


def map_bits(levels: np.ndarray, ladder: Ladder) -> int:
    """Bits of the level map (rows, cols) as a file would hold it, all steps in one stream."""
    rows, cols = levels.shape
    known = Known.nothing(cols * ladder.region, rows * ladder.region, ladder)
    coder, model = SymbolEncoder(), AdaptiveMap()
    for step in range(1, len(ladder)):
        refined = (levels >= step).reshape(-1)
        for regions in model.batches(step, known):
            ones = np.asarray(model.frequencies(step, regions, known), np.int64)
            bits = refined[regions].astype(np.int32)
            coder.encode(bits, np.stack([TOTAL - ones, ones], 1))
            known.levels.reshape(-1)[regions] += bits.astype(np.uint8)
            model.update(step, regions, bits)
    return 8 * len(coder.finish())


@torch.no_grad()
def evaluate(run: Path, crops: torch.Tensor, scorers: dict[str, Scorer]) -> list[dict]:
    """Mean bpp and metrics of a run at every budget."""
    state = checkpoint.load(run)
    model = DQVAE(CodecConfig.from_dict(state["config"]["model"]))
    model.load_state_dict(state["ema"])
    model.eval()
    points = []
    for budget in BUDGETS:
        rows = []
        for x in crops.split(1):
            latents, q, distortion = model.analyse(x)
            pixels = x.shape[2] * x.shape[3]
            levels = levels_for_bits(distortion, model.level_bits, torch.tensor([budget * pixels]))
            image = model.decoder(model.quantizer.values(q.partial, None, levels), levels)
            bits = model.level_bits[levels].sum().item() + map_bits(levels[0].numpy(), model.ladder)
            a, b = (((t[0] + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy() for t in (x, image))
            rows.append([bits / pixels, *(scorers[m](a, b) for m in METRICS)])
        points.append(dict(zip(("bpp", *METRICS), np.mean(rows, 0).tolist(), strict=True)))
    return points


def at_rates(points: list[dict], metric: str) -> list[float | None]:
    """The metric at RATES, linear in log bpp; None outside the curve."""
    x, y = [np.log(p["bpp"]) for p in points], [p[metric] for p in points]
    order = np.argsort(x)
    x, y = np.array(x)[order], np.array(y)[order]
    return [float(np.interp(np.log(r), x, y)) if x[0] <= np.log(r) <= x[-1] else None for r in RATES]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", required=True, type=Path)
    parser.add_argument("--valid", required=True, type=Path)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args()
    crops = load_crops(args.valid, most=8)
    scorers = {name: Scorer(name, args.metric_weights) for name in METRICS}
    curves: dict[str, dict] = {}
    for run in sorted(p for p in args.runs.iterdir() if (p / checkpoint.NAME).exists()):
        points = evaluate(run, crops, scorers)
        curves[run.name] = {"points": points, **{m: at_rates(points, m) for m in METRICS}}
        print(run.name, flush=True)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps({"rates": RATES, "runs": curves}, indent=1) + "\n")
    designs = sorted({name.rsplit("_s", 1)[0] for name in curves})
    for metric in METRICS:
        print(f"\n| {metric} | " + " | ".join(f"{r} bpp" for r in RATES) + " |\n|---|" + "---|" * len(RATES))
        for design in designs:
            cells = []
            for i in range(len(RATES)):
                values = [c[metric][i] for n, c in curves.items() if n.rsplit("_s", 1)[0] == design]
                values = [v for v in values if v is not None]
                cells.append("-" if not values else f"{np.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})")
            print(f"| {design} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
