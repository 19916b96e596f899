"""Contact sheets: pictures to look at, since no number says what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dqcodec import files
from dqcodec.eval.gen_neighbours import NEAREST, Neighbour
from dqcodec.eval.gen_pictures import PictureSet

ACROSS, DOWN = 8, 8
MOST_CLASSES = 20
NEAREST_ROWS = 12
LARGEST = 192  # side of a picture on a sheet; larger ones are scaled down
GAP, LINE, MARGIN = 3, 15, 8
INK, PAPER = (40, 40, 40), (255, 255, 255)


def overview(pictures: PictureSet, rng: np.random.Generator, path: Path) -> Path:
    """Write a sheet of ACROSS x DOWN random pictures; with classes each has its rows, at least one."""
    labels = sorted(set(pictures.classes))
    if len(labels) > 1:
        labels = [labels[i] for i in _some(np.arange(len(labels)), MOST_CLASSES, rng)]
    each = ACROSS * max(1, DOWN // len(labels))
    rows = []
    for label in labels:
        chosen = _some(pictures.of_class(label), each, rng)
        rows += [(label or "without class", chosen[i : i + ACROSS]) for i in range(0, len(chosen), ACROSS)]
    width, height = _tile(pictures.size)
    step = height + GAP + (LINE if len(labels) > 1 else 0)
    sheet = _Sheet(ACROSS * (width + GAP), len(rows) * step)
    for r, (label, indices) in enumerate(rows):
        if len(labels) > 1:
            sheet.text(0, r * step, label)
        for c, index in enumerate(indices):
            sheet.paste(c * (width + GAP), (r + 1) * step - height - GAP, pictures[int(index)], (width, height))
    return sheet.write(path)


def nearest(samples: PictureSet, reference: PictureSet, found: Sequence[Sequence[Neighbour]],
            rng: np.random.Generator, path: Path) -> Path:
    """Write a sheet of samples beside their nearest reference pictures, with LPIPS: on the left the samples that
    are nearest to one, on the right random others. Mirror images are shown as the samples are."""
    order = sorted(range(len(found)), key=lambda i: found[i][0].lpips)
    closest = order[:NEAREST_ROWS]
    columns = [("nearest to the reference", closest), ("random", _some(np.array(order[len(closest):], int),
                                                                        NEAREST_ROWS, rng))]
    width, height = _tile(samples.size)
    step, block = height + LINE + GAP, (1 + NEAREST) * (width + GAP) + 3 * MARGIN
    sheet = _Sheet(2 * block - 3 * MARGIN, LINE + NEAREST_ROWS * step)
    for b, (title, indices) in enumerate(columns):
        if len(indices):
            sheet.text(b * block, 0, f"{title}: sample | its {NEAREST} nearest of the reference, LPIPS")
        for r, index in enumerate(indices):
            x, y = b * block, LINE + r * step
            sheet.paste(x, y, samples[int(index)], (width, height))
            sheet.text(x, y + height, samples.names[int(index)], width)
            for c, neighbour in enumerate(found[int(index)]):
                place = x + MARGIN + (1 + c) * (width + GAP)
                pixels = reference[neighbour.index]
                sheet.paste(place, y, pixels[:, ::-1] if neighbour.mirrored else pixels, (width, height))
                name = reference.names[neighbour.index]
                note = f"{neighbour.lpips:.3f}{' mirrored' if neighbour.mirrored else ''} {name}"
                sheet.text(place, y + height, note, width)
    return sheet.write(path)


class _Sheet:
    """A white image that grows by pictures and captions. width, height: inside of the margin."""

    def __init__(self, width: int, height: int):
        self.image = Image.new("RGB", (width + 2 * MARGIN, height + 2 * MARGIN), PAPER)
        self._draw, self._font = ImageDraw.Draw(self.image), ImageFont.load_default(size=11)

    def paste(self, x: int, y: int, pixels: np.ndarray, size: tuple[int, int]) -> None:
        image = Image.fromarray(np.ascontiguousarray(pixels))
        if image.size != size:
            image = image.resize(size, Image.Resampling.LANCZOS)
        self.image.paste(image, (x + MARGIN, y + MARGIN))

    def text(self, x: int, y: int, text: str, width: int | None = None) -> None:
        while width is not None and text and self._draw.textlength(text, self._font) > width:
            text = text[:-1]
        self._draw.text((x + MARGIN, y + MARGIN), text, INK, self._font)

    def write(self, path: Path) -> Path:
        files.write_whole(str(path), lambda temporary: self.image.save(temporary))
        return path


def _tile(size: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, LARGEST / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _some(indices: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return indices if len(indices) <= count else np.sort(rng.choice(indices, count, replace=False))
