"""`dqcodec compare`: one picture by every codec at nearly equal rate, on one page."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dqcodec import workers
from dqcodec.errors import DataError
from dqcodec.eval import image_set, machine, metric_weights, metrics, report, results, views
from dqcodec.eval.cell import TIMING_NOTE, Task
from dqcodec.eval.run import prepare

CROP = (1200, 900)


def compare(path: Path, bpp: float, out: Path, codec_names: tuple[str, ...], metric_names: tuple[str, ...],
            weights: Path | None, compressai_weights: Path | None, jobs: int | None,
            say: Callable[[str], None]) -> list[str]:
    """Write the page for the picture at `path`; returns a line for each codec that failed on it.

    Raises ImageError for a picture that cannot be read, DataError if no codec can run or the page
    cannot be written.
    """
    picture = image_set.describe(path)
    if not out.resolve().parent.is_dir():
        raise DataError(f"{out}: its folder does not exist; make it or name another --out")
    weights = metric_weights.find(weights)
    names, missing = metrics.usable(metric_names, weights)
    chosen, skipped, identities = prepare(codec_names, compressai_weights, weights)
    for line in [*missing, *skipped]:
        say(f"dqcodec: skipped: {line}")
    if not chosen:
        raise DataError("none of the codecs asked for can run here; see the lines above")
    with tempfile.TemporaryDirectory(prefix="dqcodec-compare-") as folder:

        def task(image, codec, value):
            return Task(image, codec, value, identities[codec.name], tuple(names), weights, Path(folder))

        found, failures = views.make([picture], chosen, (bpp,), [], task, jobs or workers.cores(), CROP)
    for line in failures:
        say(f"dqcodec: {line}")
    about = machine.describe() | {"timing": f"{TIMING_NOTE}; one thread per process",
                                  "bpp": "8 x bytes of the written file / pixels"}
    view = replace(found[0], entries=tuple(sorted(found[0].entries, key=lambda e: e.cell.bpp)))
    report.write_comparison(path.name, [results.describe(c) for c in chosen], names, view, about,
                            [*missing, *skipped, *failures], out)
    say(f"wrote {out}")
    return failures
