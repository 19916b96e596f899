"""HEIC: HEVC intra by x265 in pillow-heif."""

from __future__ import annotations

import io

from PIL import Image

from dqcodec.eval.codecs.base import Codec, Knob, need, release


class Heic(Codec):
    name, family, label, suffix = "heic", "heic", "HEIC (x265)", ".heic"
    knob = Knob("q", 0, 100)
    sweep = (2, 6, 13, 20, 30, 40, 50)
    note = "x265 in its default preset, 4:2:0; x265 chooses its number of threads"

    def check(self) -> None:
        need("pillow_heif", "pillow-heif", self.name)

    def version(self) -> str:
        import pillow_heif

        info = pillow_heif.libheif_info()
        return f"{release('pillow-heif')}, libheif {info['libheif']}, {info['HEIF']}"

    def encode(self, image: Image.Image, value: float) -> bytes:
        import pillow_heif

        buffer = io.BytesIO()
        pillow_heif.from_pillow(image).save(buffer, quality=int(value))
        return buffer.getvalue()

    def decode(self, data: bytes) -> Image.Image:
        import pillow_heif

        return pillow_heif.open_heif(data).to_pillow().convert("RGB")
