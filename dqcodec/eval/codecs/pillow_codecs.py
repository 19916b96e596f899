"""The codecs that come with Pillow: JPEG, WebP, AVIF, JPEG 2000."""

from __future__ import annotations

import io
from abc import abstractmethod

from PIL import Image, features

from dqcodec.eval.codecs.base import Codec, CodecMissing, Knob, release


class PillowCodec(Codec):
    """A format that Pillow writes. pillow_format: its name there; feature: its entry in PIL.features."""

    pillow_format: str
    feature: str

    @property
    def family(self) -> str:
        return self.name

    def check(self) -> None:
        if not features.check(self.feature):
            raise CodecMissing(f"{self.name}: this Pillow was built without {self.feature}; "
                               "pip install --upgrade --force-reinstall 'pillow>=11.3'")

    def version(self) -> str:
        return f"{release('pillow')}, {self.feature} {features.version(self.feature)}"

    @abstractmethod
    def options(self, value: float) -> dict:
        """Pillow's save options at knob setting `value`."""

    def encode(self, image: Image.Image, value: float) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, self.pillow_format, **self.options(value))
        return buffer.getvalue()

    def decode(self, data: bytes) -> Image.Image:
        return Image.open(io.BytesIO(data), formats=(self.pillow_format,)).convert("RGB")


class Jpeg(PillowCodec):
    name, label, suffix = "jpeg", "JPEG", ".jpg"
    pillow_format, feature = "JPEG", "jpg"
    knob = Knob("q", 1, 95)
    sweep = (2, 5, 10, 18, 30, 50, 70)
    note = "libjpeg-turbo, progressive, 4:2:0"

    def options(self, value: float) -> dict:
        return {"quality": int(value), "progressive": True, "subsampling": "4:2:0"}

    def version(self) -> str:
        return f"{release('pillow')}, libjpeg-turbo {features.version('libjpeg_turbo')}"


class WebP(PillowCodec):
    name, label, suffix = "webp", "WebP", ".webp"
    pillow_format, feature = "WEBP", "webp"
    knob = Knob("q", 0, 100)
    sweep = (0, 5, 12, 25, 40, 60, 78)
    note = "libwebp, method 6"

    def options(self, value: float) -> dict:
        return {"quality": int(value), "method": 6}


class Avif(PillowCodec):
    name, label, suffix = "avif", "AVIF", ".avif"
    pillow_format, feature = "AVIF", "avif"
    knob = Knob("q", 0, 100)
    sweep = (2, 6, 12, 18, 28, 40, 50, 60)
    note = "libavif, speed 4, 4:2:0, one thread"

    def options(self, value: float) -> dict:
        return {"quality": int(value), "speed": 4, "subsampling": "4:2:0", "max_threads": 1}


class Jpeg2000(PillowCodec):
    """Swept by compression ratio against 24 bits per pixel."""

    name, label, suffix = "jpeg2000", "JPEG 2000", ".jp2"
    pillow_format, feature = "JPEG2000", "jpg_2000"
    knob = Knob("r", 8, 1000, rising=False)
    sweep = (480, 240, 160, 100, 60, 40, 24)
    note = "OpenJPEG, 9/7 wavelet, file of a given compression ratio"

    def options(self, value: float) -> dict:
        return {"quality_mode": "rates", "quality_layers": [value], "irreversible": True}
