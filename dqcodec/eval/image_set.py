"""Which pictures a run is about, and whether they are the Kodak set."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dqcodec import images
from dqcodec.errors import DataError, ImageError

KODAK_VARIABLE = "DQCODEC_KODAK"
KODAK_PAGE = "https://r0k.us/graphics/kodak/"
PIXEL_HASHES = Path(__file__).with_name("kodak.sha256")


@dataclass(frozen=True)
class TestImage:
    """A readable picture. name: unique in its set. sha256: of its RGB pixels, rows first."""

    name: str
    path: Path
    width: int
    height: int
    sha256: str


@dataclass(frozen=True)
class ImageSet:
    """name: "kodak" for exactly the 24 Kodak pictures, else the folder's name.
    unreadable: one line for each file that looks like an image and is none."""

    name: str
    images: tuple[TestImage, ...]
    unreadable: tuple[str, ...]


def read_rgb(path: Path) -> Image.Image:
    """RGB pixels of an image file, upright, alpha dropped. Raises ImageError."""
    return Image.fromarray(images.to_picture(images.open_image(path)).pixels)


def find_kodak(data: Path | None = None) -> Path:
    """Folder of the Kodak pictures: `data`, the environment variable, or shared/data/kodak beside
    the working directory or the checkout. Raises DataError saying where to get them."""
    checkout = Path(__file__).resolve().parents[2]
    guesses = [data, os.environ.get(KODAK_VARIABLE)] if data or os.environ.get(KODAK_VARIABLE) else [
        Path("../shared/data/kodak"), checkout.parent / "shared" / "data" / "kodak"]
    for guess in guesses:
        if guess and Path(guess).is_dir():
            return Path(guess)
    named = next((str(g) for g in guesses if g), "../shared/data/kodak")
    raise DataError(f"no Kodak pictures at {named}; get the 24 PNG files from {KODAK_PAGE} and name their "
                    f"folder with --data or {KODAK_VARIABLE}")


def collect(folder: Path) -> ImageSet:
    """All images directly in `folder`, by name. Raises DataError if it is no folder or holds none."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name a folder of images, or kodak")
    Image.init()
    paths = sorted(p for p in folder.iterdir()
                   if p.suffix.lower() in Image.EXTENSION and p.is_file() and not p.name.startswith("."))
    if not paths:
        raise DataError(f"{folder}: no images in it; name a folder with pictures that Pillow reads")
    stems = [p.stem for p in paths]
    found, unreadable = [], []
    for path in paths:
        try:
            found.append(describe(path, path.stem if stems.count(path.stem) == 1 else path.name))
        except ImageError as error:
            unreadable.append(str(error))
    if not found:
        raise DataError(f"{folder}: none of its {len(paths)} images can be read; first: {unreadable[0]}")
    kodak = {image.sha256 for image in found} == kodak_hashes() and len(found) == len(kodak_hashes())
    return ImageSet("kodak" if kodak else folder.resolve().name, tuple(found), tuple(unreadable))


def describe(path: Path, name: str | None = None) -> TestImage:
    """The TestImage of a picture file, by default under its stem. Raises ImageError."""
    image = read_rgb(path)
    digest = hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()
    return TestImage(name or path.stem, path.resolve(), image.width, image.height, digest)


def kodak_hashes() -> set[str]:
    """SHA-256 of the RGB pixels of each Kodak picture."""
    return {line.split()[0] for line in PIXEL_HASHES.read_text().splitlines()}
