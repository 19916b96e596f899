"""Tokens per second of sampling, with cached keys and values against recomputing the prefix.

    python benchmarks/sampling.py [--tokens 1000] [--threads 2] [--model NAME] [--output results/sampling.json]

One image of one tile with a given map of about --tokens codes, sampled four ways: code after code or in groups,
recomputing all keys and values for each answer or keeping them; and several such images at once. The published
DQ-Transformer's way is the first: code after code, each from its whole prefix. Embeddings are kept in all of
them, in favour of the slower ways. Limit: groups with a cache at least 20 times as fast as the first. Exits 1 if
that is missed, or if keeping keys and values changes a token. A model without a prior is replaced by random
weights of the shipped size; no weights change the time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dqcodec.bitstream import Tokens
from dqcodec.eval import machine
from dqcodec.prior.config import PriorConfig
from dqcodec.prior.draw import Drawing
from dqcodec.prior.given import Given
from dqcodec.prior.integer_network import IntegerNetwork
from dqcodec.prior.memory import Memory
from dqcodec.prior.sampling import Sampling
from dqcodec.prior.state import ImageState
from dqcodec.weights import load

LIMIT = 20.0


class Recomputing(ImageState):
    """An image of one chunk of tiles that computes keys and values of all tokens anew for each answer."""

    def __init__(self, *args):
        super().__init__(*args)
        self._past: list[tuple[torch.Tensor, np.ndarray, np.ndarray, np.ndarray]] = []
        assert self.one_chunk

    def _remember(self, part: slice, codes: np.ndarray) -> None:
        rows = self._rows
        h = self.network.embed_tokens(self._step, self._queries, codes.reshape(-1)[rows.cell[part]])
        self._past.append((h, rows.tile[part], rows.slot[part], rows.memory_sight[part]))
        if self._outputs is not None and part.stop == len(rows):
            self._outputs[:] = self._recompute()[1][-len(rows) :]

    def _ask(self, part: slice) -> torch.Tensor:
        rows = self._rows
        return self._recompute()[0].ask(self._queries, rows.tile[part], rows.query_sight[part])

    def _recompute(self) -> tuple[Memory, torch.Tensor | None]:
        memory = Memory(self.network, self.tiles)
        if not self._past:
            return memory, None
        h, *places = zip(*self._past, strict=True)
        tile, slot, sight = map(np.concatenate, places)
        memory.reserve(int(sight.max()))
        return memory, memory.remember(torch.cat(h), tile, slot, sight)


def prior_of(name: str) -> tuple[IntegerNetwork, str]:
    """A prior, and what it is."""
    model = load(name)
    if model.prior is not None:
        return model.prior, f"{model.name} {model.fingerprint.hex()}"
    from dqcodec.prior.network import DQTransformer
    from dqcodec.prior.quantised import quantised

    torch.manual_seed(0)
    config = PriorConfig()
    return IntegerNetwork(config, quantised(DQTransformer(config))), "random weights"


def with_map(config: PriorConfig, codes: int) -> Given:
    """An image of one tile whose map is given, with about `codes` codes: as many fine regions as that needs."""
    ladder, last = config.ladder, len(config.ladder) - 1
    nothing = Given.nothing(ladder, *(config.tile * ladder.region,) * 2)
    regions = config.tile**2
    order = np.random.default_rng(0).permutation(regions)
    levels = np.zeros(regions, np.uint8)
    for region in order:
        if sum(ladder.codes_at(level) for level in levels) >= codes:
            break
        levels[region] = last
    tokens = Tokens(nothing.tokens.width, nothing.tokens.height, levels.reshape(config.tile, -1), nothing.tokens.codes)
    return replace(nothing, tokens=tokens, bits=tuple(np.ones_like(b) for b in nothing.bits))


def sample(network: IntegerNetwork, given: Given, order: str, recompute: bool, images: int = 1) -> tuple[float, list]:
    """Seconds, and the tokens."""
    start = time.perf_counter()
    drawing = Drawing(network.in_order(order), given, range(images), 0, Sampling(order=order), 0)
    if recompute:
        drawing.states = [Recomputing(drawing.network, drawing.known)]
    found = drawing.run()
    return time.perf_counter() - start, found


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5, help="Runs of the fast ways; the first way runs once.")
    parser.add_argument("--batch", type=int, default=8, help="Images at once in the last row.")
    parser.add_argument("--model", default="default")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    network, what = prior_of(args.model)
    given = with_map(network.config, args.tokens)
    codes = sum(network.config.ladder.codes_at(level) for level in given.tokens.levels.flat)
    ways = {  # name: order, recompute, images, runs
        "code after code, prefix recomputed": ("raster", True, 1, 1),
        "code after code, cached": ("raster", False, 1, args.repeat),
        "groups, prefix recomputed": ("groups", True, 1, args.repeat),
        "groups, cached": ("groups", False, 1, args.repeat),
        f"groups, cached, {args.batch} images": ("groups", False, args.batch, args.repeat),
    }
    sample(network, given, "groups", False)  # warm-up
    seconds: dict[str, float] = {}
    drawn: dict[str, Tokens] = {}
    for name, (order, recompute, images, runs) in ways.items():
        results = [sample(network, given, order, recompute, images) for _ in range(runs)]
        seconds[name] = statistics.median(s for s, _ in results) / images
        drawn[name] = results[0][1][0]
        speed, times = codes / seconds[name], seconds[next(iter(ways))] / seconds[name]
        print(f"{name:<36} {1e3 * seconds[name]:9.1f} ms an image {speed:9.0f} tokens/s {times:7.1f} x", flush=True)
    first, cached, again, groups, batch = ways
    pairs = ((first, cached), (again, groups), (groups, batch))
    equal = all(np.array_equal(x, y) for a, b in pairs for x, y in zip(drawn[a].codes, drawn[b].codes, strict=True))
    facts = {"prior": what, "tokens": codes, "threads": args.threads, "speed_up": seconds[first] / seconds[groups],
             "speed_up_of_the_cache_alone": seconds[first] / seconds[cached], "same_tokens": equal,
             "tokens_per_second": {name: codes / s for name, s in seconds.items()}} | machine.describe()
    print(json.dumps(facts, indent=1))
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(facts, indent=1) + "\n")
    if not equal:
        print("FAILED: the ways draw different tokens")
    if facts["speed_up"] < LIMIT:
        print(f"MISSED speed_up: {facts['speed_up']:.3g}, limit {LIMIT}")
    return int(not equal or facts["speed_up"] < LIMIT)


if __name__ == "__main__":
    sys.exit(main())
