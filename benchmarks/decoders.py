"""Compare decoders of the same tokens, each a training run of the decoder alone, on crops of validation pictures.

    python benchmarks/decoders.py --runs DIR [--model FILE] --valid DIR --metric-weights DIR --output FILE.json

--runs holds one folder for each run; their averaged weights are measured. --model adds both ends of a model
file's dial. Level maps and codes are the same for all, so that only pictures differ, not bits. Levels are chosen for
raw code bits (log2 K each), centre crops of 256x256.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dqcodec.errors import DataError
from dqcodec.eval.metrics import Scorer
from dqcodec.models.allocation import levels_for_bits
from dqcodec.models.config import CodecConfig
from dqcodec.models.dqvae import DQVAE
from dqcodec.training import checkpoint
from dqcodec.training.validate import load_crops
from dqcodec.weights.model_file import Model

BUDGETS = (0.1, 0.3)  # raw bits a pixel
METRICS = ("lpips_alex", "dists", "lpips_vgg", "psnr")


def decoders(runs: Path, model: Path | None) -> Iterator[tuple[str, int, DQVAE]]:
    """Name, steps and network of everything to compare."""
    if model is not None:
        loaded = Model.read(model)
        for end in (0.0, 1.0) if loaded.dial is not None else (0.0,):
            yield f"{model.stem} at {end:g}", 0, loaded.at(end).vae if loaded.dial is not None else loaded.vae
    for run in sorted(p for p in runs.iterdir() if (p / checkpoint.NAME).exists()):
        state = checkpoint.load(run)
        network = DQVAE(CodecConfig.from_dict(state["config"]["model"]))
        network.load_state_dict(state["ema"])
        yield run.name, state["step"], network


def picture(x: Tensor) -> np.ndarray:
    """(1, 3, H, W) in about [-1, 1] -> (H, W, 3) uint8."""
    return ((x[0] + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", required=True, type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--valid", required=True, type=Path)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--crops", type=int, default=16)
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args()
    scorers = {name: Scorer(name, args.metric_weights) for name in METRICS}
    crops = load_crops(args.valid, most=args.crops)
    rows, tokens = [], None
    for name, steps, network in decoders(args.runs, args.model):
        network.eval()
        if tokens is None:
            first, tokens = network, {}
            for budget in BUDGETS:
                tokens[budget] = []
                for x in crops.split(1):
                    _, q, distortion = network.analyse(x)
                    levels = levels_for_bits(distortion, network.level_bits, torch.tensor([budget * x[0, 0].numel()]))
                    tokens[budget].append((network.quantizer.values(q.partial, None, levels), levels))
        books = zip(first.quantizer.codebooks, network.quantizer.codebooks, strict=True)
        if any(not torch.equal(a.embedding, b.embedding) for a, b in books):
            raise DataError(f"{name}: its codebooks are not those of the others")
        row: dict[str, object] = {"name": name, "steps": steps}
        for budget in BUDGETS:
            found = []
            for x, (values, levels) in zip(crops.split(1), tokens[budget], strict=True):
                shown = picture(network.decoder(values, levels))
                found.append([scorers[m](picture(x), shown) for m in METRICS])
            row |= {f"{m}@{budget}": round(v, 4) for m, v in zip(METRICS, np.mean(found, 0).tolist(), strict=True)}
        rows.append(row)
        print(row, flush=True)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps({"crops": len(crops), "rows": rows}, indent=1) + "\n")
    print("| decoder | steps | " + " | ".join(k for k in rows[0] if "@" in k) + " |\n|---|---|" + "---|" * 8)
    for row in rows:
        print("| " + " | ".join(str(v) for v in row.values()) + " |")


if __name__ == "__main__":
    main()
