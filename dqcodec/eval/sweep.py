"""Pictures coded in several ways, and a row of mean scores for each way: what most benchmarks are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from PIL import Image

from dqcodec import workers
from dqcodec.eval import markdown_table
from dqcodec.eval.metrics import METRICS, Scorer
from dqcodec.eval.pool import progress

SCORES = ("psnr", "ms_ssim", "lpips_vgg", "lpips_alex", "dists")


@dataclass(frozen=True)
class Shown:
    """How a picture came back in one way.

    way: what tells this way from the others, {"target": 0.1, "decoder": "tiny"}. original, decoded: of equal size;
    decoded is None if there is no file of the picture in this way. facts: numbers that are no scores, as bpp, whose
    means stand in the row too.
    """

    way: dict[str, Any]
    original: Image.Image
    decoded: Image.Image | None
    facts: dict[str, float] = field(default_factory=dict)


def bpp(data: bytes, image: Image.Image) -> float:
    """Bits of a file for each pixel of its picture."""
    return 8 * len(data) / (image.width * image.height)


def measure(ways: Callable[[Path], Iterator[Shown]], pictures: Sequence[Path], weights: Path | None, jobs: int = 1,
            metrics: tuple[str, ...] = SCORES) -> list[dict]:
    """A row for each way: what it is, `pictures` that had a file, means of facts and scores to four decimals.

    ways: from the path of a picture, the same ways in the same order for every picture; picklable, as `jobs` processes
    share the pictures. weights: folder of metric_weights.find. A way that no picture has a file for has no row; a
    metric that one of the pictures is too small for has no mean. Raises WorkerError, MetricMissing and what `ways`
    does.
    """
    found: list[list] = [[]] * len(pictures)
    one = partial(_of_picture, ways=ways, weights=weights, metrics=metrics)
    threads = max(1, workers.cores() // jobs)
    with progress("pictures", len(pictures)) as advance:
        for i, rows in workers.each(one, enumerate(pictures), jobs, threads):
            found[i] = rows
            advance()
    return [row for column in zip(*found, strict=True) if (row := _mean(column))]


def _of_picture(path: Path, ways: Callable, weights: Path | None, metrics: tuple[str, ...]) -> list[tuple]:
    """(way, facts and scores or None) of a picture."""
    rows: list[tuple] = []
    for shown in ways(path):
        values = None
        if shown.decoded is not None:
            pair = np.asarray(shown.original.convert("RGB")), np.asarray(shown.decoded.convert("RGB"))  # (H, W, 3)
            values = shown.facts | {name: _scorer(name, weights)(*pair) for name in metrics}
        rows.append((shown.way, values))
    return rows


@lru_cache
def _scorer(name: str, weights: Path | None) -> Scorer:
    """A metric, its network loaded once in each process."""
    return Scorer(name, weights)


def _mean(column: Sequence[tuple]) -> dict | None:
    ways, values = zip(*column, strict=True)
    if any(way != ways[0] for way in ways):
        raise ValueError(f"pictures differ in their ways: {ways}")
    some = [v for v in values if v is not None]
    if not some:
        return None
    means = {key: None if any(v[key] is None for v in some) else round(fmean(v[key] for v in some), 4)
             for key in some[0]}
    return {**ways[0], "pictures": len(some), **means}


def table(rows: list[dict], leave_out: tuple[str, ...] = ()) -> str:
    """Rows of `measure` in Markdown, without some of their columns."""
    names = [name for name in rows[0] if name not in leave_out]
    return markdown_table.table(names, [[_cell(name, row[name]) for name in names] for row in rows])


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in METRICS:
        return f"{value:.{METRICS[name].digits}f}"
    return f"{round(value, 4):g}" if isinstance(value, float) else str(value)
