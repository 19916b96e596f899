"""dqcodec itself: one entry for each model that is shipped or found, at any setting of its realism."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from dqcodec.codec import EFFORTS
from dqcodec.errors import DataError, RateError
from dqcodec.eval.codecs.base import Codec, CodecMissing, Knob
from dqcodec.version import __version__

PROBE_RATES = (0.05, 0.3, 0.9)  # bpp: with a soft picture reduced, as it is, and with detail


class DqCodec(Codec):
    """Swept by rate. Where a picture cannot reach the rate asked for, the nearest end of the
    model's range is used; the bits per pixel are those of the file in any case."""

    family, suffix = "dqcodec", ".dq"
    knob = Knob("bpp", 0.01, 2, 0.001, is_rate=True)
    sweep = (0.04, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4)
    note = "every file just below the rate asked for"

    def __init__(self, model: str, realism: float | None = None, effort: str = "fast", weights: Path | None = None):
        """model: a name of dqcodec.weights.available(). realism: of the decoder, None for the model's own setting.
        effort: of the encoder. weights: folder of metric_weights.find, for the effort "search"."""
        self.model, self.realism, self.effort, self.weights, self._loaded = model, realism, effort, weights, False
        self.name = "dqcodec" if model == "default" else f"dqcodec-{model}"
        self.label = "dqcodec" if model == "default" else f"dqcodec ({model})"
        if effort != "fast":
            self.name, self.label = f"{self.name}+{effort}", f"{self.label}, effort {effort}"
        if realism is not None:
            self.name, self.label = f"{self.name}@{realism:g}", f"{self.label}, realism {realism:g}"

    @classmethod
    def named(cls, name: str, weights: Path | None = None) -> DqCodec:
        """The codec "dqcodec[-MODEL][+EFFORT][@REALISM]"; raises DataError if there is no such effort or the realism
        is no number in 0..1."""
        model, at, realism = name.partition("@")
        model, _, effort = model.partition("+")
        effort = effort or EFFORTS[0]
        if effort not in EFFORTS:
            raise DataError(f"codec {name!r}: {effort!r} is no effort; give one of {', '.join(EFFORTS)} after the +")
        try:
            value = float(realism) if at else None
        except ValueError:
            value = -1.0
        if value is not None and not 0 <= value <= 1:
            raise DataError(f"codec {name!r}: {realism!r} is no realism; give a number in 0..1 after the @")
        return cls(model.removeprefix("dqcodec").removeprefix("-") or "default", value, effort, weights)

    def check(self) -> None:
        from dqcodec import weights

        if self.model not in weights.available():
            raise CodecMissing(f"{self.name}: no model {self.model!r}; there are: "
                               f"{', '.join(weights.available()) or 'none'}")
        if self.realism is not None and weights.load(self.model).dial is None:
            raise CodecMissing(f"{self.name}: model {self.model} has one decoder and no realism to choose")

    def version(self) -> str:
        from dqcodec import weights

        return f"dqcodec {__version__}, model {self.model} {weights.load(self.model).fingerprint.hex()}"

    def load(self, value: float) -> None:
        if not self._loaded:
            self._probe()
            self._loaded = True

    def identity(self) -> str:
        """Version and a hash of what a small picture becomes: a new encoder or decoder keeps the fingerprint of
        the format, and must not keep old results."""
        return f"{self.version()}, probe {hashlib.sha256(self._probe()).hexdigest()[:16]}"

    def _probe(self) -> bytes:
        """Files and pixels of a small synthetic picture, smooth on the left and busy on the right, and of its busy part
        enlarged, which is soft."""
        y, x = np.mgrid[0:192, 0:288]
        waves = 120 + 60 * np.sin(x / 19 + y / 31) * np.cos(y / 23)
        busy = (x * y // 7) % 97 * (x > 180)
        image = Image.fromarray(np.stack([waves, waves + busy, 200 - waves / 2], axis=-1).astype(np.uint8))
        soft = image.crop((168, 0, 288, 96)).resize((240, 192), Image.Resampling.BICUBIC)
        found = b""
        for bpp in PROBE_RATES:
            for picture in (image, soft):
                data = self.encode(picture, bpp)
                found += data + self.decode(data).tobytes()
        return found

    def encode(self, image: Image.Image, value: float) -> bytes:
        import dqcodec

        how = {"model": self.model, "effort": self.effort, "metric_weights": self.weights}
        try:
            return dqcodec.compress(image, bpp=value, **how)
        except RateError:
            largest = dqcodec.compress(image, quality=100, **how)
            if len(largest) * 8 <= value * image.width * image.height:
                return largest
            return dqcodec.compress(image, quality=1, **how)

    def decode(self, data: bytes) -> Image.Image:
        import dqcodec

        # By name: models that differ in the decoder alone share a fingerprint.
        return dqcodec.decompress(data, model=self.model, realism=self.realism).convert("RGB")


def all_models() -> list[DqCodec]:
    """A codec for every model at hand, "default" first, but for those that are kept for old files only."""
    from dqcodec.weights import registry

    return [DqCodec(model) for model in registry.available() if model not in registry.FOR_OLD_FILES]
