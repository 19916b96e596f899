"""Published figures of other codecs, each with the source of its numbers.

anchors.csv holds facts: image set, codec, bits per pixel, scores with the metric's network in the
column's name, kind ("table": printed numbers; "svg-exact": coordinates of a vector figure;
"figure-read": read off a picture, with its error) and source (repository, commit, file). A point whose
LPIPS network is not stated by its authors is not in it. Image sets are never mixed: kodak is the 24
whole pictures, kodak512 their centre crops.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

TABLE = Path(__file__).with_name("anchors.csv")


@dataclass(frozen=True)
class Published:
    """A published curve of one codec: points of (bpp, score) by rising rate."""

    codec: str
    points: tuple[tuple[float, float], ...]
    kind: str
    source: str


@lru_cache(maxsize=1)
def rows() -> list[dict[str, str]]:
    """The table as it stands in anchors.csv."""
    with TABLE.open(newline="") as f:
        return list(csv.DictReader(f))


def curves(image_set: str, metric: str) -> list[Published]:
    """Published curves on exactly this image set in exactly this metric; empty for any other set."""
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for row in rows():
        if row["dataset"] == image_set and row[metric]:
            key = (row["codec"], row["kind"], row["source"])
            found.setdefault(key, []).append((float(row["bpp"]), float(row[metric])))
    return [Published(codec, tuple(sorted(points)), kind, source)
            for (codec, kind, source), points in sorted(found.items())]
