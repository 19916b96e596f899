"""`dqcodec eval-gen`: generated pictures against real ones.

What is measured where: gen_distances.py (are the sets alike), gen_neighbours.py (are samples different from each
other, are they copies), gen_tokens.py (do their tokens look like data's), gen_sheets.py (what do they look like).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from dqcodec import files, networks
from dqcodec.errors import DataError
from dqcodec.eval import gen_distances, gen_neighbours, gen_report, gen_sheets, gen_tokens, machine, metric_weights
from dqcodec.eval.gen_features import SMALLEST_SIDE, Features
from dqcodec.eval.gen_pictures import PictureSet
from dqcodec.eval.metrics import METRICS, Scorer

FEWEST = 8  # samples, and pictures of each half of the reference
LPIPS = "lpips_alex"


@dataclass(frozen=True)
class Plan:
    """What to measure. samples, reference: folders. out: folder for results. tokens_model: name or path of the
    model of the token statistics, or None for that of the samples' .dq files, or "default". most: samples and
    reference pictures at most, drawn at random. pairs: of pictures for the diversity. fit: see PictureSet."""

    samples: Path
    reference: Path
    out: Path
    tokens_model: str | None = None
    most: int = 10_000
    pairs: int = 500
    seed: int = 0
    metric_weights: Path | None = None
    fit: str = "scale"
    device: str = "auto"


def evaluate(plan: Plan, say: Callable[[str], None], progress: Callable) -> dict:
    """Measure, write OUT/generation.json, generation.md and the sheets, and return what the JSON file holds.

    say: takes lines for the user. progress: `with progress(total) as advance`, a bar. Raises DqError if pictures,
    weights or the model are missing or broken, before anything is written.
    """
    if plan.samples.resolve() in (plan.out.resolve(), *plan.out.resolve().parents):
        raise DataError(f"{plan.out}: lies in the folder of samples, whose pictures would be mixed with the results; "
                        "give --out another folder")
    # One stream of random numbers for each purpose: more pairs do not change which pictures are drawn.
    draws = [np.random.default_rng([plan.seed, purpose]) for purpose in range(6)]
    samples = PictureSet(plan.samples, plan.most, FEWEST, draws[0])
    if min(samples.size) < SMALLEST_SIDE:
        raise DataError(f"{plan.samples}: samples of {samples.size[0]}x{samples.size[1]} pixels are too small for the "
                        f"networks; at least {SMALLEST_SIDE} pixels a side")
    reference = PictureSet(plan.reference, plan.most, 2 * FEWEST, draws[1], samples.size, plan.fit)
    device = networks.pick_device(plan.device)
    weights = metric_weights.find(plan.metric_weights)
    source = gen_tokens.Source.find(plan.samples, plan.tokens_model)
    network, score = Features(weights, device), Scorer(LPIPS, weights)

    @contextmanager
    def steps(title: str, total: int):
        say(f"{title}: {total}")
        with progress(total) as advance:
            yield advance

    with steps(f"{network.label} of samples and reference", len(samples) + len(reference)) as advance:
        features = network.of(samples, advance), network.of(reference, advance)
    found, own = _neighbours(samples, reference, features, score, draws[2], steps)
    result = {
        "about": _about(plan, network, samples),
        "samples": _facts(samples),
        "reference": _facts(reference),
        "distances": _distances(features, network, draws[3]),
        "diversity": _diversity(samples, reference, plan.pairs, score, draws[4], steps),
        "nearest": {
            **gen_neighbours.compare([n[0].lpips for n in found], own),
            "of_each_sample": {samples.names[i]: [
                {"name": reference.names[n.index], "lpips": n.lpips, "mirrored": n.mirrored} for n in nearest
            ] for i, nearest in enumerate(found)},
        },
        "tokens": gen_tokens.statistics(source, samples, reference, draws[5], device, steps),
        "classes": _classes(samples, reference, features, found, plan, score, steps),
        "notes": _notes(samples, reference, features),
    }
    looks = np.random.default_rng([plan.seed, len(draws)])
    written = [plan.out / "generation.json", plan.out / "generation.md"]
    files.put_bytes(str(written[0]), (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
    files.put_bytes(str(written[1]), gen_report.markdown(result).encode())
    written += [gen_sheets.overview(samples, looks, plan.out / "samples.png"),
                gen_sheets.overview(reference, looks, plan.out / "reference.png"),
                gen_sheets.nearest(samples, reference, found, looks, plan.out / "nearest.png")]
    say(f"wrote {', '.join(str(path) for path in written)}; look at the sheets")
    return result


def _neighbours(samples, reference, features, score, rng, steps):
    """Nearest reference pictures of each sample; distance of reference pictures to the nearest other one."""
    finder = gen_neighbours.Finder(reference, features[1], score)
    held_out = np.sort(rng.choice(len(reference), min(len(samples), len(reference)), replace=False))
    found, own = [], []
    with steps("nearest reference pictures by LPIPS", len(samples) + len(held_out)) as advance:
        for i in range(len(samples)):
            found.append(finder.nearest(samples[i], features[0][i]))
            advance()
        for i in map(int, held_out):
            own.append(finder.nearest(reference[i], features[1][i], leave_out=i)[0].lpips)
            advance()
    return found, own


def _distances(features, network: Features, rng: np.random.Generator) -> dict:
    """Both distances: of all pictures, of equally many, and between two halves of the reference as the floor."""
    made, data = features
    n = min(len(made), len(data) // 2)
    order = rng.permutation(len(data))
    half, other = data[order[:n]], data[order[n : 2 * n]]
    some = made[rng.choice(len(made), n, replace=False)]
    sets = {"all": (made, data), "equal": (some, half), "floor": (other, half)}
    measured = {name: {"counts": [len(a), len(b)], "frechet": gen_distances.frechet(a, b),
                       "kernel": gen_distances.kernel(a, b, rng)} for name, (a, b) in sets.items()}
    return {"frechet_name": f"Frechet distance ({network.label})", "kernel_name": f"kernel distance ({network.label})",
            **measured}


def _diversity(samples, reference, count: int, score, rng, steps) -> dict:
    pairs = [gen_neighbours.random_pairs(range(len(pictures)), count, rng) for pictures in (samples, reference)]
    with steps("LPIPS of pairs", len(pairs[0]) + len(pairs[1])) as advance:
        return {name: gen_neighbours.diversity(pictures, part, score, advance) for name, pictures, part in
                zip(("samples", "reference"), (samples, reference), pairs, strict=True)}


def _classes(samples, reference, features, found, plan: Plan, score, steps) -> dict:
    """Kernel distance, diversity and nearest distance of each class, where samples lie in folders of classes."""
    labels = sorted(set(samples.classes))
    if labels == [""]:
        return {}
    result = {}
    for number, label in enumerate(labels):
        rng = np.random.default_rng([plan.seed, 100 + number])
        of_samples, of_reference = samples.of_class(label), reference.of_class(label)
        enough = min(len(of_samples), len(of_reference)) >= FEWEST
        pairs = gen_neighbours.random_pairs(of_samples, max(1, plan.pairs // len(labels)), rng)
        with steps(f"LPIPS of pairs of {label or 'no class'}", len(pairs)) as advance:
            spread = gen_neighbours.diversity(samples, pairs, score, advance) if pairs else None
        result[label] = {
            "samples": len(of_samples),
            "reference": len(of_reference),
            "kernel": gen_distances.kernel(features[0][of_samples], features[1][of_reference], rng) if enough else None,
            "diversity": spread,
            "nearest_median": float(np.median([found[i][0].lpips for i in of_samples])),
        }
    return result


def _about(plan: Plan, network: Features, samples: PictureSet) -> dict:
    return {
        **machine.describe(),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "seed": plan.seed,
        "features": f"mean and standard deviation over places of the last convolution block of {network.network} "
                    "(ImageNet), after its ReLU; not Inception's, so these distances are no FID or KID",
        "lpips": METRICS[LPIPS].label,
        "fit": {"scale": "largest centred box of the samples' proportions, scaled (Lanczos)",
                "crop": "centre, unscaled; smaller pictures scaled up (Lanczos)"}[plan.fit],
        "size": list(samples.size),
    }


def _facts(pictures: PictureSet) -> dict:
    return {"folder": pictures.folder.resolve().name, "found": pictures.found, "used": len(pictures),
            "refitted": len(pictures.refitted), "enlarged": len(pictures.enlarged)}


def _notes(samples: PictureSet, reference: PictureSet, features) -> list[str]:
    notes = []
    count, width = min(len(samples), len(reference) // 2), features[0].shape[1]
    if count < 4 * width:
        notes.append(f"The Frechet distance is too large for few pictures, here {count} for {width} features: compare "
                     "it only at equal counts, and with its floor. The kernel distance has no such bias.")
    if len(reference) < reference.found:
        notes.append(f"Only {len(reference)} of {reference.found} reference pictures were looked at: a copy of one of "
                     "the others would not be found (--most).")
    if samples.refitted:
        notes.append(f"{len(samples.refitted)} samples are not of the first one's size and were fitted to it.")
    if reference.enlarged:
        notes.append(f"{len(reference.enlarged)} reference pictures are smaller than the samples and were enlarged: "
                     "their blur is part of the distances.")
    return notes
