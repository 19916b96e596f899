"""A run's averaged weights in pieces, to bring home from a machine that gives back only a few small files.

    python -m dqcodec.training.parts split RUN OUT     # there
    python -m dqcodec.training.parts join OUT RUN      # here: RUN/checkpoint.pt, to export from or to start from

The pieces hold no optimiser, so a joined run cannot be resumed. Kernels of the DQ-VAE's networks travel in half
precision, which is finer than the 8 bits that a model file keeps of them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from safetensors import torch as safetensors

from dqcodec.errors import DataError
from dqcodec.training import checkpoint
from dqcodec.weights.tensor_file import NETWORKS

LARGEST = 15 << 20  # bytes of a piece
NOTES = ("config", "step", "elapsed", "vae", "prior", "processes")  # of a checkpoint, where it has them


def split(run: Path, out: Path) -> list[Path]:
    """Write the pieces of the last checkpoint of `run` into `out`; returns the pieces."""
    state = checkpoint.load(run)
    tensors = {}
    for name, value in state["ema"].items():
        kernel = name.startswith(NETWORKS) and value.ndim > 1
        tensors[name] = (value.half() if kernel else value).contiguous()
    notes = {"state": json.dumps({k: state[k] for k in NOTES if k in state})}
    data = safetensors.save(tensors, notes)
    out.mkdir(parents=True, exist_ok=True)
    pieces = []
    for i, start in enumerate(range(0, len(data), LARGEST)):
        pieces.append(out / f"part-{i:02d}")
        pieces[-1].write_bytes(data[start : start + LARGEST])
    return pieces


def join(pieces: Path, run: Path) -> None:
    """Write RUN/checkpoint.pt from the pieces in a folder. Raises DataError if there are none or one is missing."""
    found = sorted(pieces.glob("part-*"))
    data = b"".join(p.read_bytes() for p in found)
    try:
        tensors = {k: v.float() if v.is_floating_point() else v for k, v in safetensors.load(data).items()}
    except Exception as error:
        raise DataError(f"{pieces}: not the pieces of a run, or not all of them ({error})") from error
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    run.mkdir(parents=True, exist_ok=True)
    checkpoint.save(run, {**json.loads(header["state"]), "ema": tensors})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dqcodec.training.parts")
    parser.add_argument("what", choices=("split", "join"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    args = parser.parse_args()
    split(args.source, args.target) if args.what == "split" else join(args.source, args.target)


if __name__ == "__main__":
    main()
