"""A whole benchmark run: measure, gather, write, draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dqcodec import workers
from dqcodec.errors import DataError, DqError
from dqcodec.eval import (
    bjontegaard_table,
    codecs,
    image_set,
    machine,
    markdown,
    metric_weights,
    metrics,
    plots,
    pool,
    report,
    results,
    views,
)
from dqcodec.eval.cell import Task
from dqcodec.eval.codecs.base import Codec

VIEWS = 3


@dataclass(frozen=True)
class Plan:
    """What to run. images: "kodak" or a folder. rates: sweep of the codecs steered by rate, or None for
    theirs. settings: sweep of single codecs by name. show: images with a before/after view, or None
    for three of them. jobs: processes, or None for one per core. The rest as in `dqcodec eval --help`."""

    images: str
    out: Path
    codecs: tuple[str, ...] = codecs.FAMILIES
    metrics: tuple[str, ...] = tuple(metrics.METRICS)
    rates: tuple[float, ...] | None = None
    settings: dict[str, tuple[float, ...]] | None = None
    data: Path | None = None
    metric_weights: Path | None = None
    compressai_weights: Path | None = None
    show: tuple[str, ...] | None = None
    show_rates: tuple[float, ...] = (0.1, 0.2)
    jobs: int | None = None


def evaluate(plan: Plan, say: Callable[[str], None]) -> list[str]:
    """Run the benchmark, finish what an earlier run in the same folder left, and write everything.

    say: takes lines for the user. Returns a line for each image or cell that failed. Raises DataError
    if there is nothing to measure.
    """
    folder = image_set.find_kodak(plan.data) if plan.images == "kodak" else Path(plan.images)
    pictures = image_set.collect(folder)
    shown = _shown(pictures, plan.show)
    weights = metric_weights.find(plan.metric_weights)
    names, missing = metrics.usable(plan.metrics, weights)
    chosen, skipped, identities = prepare(plan.codecs, plan.compressai_weights, weights)
    for line in [*missing, *skipped, *(f"unreadable image: {line}" for line in pictures.unreadable)]:
        say(f"dqcodec: skipped: {line}")
    if not chosen:
        raise DataError("none of the codecs asked for can run here; see the lines above")
    cells_folder = pool.cells_folder(plan.out)
    jobs = plan.jobs or workers.cores()

    def task(image, codec, value):
        return Task(image, codec, value, identities[codec.name], tuple(names), weights, cells_folder)

    tasks = [task(image, codec, value) for image in pictures.images for codec in chosen
             for value in _sweep(codec, plan)]
    cells, failures = pool.run_cells(tasks, jobs)
    for line in failures:
        say(f"dqcodec: {line}")
    found = results.gather(pictures.name, [i.name for i in pictures.images], chosen, names, cells,
                           [*missing, *skipped, *pictures.unreadable, *failures], machine.describe(), jobs)
    deltas = bjontegaard_table.table(found)
    entries, lost = views.make(shown, chosen, plan.show_rates, cells, task, jobs)
    written = [
        *results.write(found, deltas, plan.out),
        markdown.write(found, deltas, plan.out),
        *plots.draw_all(found, plan.out),
        report.write(found, deltas, entries, plan.out / "report.html"),
    ]
    say(f"{len(cells)} cells of {len(pictures.images)} images; wrote {', '.join(str(p) for p in written)}")
    return [*pictures.unreadable, *failures, *lost]


def prepare(names: tuple[str, ...], compressai_weights: Path | None, metric_weights: Path | None,
            ) -> tuple[list[Codec], list[str], dict[str, str]]:
    """Codecs that run here, a line for each that does not, and the identity of each that does."""
    chosen, skipped = codecs.select(names, compressai_weights, metric_weights)
    lines = [f"{s.name}: {s.reason}" for s in skipped]
    identities = {}
    for codec in chosen:
        try:
            identities[codec.name] = codec.identity()
        except DqError as error:
            lines.append(f"{codec.name}: {error}")
    return [codec for codec in chosen if codec.name in identities], lines, identities


def _sweep(codec: Codec, plan: Plan) -> tuple[float, ...]:
    chosen = (plan.settings or {}).get(codec.name)
    if chosen is None:
        return plan.rates if codec.knob.is_rate and plan.rates else codec.sweep
    for value in chosen:
        if not codec.knob.low <= value <= codec.knob.high:
            raise DataError(f"--settings {codec.name}: {value:g} is outside of {codec.knob.name} "
                            f"{codec.knob.low:g}..{codec.knob.high:g}")
    return chosen


def _shown(pictures: image_set.ImageSet, names: tuple[str, ...] | None) -> list[image_set.TestImage]:
    if names is None:
        count = min(VIEWS, len(pictures.images))
        return [pictures.images[(2 * i + 1) * len(pictures.images) // (2 * count)] for i in range(count)]
    by_name = {image.name: image for image in pictures.images}
    for name in names:
        if name not in by_name:
            raise DataError(f"--show {name}: no readable image of this name; there are: {', '.join(by_name)}")
    return [by_name[name] for name in names]
