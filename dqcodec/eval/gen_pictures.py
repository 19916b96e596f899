"""The pictures that `dqcodec eval-gen` compares: folders and shards, brought to one size."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

from dqcodec.errors import DataError
from dqcodec.training.data import SUFFIXES, Pictures

CACHE_BYTES = 1 << 29
_LABELLED = re.compile(r"(\d+)_\d+$")


class PictureSet:
    """The pictures below a folder, images and tar shards of images, each (height, width, 3) uint8 when asked for.

    folder: searched with its subfolders. most: keep so many, drawn with `rng`. needed: raise DataError if there
    are fewer. The class of a picture is the subfolder that it lies in, else what a classes.json in `folder`
    says of a name CC_NNNNN, else "".

    size: (width, height) of what comes out; None takes the first picture's. fit: "scale" cuts out the largest
    box in the centre with these proportions and scales it (Lanczos, with Pillow's antialiasing, which matters
    to such distances: Parmar et al. 2022, "On Aliased Resizing and Surprising Subtleties in GAN Evaluation");
    "crop" cuts out the centre without scaling and falls back to "scale" for smaller pictures.
    """

    def __init__(self, folder: Path, most: int, needed: int, rng: np.random.Generator,
                 size: tuple[int, int] | None = None, fit: str = "scale"):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; name one of images or tar shards of images")
        self.folder, self.fit = folder, fit
        self._sources: list[tuple[Pictures, int]] = []
        self.names: list[str] = []
        self.classes: list[str] = []
        self._scan()
        self.found = len(self._sources)
        if self.found < needed:
            what = "no images" if not self.found else f"only {self.found} images"
            raise DataError(f"{folder}: {what} in it; these measures need at least {needed}")
        kept = range(self.found) if self.found <= most else sorted(rng.choice(self.found, most, replace=False))
        self._sources, self.names, self.classes = (
            [column[i] for i in kept] for column in (self._sources, self.names, self.classes))
        self.enlarged: set[int] = set()
        self.refitted: set[int] = set()
        if size is None:
            height, width = self._read(0).shape[:2]
            size = width, height
        self.size = size

    def _scan(self) -> None:
        groups: dict[str, list[Path]] = {}
        for path in sorted(p for p in self.folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
            if path.suffix.lower() in SUFFIXES | {".tar"}:
                below = path.relative_to(self.folder).parts
                groups.setdefault(below[0] if len(below) > 1 else "", []).append(path)
        labels = _class_names(self.folder)
        for group, paths in groups.items():
            try:
                pictures = Pictures(paths, CACHE_BYTES // len(groups))
            except DataError:  # shards without pictures
                continue
            for i in range(len(pictures)):
                name = pictures.name(i)
                match = _LABELLED.search(Path(name).stem)
                label = group or (labels.get(int(match[1]), "") if match else "")
                self._sources.append((pictures, i))
                self.names.append(f"{group}/{name}" if group else name)
                self.classes.append(label)

    def __len__(self) -> int:
        return len(self._sources)

    def _read(self, index: int) -> np.ndarray:
        pictures, i = self._sources[index]
        return pictures[i]

    def __getitem__(self, index: int) -> np.ndarray:
        """Picture `index`, fitted; `enlarged` and `refitted` collect those that were scaled up or changed at all."""
        pixels = self._read(index)
        width, height = self.size
        if pixels.shape[:2] == (height, width):
            return pixels
        self.refitted.add(index)
        if min(pixels.shape[0] / height, pixels.shape[1] / width) < 1:
            self.enlarged.add(index)
        return fitted(pixels, self.size, self.fit)

    def of_class(self, label: str) -> np.ndarray:
        """Indices of the pictures of a class."""
        return np.array([i for i, name in enumerate(self.classes) if name == label], int)


def fitted(pixels: np.ndarray, size: tuple[int, int], fit: str) -> np.ndarray:
    """The centre of pixels (H, W, 3) uint8 at `size` (width, height), as PictureSet says."""
    (height, width), (to_width, to_height) = pixels.shape[:2], size
    if fit == "crop" and width >= to_width and height >= to_height:
        top, left = (height - to_height) // 2, (width - to_width) // 2
        return np.ascontiguousarray(pixels[top : top + to_height, left : left + to_width])
    scale = min(width / to_width, height / to_height)
    across, down = to_width * scale, to_height * scale
    left, top = (width - across) / 2, (height - down) / 2
    image = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, (left, top, left + across, top + down))
    return np.asarray(image)


def _class_names(folder: Path) -> dict[int, str]:
    path = folder / "classes.json"
    if not path.is_file():
        return {}
    try:
        names = json.loads(path.read_text())
        return {int(i): str(name) for i, name in (names.items() if isinstance(names, dict) else enumerate(names))}
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: not a list of class names, or of numbers to names ({error})") from error
