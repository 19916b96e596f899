"""Tokens of samples against tokens of data: levels, use of the codebooks, and what the prior makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dqcodec import bitstream, codec, files, networks, rate
from dqcodec.bitstream import CodeModel, Known, Ladder, Tokens
from dqcodec.bitstream.frequencies import TOTAL
from dqcodec.bitstream.step_coder import code_step
from dqcodec.errors import DqError
from dqcodec.eval.gen_pictures import PictureSet
from dqcodec.weights import registry
from dqcodec.weights.model_file import Model

QUALITY = 50
MOST = 512  # pictures of each kind; more change nothing and take long under a prior


@dataclass(frozen=True)
class Source:
    """Where the samples' tokens come from: .dq files, or none, and then the samples are compressed."""

    model: Model
    paths: tuple[Path, ...]
    name: str | None

    @classmethod
    def find(cls, folder: Path, name: str | None) -> Source:
        """.dq files below `folder`, and their model: `name`, or that of the first file, or "default".

        Raises UnknownModelError, FormatError.
        """
        paths = tuple(sorted(p for p in folder.rglob("*.dq") if p.is_file() and not p.name.startswith(".")))
        if not paths:
            return cls(registry.load(name or "default"), (), name)
        try:
            mark = bitstream.inspect(files.read_bytes(str(paths[0]))).header.fingerprint
            return cls(codec.model_for(mark, name), paths, name)
        except DqError as error:
            raise type(error)(f"{paths[0]}: {error}") from error

    def read(self, path: Path) -> Tokens:
        """Tokens of one of the files; raises DqError if it is broken or of another model."""
        try:
            return bitstream.read(files.read_bytes(str(path)), lambda _: self.model.entropy).tokens
        except DqError as error:
            raise DqError(f"{path}: {error}") from error


def statistics(source: Source, samples: PictureSet, reference: PictureSet, rng: np.random.Generator, device,
               steps: Callable) -> dict:
    """Token statistics of equally many samples and reference pictures, and of as many further reference pictures
    for the distance that chance alone makes.

    The reference is compressed at the quality whose codes per region come nearest to the samples' own, because
    the prior draws its own rates; without .dq files both are compressed at QUALITY. steps: of generation.py,
    `with steps(title, total) as advance`.
    """
    model, ladder = source.model, source.model.config.ladder
    available = len(source.paths) or len(samples)
    n = min(available, len(reference) // 2, MOST)
    chosen = np.sort(rng.choice(available, n, replace=False))
    others = rng.choice(len(reference), 2 * n, replace=False)
    with steps("tokens", 3 * n) as advance:
        plans = [_plan(model, reference[int(i)], device, advance) for i in others]
        quality = QUALITY
        if source.paths:
            made = [_done(source.read(source.paths[i]), advance) for i in chosen]
            quality = nearest_quality(plans, codes_per_region(made, ladder), ladder)
        else:
            made = [_at(_plan(model, samples[int(i)], device, advance), QUALITY) for i in chosen]
    data = [_at(plan, quality) for plan in plans]
    data, spare = data[:n], data[n:]
    entropy = model.entropy
    with steps("bits of the tokens", 2 * n) as advance:
        costs = [np.sum([_done(cost(tokens, entropy), advance) for tokens in part], 0) for part in (made, data)]
    return {
        "pictures": n,
        "samples_from": f"{n} of {available} .dq files" if source.paths else f"samples compressed at quality {quality}",
        "reference_from": f"reference pictures compressed at quality {quality}",
        "model": model.name,
        "fingerprint": model.fingerprint.hex(),
        "entropy_model": "tables" if model.prior is None else "prior",
        "codes_per_region": {"samples": codes_per_region(made, ladder), "reference": codes_per_region(data, ladder)},
        "levels": {"samples": _shares(made, ladder), "reference": _shares(data, ladder)},
        "steps": [_step(step, ladder, made, data, spare, costs) for step in range(len(ladder))],
    }


def _step(step: int, ladder: Ladder, made: list[Tokens], data: list[Tokens], spare: list[Tokens],
          costs: list[np.ndarray]) -> dict:
    used = [histogram(part, step, ladder) for part in (made, data, spare)]
    candidates = [sum(int((t.levels >= step - 1).sum()) for t in part) for part in (made, data)]

    def both(values: list) -> dict:
        return {"samples": values[0], "reference": values[1]}

    return {
        "step": step,
        "factor": ladder.factors[step],
        "codebook_size": ladder.codebook_sizes[step],
        "codes": both([int(u.sum()) for u in used[:2]]),
        "codes_used": both([int((u > 0).sum()) for u in used[:2]]),
        "perplexity": both([perplexity(u) for u in used[:2]]),
        "divergence": divergence(used[0], used[1]),
        "divergence_of_reference": divergence(used[2], used[1]),
        "bits_per_code": both([_ratio(c[1, step], u.sum()) for c, u in zip(costs, used[:2], strict=True)]),
        "map_bits_per_region": both([_ratio(c[0, step], n) if step else None
                                     for c, n in zip(costs, candidates, strict=True)]),
    }


def histogram(tokens: Sequence[Tokens], step: int, ladder: Ladder) -> np.ndarray:
    """How often each code of a step occurs, (K,) int64."""
    counts = np.zeros(ladder.codebook_sizes[step], np.int64)
    for one in tokens:
        grid = one.codes[step]
        counts += np.bincount(grid[grid >= 0], minlength=len(counts))
    return counts


def perplexity(counts: np.ndarray) -> float | None:
    """2 to the entropy of a histogram in bits: as many codes, used evenly, would say as much. None without codes."""
    return float(2 ** _entropy(counts / counts.sum())) if counts.sum() else None


def divergence(a: np.ndarray, b: np.ndarray) -> float | None:
    """Jensen-Shannon divergence of two histograms in bits, 0 (the same) to 1 (no code in common). None without
    codes. Few codes make it larger by chance.

    >>> divergence(np.array([2, 2, 0]), np.array([1, 1, 0])), divergence(np.array([1, 0]), np.array([0, 1]))
    (0.0, 1.0)
    """
    if not (a.sum() and b.sum()):
        return None
    p, q = a / a.sum(), b / b.sum()
    return max(0.0, float(_entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2))


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum())


