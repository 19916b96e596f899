"""What the prior saves: bytes of the same tokens with its probabilities and with the static tables.

    python benchmarks/prior.py --images DIR [--run RUN] [--model default] [--output results/prior.json]

For each picture and rate: the tokens of the file at that rate, their bytes under the static tables and
under the prior, and whether the file decodes to them. For the orders: one picture's bytes and decode time
in groups and in raster order. With --run (the folder of a prior's training) also the bits per code and map
bit on the run's validation tokens: uniform, table, float and integer prior, and adapting to the
image; without, those that the output has of the same model stay. Exits 1 if a file does not decode to its tokens or
the prior saves less than 20 % in the mean.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dqcodec import bitstream, codec
from dqcodec.bitstream.step_coder import code_step
from dqcodec.eval import machine
from dqcodec.prior.code_model import PriorModel
from dqcodec.weights import load
from dqcodec.weights.model_file import Model

RATES = (0.05, 0.1, 0.2, 0.4)
TARGET = 0.20
ORDER_RATE = 0.15


def same(a: bitstream.Tokens, b: bitstream.Tokens) -> bool:
    return np.array_equal(a.levels, b.levels) and all(map(np.array_equal, a.codes, b.codes))


def payloads(data: bytes) -> list[bytes]:
    """Payloads of a file's steps."""
    return [section.payload for section in bitstream.inspect(data).sections if section.step is not None]


def savings(model: Model, name: str, sources: list[Path]) -> list[dict]:
    """One row for each rate: mean bytes under tables and prior."""
    rows = []
    for rate in RATES:
        plain, packed, exact, steps = [], [], True, np.zeros((3, 2))
        for source in sources:
            data = codec.compress(Image.open(source), bpp=rate, model=name, device="cpu")
            parsed = bitstream.read(data, lambda mark: model.entropy)
            tokens, frame = parsed.tokens, parsed.header.frame
            static = bitstream.write(tokens, model.tables, frame=frame)
            packed_tokens = bitstream.write(tokens, model.entropy, frame=frame)  # the file less its detail
            exact &= payloads(packed_tokens) == payloads(data)
            exact &= same(bitstream.read(static, lambda mark: model.tables).tokens, tokens)
            plain.append(len(static))
            packed.append(len(packed_tokens))
            for column, file in enumerate((static, packed_tokens)):
                for step, payload in enumerate(payloads(file)):
                    steps[step, column] += len(payload)
        saved = 1 - np.sum(packed) / np.sum(plain)
        shares = {f"saved_step_{s}": 1 - b / a for s, (a, b) in enumerate(steps) if a}
        rows.append({"bpp": rate, "bytes_tables": float(np.mean(plain)), "bytes_prior": float(np.mean(packed)),
                     "saved": float(saved), **shares, "exact": bool(exact)})
        print(f"{rate} bpp: {np.mean(plain):.0f} -> {np.mean(packed):.0f} bytes, saved {100 * saved:.1f} %, "
              f"exact {exact}", flush=True)
    return rows


def orders(model: Model, name: str, source: Path) -> dict:
    """Bytes and decode seconds of one picture's tokens in groups and in raster order."""
    tokens = codec.tokens_of(codec.compress(Image.open(source), bpp=ORDER_RATE, model=name, device="cpu"), name)
    facts: dict = {"picture": source.name, "codes": int(sum((c >= 0).sum() for c in tokens.codes))}
    for order in ("groups", "raster"):
        network = model.prior.in_order(order)
        entropy = PriorModel(network, model.fingerprint)
        data = bitstream.write(tokens, entropy)
        start = time.perf_counter()
        assert same(bitstream.read(data, lambda mark, e=entropy: e).tokens, tokens)
        facts[order] = {"bytes": len(data), "decode_s": time.perf_counter() - start}
        print(f"{order}: {len(data)} bytes, decoded in {facts[order]['decode_s']:.2f} s", flush=True)
    return facts


def coded_bits(entropy: PriorModel, tokens: bitstream.Tokens) -> dict[str, tuple[float, int]]:
    """(bits, number) of the codes and map bits of each step, by the frequencies that the coder gets."""
    known = bitstream.Known.nothing(tokens.width, tokens.height, entropy.ladder, complete=tokens)
    maps, found = entropy.map_model(), {}

    def taker(name: str, symbols: np.ndarray):
        def take(places: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
            here = symbols.reshape(-1)[places]
            bits, number = found.get(name, (0.0, 0))
            cost = 16 - np.log2(np.take_along_axis(frequencies, here[:, None].astype(np.int64), 1))
            found[name] = bits + float(cost.sum()), number + len(here)
            return here
        return take

    for step in range(len(entropy.ladder)):  # in training also the bits of steps that a file would leave out count
        rises = (tokens.levels >= step).astype(np.int32)
        code_step(step, known, entropy, maps, taker(f"map_{step}", rises), taker(f"code_{step}", tokens.codes[step]))
    return found


def bits_table(model: Model, run: Path) -> dict:
    """Bits per code and map bit on the run's validation tokens, and the shares of map bits and codes."""
    from dqcodec.training.prior_trainer import VALID_TOKENS, valid_tokens
    from dqcodec.training.token_cache import read_cache

    with (run / "valid.csv").open() as f:
        last = list(csv.DictReader(f))[-1]
    cache = read_cache(run / VALID_TOKENS, model.config.ladder)
    table: dict = {}
    codes = {s: [] for s in range(len(model.config.factors))}
    spent: dict[str, np.ndarray] = {}
    for budget in valid_tokens(cache, 24):
        for tokens in budget:
            for s, grid in enumerate(tokens.codes):
                codes[s].append(grid[grid >= 0])
            for name, pair in coded_bits(model.entropy, tokens).items():
                spent[name] = spent.get(name, 0) + np.array(pair)
    for s, found in codes.items():
        used = np.concatenate(found)
        table[f"code_{s}"] = {"uniform": float(np.log2(model.config.codebook_size)),
                              "table": float(model.tables.bits(s)[used].mean())}
    for name in [k.removesuffix("_integer") for k in last if k.endswith("_integer")]:
        table.setdefault(name, {"uniform": 1.0})
        table[name] |= {"float": float(last[f"{name}_float"]), "integer": float(last[f"{name}_integer"]),
                        "adapting": float(spent[name][0] / spent[name][1])}
    for name, row in table.items():
        print(name, "  ".join(f"{k} {v:.3f}" for k, v in row.items()))
    return table


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--most", type=int, default=1000)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    model = load(args.model)
    sources = sorted(args.images.glob("*.png"))[: args.most]
    facts: dict = {"model": model.fingerprint.hex(), "pictures": len(sources), "threads": torch.get_num_threads(),
                   "machine": machine.describe()}
    if args.run:
        facts["bits"] = bits_table(model, args.run)
    elif args.output and args.output.exists():
        before = json.loads(args.output.read_text())
        if before["model"] == facts["model"] and "bits" in before:
            facts["bits"] = before["bits"]
    facts["rates"] = savings(model, args.model, sources)
    facts["orders"] = orders(model, args.model, sources[0])
    if args.output:
        args.output.write_text(json.dumps(facts, indent=1) + "\n")
    missed = not all(r["exact"] for r in facts["rates"]) or np.mean([r["saved"] for r in facts["rates"]]) < TARGET
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
