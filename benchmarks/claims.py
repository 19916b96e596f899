"""The paper's claims at a small scale and equal compute: docs/experiments.md, section 5.

    python benchmarks/claims.py --data DIR --valid DIR --metric-weights DIR --runs runs/claims \
        [--seeds 2] [--output results/claims.json]

Trains the DQ-VAEs (packaged config claims/paper: the learned router, three rules in its place, and f8 everywhere) and
DQ-Transformers (claims/paper_prior) that are not yet in --runs, measures them and prints the tables. --data: pictures
to train on and to compare samples with.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dqcodec.eval import machine
from dqcodec.eval.gen_distances import kernel
from dqcodec.eval.gen_features import Features
from dqcodec.eval.metrics import Scorer
from dqcodec.models.codebook import perplexity
from dqcodec.models.paper.dqvae import PaperDQVAE
from dqcodec.prior.paper import sample
from dqcodec.training import checkpoint, config, paper_prior_config
from dqcodec.training.data import Pictures
from dqcodec.training.paper_prior_tokens import read_prior, read_vae, view
from dqcodec.training.paper_prior_trainer import PaperPriorTrainer
from dqcodec.training.prior_trainer import PriorFolders
from dqcodec.training.trainer import RunFolders, Trainer
from dqcodec.training.validate import load_crops

METRICS = ("lpips_alex", "lpips_vgg", "dists", "psnr")
SHARE = 0.5
SCALED = 208  # of 256 pixels: 676 codes of f8, where half of the regions fine are 640
VAES = {
    "learned": {},
    "random": {"routing": "random"},
    "entropy": {"routing": "entropy"},
    "fixed": {"routing": "fixed"},
    "f8": {"routing": "fixed", "budget_ratios": (1.0,)},
}
PRIORS = {"0.25": (0.25, False), "0.5": (0.5, False), "0.75": (0.75, False), "1.0": (1.0, False),
          "0.5, shared positions": (0.5, True)}  # fmt: skip
SAMPLES, REAL = 256, 1024


def train_vae(args: argparse.Namespace, arm: str, seed: int) -> Path:
    """Folder of the arm's run, trained now if it is not there."""
    base = config.load("claims/paper")
    folder = args.runs / f"vae_{arm}_s{seed}"
    if not (folder / checkpoint.NAME).exists():
        settings = replace(base, model=base.model | VAES[arm], seed=seed)
        start = time.monotonic()
        Trainer(settings, RunFolders((args.data,), folder, None, args.metric_weights)).run()
        print(f"trained {folder.name} in {time.monotonic() - start:.0f} s", flush=True)
    return folder


def train_prior(args: argparse.Namespace, name: str, vae: Path) -> Path:
    """Folder of a prior's run on the codes of the DQ-VAE `vae`, trained now if it is not there."""
    ratio, shared = PRIORS[name]
    base = paper_prior_config.load("claims/paper_prior")
    folder = args.runs / f"prior_{ratio}{'_shared' if shared else ''}"
    if not (folder / checkpoint.NAME).exists():
        settings = replace(base, model=base.model | {"share_positions": shared}, ratios=(ratio,))
        start = time.monotonic()
        PaperPriorTrainer(settings, PriorFolders(vae / checkpoint.NAME, (args.data,), folder, args.valid)).run()
        print(f"trained {folder.name} in {time.monotonic() - start:.0f} s", flush=True)
    return folder


