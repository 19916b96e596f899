"""From cells to tables: rows for each image, means for each setting, written as JSON and CSV."""

from __future__ import annotations

import csv
import json
import statistics
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from dqcodec.eval.cell import TIMING_NOTE, Cell
from dqcodec.eval.codecs.base import Codec


@dataclass(frozen=True)
class Mean:
    """Means over the images of a set: bpp and metrics; medians: times in seconds.

    complete: every image of the set is in it. Means over different images do not compare, so only
    complete ones are plotted and enter Bjontegaard deltas.
    """

    codec: str
    setting: str
    value: float
    images: int
    complete: bool
    bytes: float
    bpp: float
    metrics: dict[str, float | None]
    enc_s: float
    dec_s: float


@dataclass(frozen=True)
class Results:
    """Everything that a run found. name: of the image set. labels, notes: of each codec by name.
    skipped: codecs, metrics and images that could not be measured, one line each."""

    name: str
    images: list[str]
    codecs: list[dict]
    metrics: list[str]
    about: dict
    cells: list[Cell]
    means: list[Mean]
    skipped: list[str]

    def curve(self, codec: str, metric: str) -> list[tuple[float, float]]:
        """(mean bpp, mean score) by rising rate, of the complete settings."""
        points = [(m.bpp, m.metrics[metric]) for m in self.means
                  if m.codec == codec and m.complete and m.metrics.get(metric) is not None]
        return sorted(points)

    def label(self, codec: str) -> str:
        return next(c["label"] for c in self.codecs if c["name"] == codec)


def gather(name: str, images: list[str], codecs: list[Codec], metrics: list[str], cells: list[Cell],
           skipped: list[str], machine: dict, jobs: int) -> Results:
    """Means and context of a run's cells."""
    groups: dict[tuple[str, float], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.codec, cell.value), []).append(cell)
    means = [_mean(group, metrics, len(images)) for group in groups.values()]
    order = [codec.name for codec in codecs]
    means.sort(key=lambda m: (order.index(m.codec), m.bpp))
    about = {
        **machine,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "timing": f"{TIMING_NOTE}; one thread a process, {jobs} process{'es' if jobs > 1 else ''} at a time",
        "bpp": "8 x bytes of the written file / pixels",
    }
    return Results(name, images, [describe(c) for c in codecs], metrics, about, cells, means, skipped)


def describe(codec: Codec) -> dict:
    """What tables and pages say of a codec."""
    return {"name": codec.name, "label": codec.label, "family": codec.family, "version": codec.version(),
            "note": codec.note}


def _mean(cells: list[Cell], metrics: list[str], images: int) -> Mean:
    scores = {}
    for metric in metrics:
        values = [cell.metrics[metric] for cell in cells]
        # A mean over some of the images is not the mean of the set.
        scores[metric] = statistics.fmean(values) if None not in values else None
    first = cells[0]
    return Mean(first.codec, first.setting, first.value, len(cells), len(cells) == images,
                statistics.fmean(c.bytes for c in cells), statistics.fmean(c.bpp for c in cells), scores,
                statistics.median(c.enc_s for c in cells), statistics.median(c.dec_s for c in cells))


def write(results: Results, bjontegaard: list[dict], out: Path) -> list[Path]:
    """Write OUT/NAME.json, OUT/NAME.csv (an image per row) and OUT/NAME-mean.csv."""
    paths = [out / f"{results.name}.json", out / f"{results.name}.csv", out / f"{results.name}-mean.csv"]
    paths[0].write_text(json.dumps({**asdict(results), "bjontegaard": bjontegaard}, indent=1) + "\n")
    scores = ["bytes", "bpp", *results.metrics, "enc_s", "dec_s"]
    fields = ["image", "codec", "setting", "width", "height", *scores]
    _write_csv(paths[1], fields, results.cells, results.metrics)
    _write_csv(paths[2], ["codec", "setting", "images", *scores], results.means, results.metrics)
    return paths


def _write_csv(path: Path, fields: list[str], records: list, metrics: list[str]) -> None:
    with path.open("w", newline="") as f:
        writer = csv.DictWriter(f, fields, lineterminator="\n")
        writer.writeheader()
        for record in records:
            row = asdict(record)
            row |= {metric: row["metrics"].get(metric) for metric in metrics}
            writer.writerow({field: _short(row[field]) for field in fields})


def _short(value):
    return f"{value:.6g}" if isinstance(value, float) else value
