"""What the benchmarks that score pictures (dqcodec.eval.sweep) have in common: options, and a table and a file at the
end."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from dqcodec.eval import machine, metric_weights, sweep
from dqcodec.weights import load


def options(document: str, rates: list[float], most: int = 8, first: int = 0) -> argparse.ArgumentParser:
    """A parser of what all of them take, with their defaults."""
    parser = argparse.ArgumentParser(description=document, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, type=Path, help="folder of PNG files")
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--first", type=int, default=first, help="of the pictures by name, from 0")
    parser.add_argument("--most", type=int, default=most)
    parser.add_argument("--rates", type=float, nargs="+", default=rates, help="bpp")
    parser.add_argument("--model", default="default")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the cores")
    parser.add_argument("--output", type=Path)
    return parser


def pictures(args: argparse.Namespace) -> list[Path]:
    """The files that are asked for."""
    return sorted(args.images.glob("*.png"))[args.first : args.first + args.most]


def run(ways: Callable[[Path], Iterator[sweep.Shown]], args: argparse.Namespace, **facts: object) -> list[dict]:
    """Rows of the ways, printed, and written to --output with `facts`."""
    paths = pictures(args)
    rows = sweep.measure(ways, paths, metric_weights.find(args.metric_weights), args.jobs)
    print(sweep.table(rows))
    if args.output:
        about = {"model": load(args.model).fingerprint.hex(), "images": args.images.name, "first": args.first,
                 "pictures": len(paths), **facts, "rows": rows, "machine": machine.describe()}
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(about, indent=1) + "\n")
    return rows
