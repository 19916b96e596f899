"""What the benchmark asks of a codec: bytes from a picture, a picture from bytes, and one knob."""

from __future__ import annotations

import importlib
import importlib.metadata
from abc import ABC, abstractmethod
from dataclasses import dataclass

from PIL import Image

from dqcodec.errors import DqError


class CodecMissing(DqError):
    """The library behind a codec is not installed; the message holds the install line."""


@dataclass(frozen=True)
class Knob:
    """The one setting by which a codec's rate is swept.

    name: short, stands before the value in labels ("q12"). low, high, step: the values it takes.
    rising: more bits with larger values. is_rate: the value *is* the rate in bits per pixel.
    """

    name: str
    low: float
    high: float
    step: float = 1
    rising: bool = True
    is_rate: bool = False

    def label(self, value: float) -> str:
        return f"{self.name}{value:g}"


class Codec(ABC):
    """An image codec at one fixed configuration, apart from its knob.

    name: unique; used by --codecs and in file names. family: what --codecs may name a group by.
    label: for plots. suffix: of its files. sweep: knob values of the default curve. note: what a
    reader of its numbers must know, or "".
    """

    name: str
    family: str
    label: str
    suffix: str
    knob: Knob
    sweep: tuple[float, ...]
    note: str = ""

    @abstractmethod
    def check(self) -> None:
        """Raise CodecMissing, with the line that installs it, unless the codec can run here."""

    @abstractmethod
    def version(self) -> str:
        """Libraries and versions that do the work."""

    @abstractmethod
    def encode(self, image: Image.Image, value: float) -> bytes:
        """The complete file of an RGB `image` at knob setting `value`."""

    @abstractmethod
    def decode(self, data: bytes) -> Image.Image:
        """The RGB picture in a file that `encode` made."""

    def load(self, value: float) -> None:
        """Load what the calls at setting `value` need, so that no timed call does."""
        return None

    def identity(self) -> str:
        """Text that changes whenever results may change; finished cells are reused while it does not."""
        return f"{self.version()}; {self.note}"


def need(module: str, package: str, codec: str) -> None:
    """Raise CodecMissing unless `module` imports."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise CodecMissing(f"{codec}: {package} is not installed; pip install {package}") from error


def release(package: str) -> str:
    """Name and version of an installed package, e.g. "pillow 13.0.0"."""
    return f"{package} {importlib.metadata.version(package)}"
