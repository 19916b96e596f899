"""`python -m dqcodec.training`: the trainers without the command line's dependencies.

For a bare machine with torch, numpy, pillow and safetensors, alone or under torchrun:
    torchrun --nproc-per-node 4 -m dqcodec.training --config c.json --data DIR --out DIR --device cuda
With --vae MODEL.safetensors it trains a prior on that model's tokens, in one process; with a config of
`mode: paper` and --vae RUN/checkpoint.pt the paper's prior, also under torchrun. With --model MODEL.safetensors ...
it trains a layer of detail on what these models decode, with --soften MODEL.safetensors what the model's decoder lacks
for soft pictures, in one process.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from dqcodec.errors import DqError
from dqcodec.training import detail_config, parallel, soft_config
from dqcodec.training.config import load
from dqcodec.training.detail_trainer import DetailFolders, DetailTrainer
from dqcodec.training.loop import Loop
from dqcodec.training.paper_prior_trainer import trainer_for
from dqcodec.training.prior_trainer import PriorFolders
from dqcodec.training.soft_trainer import SoftFolders, SoftTrainer
from dqcodec.training.trainer import RunFolders, Trainer


def _vae(args: argparse.Namespace) -> Trainer:
    folders = RunFolders(tuple(args.data), args.out, args.valid, args.metric_weights)
    return Trainer(load(args.config), folders, args.device, args.resume, args.init, args.teacher)


def _prior(args: argparse.Namespace) -> Loop:
    folders = PriorFolders(args.vae, tuple(args.data), args.out, args.valid)
    return trainer_for(args.config, folders, args.device, args.resume, args.init)


def _detail(args: argparse.Namespace) -> Loop:
    folders = DetailFolders(tuple(args.model), tuple(args.data), args.out, args.valid, args.metric_weights,
                            tuple(args.layer))
    return DetailTrainer(detail_config.load(args.config), folders, args.device, args.resume)


def _soft(args: argparse.Namespace) -> Loop:
    folders = SoftFolders(args.soften, tuple(args.data), args.out, args.valid, args.metric_weights, args.init)
    return SoftTrainer(soft_config.load(args.config), folders, args.device, args.resume)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dqcodec.training")
    parser.add_argument("--config", required=True)
    parser.add_argument("--data", required=True, type=Path, nargs="+")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--valid", type=Path)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--init", type=Path,
                        help="checkpoint (averaged weights) or .safetensors model to start from; with --soften a file "
                        "of softness")
    parser.add_argument("--teacher", type=Path, help="model file to learn from, for a config with a section distil")
    parser.add_argument("--vae", type=Path,
                        help="frozen DQ-VAE (model file; for mode: paper checkpoint.pt): train a prior on its tokens")
    parser.add_argument("--model", type=Path, nargs="+", help="frozen models: train a layer of detail on top of them")
    parser.add_argument("--layer", type=Path, nargs="+", default=[],
                        help="layers of detail whose network to train on: for regions, then for single patches")
    parser.add_argument("--soften", type=Path, help="frozen model: train what its decoder lacks for soft pictures")
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    stop = []
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.append(True))
    try:
        trainer = (_soft if args.soften else _detail if args.model else _prior if args.vae else _vae)(args)
        trainer.run(lambda row: print(" ".join(f"{k}={v:.5g}" for k, v in row.items()), flush=True),
                    lambda: bool(stop))
    except DqError as error:
        print(f"dqcodec training: {error}", file=sys.stderr)
        return 1
    finally:
        parallel.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