def pixels(x: torch.Tensor) -> np.ndarray:
    """(B, 3, H, W) in [-1, 1] -> (B, H, W, 3) uint8."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def resized(x: torch.Tensor, side: int) -> torch.Tensor:
    """Pictures (B, 3, H, W) at side x side pixels (Lanczos)."""
    found = [np.asarray(Image.fromarray(p).resize((side, side), Image.Resampling.LANCZOS)) for p in pixels(x)]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def reconstruct(vae: PaperDQVAE, arm: str, x: torch.Tensor) -> tuple[torch.Tensor, int, torch.Tensor]:
    """(pictures like x, codes a picture, all codes) at nearly the same number of codes for every arm."""
    source = resized(x, SCALED) if arm == "f8" else x
    torch.manual_seed(0)  # the random rule draws
    codes = vae.encode(source, (1.0,) if arm == "f8" else (SHARE,))
    image = vae.decode(codes)
    used = codes.indices[:, ::2, ::2][codes.levels == 0]  # a coarse code covers two cells a side
    fine = codes.indices[codes.levels.repeat_interleave(2, 1).repeat_interleave(2, 2) == 1]
    every = torch.cat([used, fine])
    return (resized(image, x.shape[3]) if arm == "f8" else image), len(every) // len(x), every


def reconstruction(args: argparse.Namespace) -> list[dict]:
    """One row for each arm and seed."""
    crops, rows = load_crops(args.valid, most=16), []
    scorers = {name: Scorer(name, args.metric_weights) for name in METRICS}
    for arm in VAES:
        for seed in range(args.seeds):
            vae, _ = read_vae(train_vae(args, arm, seed) / checkpoint.NAME)
            image, count, used = reconstruct(vae, arm, crops)
            pairs = list(zip(pixels(crops), pixels(image), strict=True))
            row = {"arm": arm, "seed": seed, "codes": count, "perplexity": perplexity(used, vae.config.codebook_size)}
            row |= {name: float(np.mean([scorer(a, b) for a, b in pairs])) for name, scorer in scorers.items()}
            rows.append(row)
            print("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)
    return rows


def real_pictures(data: Path, size: int, count: int) -> np.ndarray:
    """Centre crops (count, size, size, 3) uint8 of pictures spread over the data."""
    pictures = Pictures([data], cache_bytes=0)
    rng = np.random.Generator(np.random.Philox(key=[1, 1]))
    chosen = rng.choice(len(pictures), count, replace=False)
    return np.stack([view(pictures[int(i)], size, 0, rng) for i in chosen])


def features_of(features: Features, images: np.ndarray) -> np.ndarray:
    return np.concatenate([features(part) for part in np.array_split(images, -(-len(images) // 32))])


def generation(args: argparse.Namespace) -> tuple[list[dict], dict]:
    """One row for each prior, and the distances between which they lie."""
    folder = train_vae(args, "learned", 0)
    vae, _ = read_vae(folder / checkpoint.NAME)
    size = paper_prior_config.load("claims/paper_prior").size
    features = Features(args.metric_weights, torch.device("cpu"))
    real = real_pictures(args.data, size, 2 * REAL)
    wanted, other = features_of(features, real[:REAL]), features_of(features, real[REAL:])
    rng = np.random.default_rng(0)
    floor, rows = {"other photographs": kernel(other[:SAMPLES], wanted, rng)["mean"]}, []
    x = torch.from_numpy(real[REAL : REAL + SAMPLES].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
    for name, (ratio, _) in PRIORS.items():
        if name == f"{ratio}":
            with torch.no_grad():
                decoded = pixels(vae.decode(vae.encode(x, (ratio,))))
            floor[f"decoded at {ratio}"] = kernel(features_of(features, decoded), wanted, rng)["mean"]
        run = train_prior(args, name, folder)
        prior = read_prior(run / checkpoint.NAME)
        start = time.perf_counter()
        codes = sample(prior, SAMPLES, seed=1)
        seconds = time.perf_counter() - start
        with torch.no_grad():
            images = pixels(vae.decode(codes))
        found = kernel(features_of(features, images), wanted, rng)
        tokens = int((1 + 3 * (codes.levels == 1).double()).sum())
        valid = (run / "valid.csv").read_text().splitlines()
        last = dict(zip(valid[0].split(","), valid[-1].split(","), strict=True))
        rows.append({"prior": name, "kernel": found["mean"], "std": found["std"], "tokens": tokens / SAMPLES,
                     "ms_a_picture": 1000 * seconds / SAMPLES, "tokens_s": tokens / seconds,
                     "valid_bits_a_code": float(last["bits"]), "valid_bpp": float(last["bpp"])})
        print(rows[-1], flush=True)
        sheet = np.concatenate([np.concatenate(list(row), 1) for row in images[:48].reshape(4, 12, size, size, 3)])
        Image.fromarray(sheet).save(args.runs / f"{run.name}.png")
    return rows, floor


def table(rows: list[dict], keys: list[str]) -> str:
    lines = ["| " + " | ".join(keys) + " |", "|---|" + "---|" * (len(keys) - 1)]
    for row in rows:
        cells = [f"{row[k]:.4g}" if isinstance(row[k], float) else str(row[k]) for k in keys]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--valid", required=True, type=Path)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--runs", required=True, type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    made = reconstruction(args)
    drawn, floor = generation(args)
    print(table(made, list(made[0])), table(drawn, list(drawn[0])), json.dumps(floor), sep="\n\n")
    if args.output:
        facts = {"machine": machine.describe(), "threads": torch.get_num_threads(), "reconstruction": made,
                 "generation": drawn, "distances": floor}
        args.output.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
