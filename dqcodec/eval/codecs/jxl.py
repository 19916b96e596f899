"""JPEG XL by libjxl in imagecodecs."""

from __future__ import annotations

import numpy as np
from PIL import Image

from dqcodec.eval.codecs.base import Codec, Knob, need, release


class JpegXL(Codec):
    """Swept by Butteraugli distance; 25 is libjxl's largest, so its rates have a floor."""

    name, family, label, suffix = "jxl", "jxl", "JPEG XL", ".jxl"
    knob = Knob("d", 0.2, 25, 0.2, rising=False)
    sweep = (25, 15, 10, 7, 4.6, 3, 2)
    note = "libjxl, effort 7, one thread"

    def check(self) -> None:
        need("imagecodecs", "imagecodecs", self.name)

    def version(self) -> str:
        import imagecodecs

        return f"{release('imagecodecs')}, {imagecodecs.jpegxl_version()}"

    def encode(self, image: Image.Image, value: float) -> bytes:
        import imagecodecs

        return imagecodecs.jpegxl_encode(np.asarray(image), distance=value, effort=7, numthreads=1)

    def decode(self, data: bytes) -> Image.Image:
        import imagecodecs

        return Image.fromarray(imagecodecs.jpegxl_decode(data, numthreads=1))