def cost(tokens: Tokens, model: CodeModel) -> np.ndarray:
    """Bits of map and codes, (2, L), of each step under an entropy model: -log2 of the frequencies that the
    bitstream codes with, without the bytes that sections and the coder's last word take."""
    known = Known.nothing(tokens.width, tokens.height, model.ladder, complete=tokens)
    maps = model.map_model()
    bits = np.zeros((2, len(model.ladder)))

    def coder(kind: int, step: int, symbols: np.ndarray):
        def code(places: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
            found = symbols[places]
            rows = np.zeros(len(found), int) if len(frequencies) == 1 else np.arange(len(found))
            bits[kind, step] -= np.log2(frequencies[rows, found] / TOTAL).sum()
            return found

        return code

    for step in range(int(tokens.levels.max()) + 1):
        refined = (tokens.levels >= step).reshape(-1).astype(np.int32)
        code_step(step, known, model, maps, coder(0, step, refined), coder(1, step, tokens.codes[step].reshape(-1)))
    return bits


def codes_per_region(tokens: Sequence[Tokens], ladder: Ladder) -> float:
    """Mean number of codes that a region carries."""
    carried = np.array([ladder.codes_at(level) for level in range(len(ladder))])
    return float(carried[np.concatenate([t.levels.reshape(-1) for t in tokens])].mean())


def nearest_quality(plans: Sequence[rate.Plan], wanted: float, ladder: Ladder) -> int:
    """Quality 1..100 at which pictures have `wanted` codes per region, as nearly as it goes."""
    def codes(quality: int) -> float:
        return codes_per_region([_at(plan, quality) for plan in plans], ladder)

    low, high = 1, 100
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if codes(middle) <= wanted else (low, middle)
    return min((low, high), key=lambda quality: abs(codes(quality) - wanted))


def _plan(model: Model, pixels: np.ndarray, device, advance: Callable[[], object]) -> rate.Plan:
    analysis = networks.analyse(model.vae.to(device), pixels, device)
    return _done(rate.plan(analysis, rate.table_costs(analysis, model.tables, model.cost_ratio)), advance)


def _at(plan: rate.Plan, quality: int) -> Tokens:
    return plan.tokens(rate.levels_for_quality(plan, quality))


def _done(result, advance: Callable[[], object]):
    advance()
    return result


def _shares(tokens: Sequence[Tokens], ladder: Ladder) -> list[float]:
    levels = np.concatenate([t.levels.reshape(-1) for t in tokens])
    return [float(share) for share in np.bincount(levels, minlength=len(ladder)) / levels.size]


def _ratio(bits: float, count: int) -> float | None:
    return float(bits / count) if count else None
