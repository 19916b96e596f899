"""Crops of the same picture by every codec at nearly equal rate, for the before/after slider."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dqcodec.eval import pool
from dqcodec.eval.cell import Cell, Task, write_atomically
from dqcodec.eval.codecs.base import Codec
from dqcodec.eval.image_set import TestImage, read_rgb

CROP = (576, 432)
# Shown crops are stored as JPEG of this quality, 4:4:4: visually lossless beside rates of this kind.
SHOWN_QUALITY = 92


@dataclass(frozen=True)
class Entry:
    """A crop by one codec. cell: what was measured on the whole picture. src: data URI."""

    codec: str
    cell: Cell
    src: str


@dataclass(frozen=True)
class View:
    """Crops of one picture at one rate. box: left, top, right, bottom in pixels of the picture."""

    image: str
    bpp: float
    width: int
    height: int
    box: tuple[int, int, int, int]
    original: str
    entries: tuple[Entry, ...]


def make(images: list[TestImage], codecs: list[Codec], rates: tuple[float, ...], cells: list[Cell],
         task: Callable[[TestImage, Codec, float], Task], jobs: int, crop: tuple[int, int] = CROP,
         ) -> tuple[list[View], list[str]]:
    """A view for each image and rate, and a line for each codec that failed.

    cells: measured so far; they shorten the search for the settings. task: makes the task of a cell.
    crop: largest width and height shown.
    """
    wanted = [(codec, image, bpp, _known(cells, image, codec)) for image in images for bpp in rates
              for codec in codecs]
    values = _settings(wanted, task, jobs)
    lost = [f"{image.name}: {codec.name} found no setting near {bpp:g} bpp"
            for (codec, image, bpp, _), value in zip(wanted, values, strict=True) if value is None]
    tasks = [task(image, codec, value)
             for (codec, image, _, _), value in zip(wanted, values, strict=True) if value is not None]
    measured, failures = pool.run_cells(tasks, jobs, "views")
    by_key = {(cell.image, cell.codec, cell.value): cell for cell in measured}
    views = []
    for image in images:
        original = read_rgb(image.path)
        box = detailed_box(original, crop)
        for bpp in rates:
            entries = []
            for (codec, owner, rate, _), value in zip(wanted, values, strict=True):
                cell = by_key.get((image.name, codec.name, value))
                if cell and owner is image and rate == bpp:
                    data = task(image, codec, value).file_path.read_bytes()
                    entries.append(Entry(codec.name, cell, data_uri(codec.decode(data).crop(box))))
            views.append(View(image.name, bpp, image.width, image.height, box,
                              data_uri(original.crop(box)), tuple(entries)))
    return views, lost + failures


def _settings(wanted: list[pool.Wanted], task: Callable[[TestImage, Codec, float], Task],
              jobs: int) -> list[float | None]:
    """Knob value nearest to each rate; searched once and then kept beside the cells."""
    notes = []
    for codec, image, bpp, _ in wanted:
        home = task(image, codec, bpp)
        path = home.folder / codec.name / "nearest" / f"{image.name}-{bpp:g}.json"
        notes.append((path, {"identity": home.identity, "sha256": image.sha256}))
    values = [_recall(path, key) for path, key in notes]
    open_ends = [i for i, value in enumerate(values) if value is None]
    for i, value in zip(open_ends, pool.find_settings([wanted[i] for i in open_ends], jobs), strict=True):
        values[i] = value
        path, key = notes[i]
        if value is not None:
            write_atomically(path, json.dumps({**key, "value": value}).encode())
    return values


def _recall(path: Path, key: dict[str, str]) -> float | None:
    try:
        stored = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return stored.get("value") if key.items() <= stored.items() else None


def detailed_box(image: Image.Image, crop: tuple[int, int] = CROP) -> tuple[int, int, int, int]:
    """The crop of at most this width and height with the highest median of local activity.

    The median, because a sum is won by one patch of foliage beside an empty sky.
    """
    width, height = min(crop[0], image.width), min(crop[1], image.height)
    grey = np.asarray(image.convert("L"), np.float32)  # (H, W)
    activity = np.zeros_like(grey)
    activity[:, 1:] += np.abs(np.diff(grey, axis=1))
    activity[1:, :] += np.abs(np.diff(grey, axis=0))
    tops = _offsets(image.height - height)
    lefts = _offsets(image.width - width)
    top, left = max(((t, x) for t in tops for x in lefts),
                    key=lambda o: float(np.median(activity[o[0]:o[0] + height:3, o[1]:o[1] + width:3])))
    return left, top, left + width, top + height


def data_uri(image: Image.Image) -> str:
    """The picture as a data URI."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=SHOWN_QUALITY, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _offsets(slack: int) -> list[int]:
    return sorted({round(slack * i / 4) for i in range(5)})


def _known(cells: list[Cell], image: TestImage, codec: Codec) -> dict[float, float]:
    return {c.value: c.bpp for c in cells if c.image == image.name and c.codec == codec.name}
