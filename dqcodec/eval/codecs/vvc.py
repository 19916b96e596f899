"""VVC intra by libvvenc, from the static ffmpeg that imageio-ffmpeg carries."""

from __future__ import annotations

import struct
import subprocess

import numpy as np
from PIL import Image

from dqcodec.errors import DataError
from dqcodec.eval.codecs.base import Codec, CodecMissing, Knob, need, release

# The same filter both ways, or the picture shifts: 4:2:0, 10 bits, BT.709, full range.
SCALE = "flags=lanczos+accurate_rnd+full_chroma_int"
SIZE = struct.Struct("<HH")
MULTIPLE = 8


class Vvc(Codec):
    """Swept by QP. The file is 4 bytes of width and height and then the raw stream, no container:
    about 300 bytes less than the same picture would need in a HEIF box."""

    name, family, label, suffix = "vvc", "vvc", "VVC (vvenc)", ".vvc"
    knob = Knob("qp", 0, 63, rising=False)
    sweep = (52, 47, 43, 39, 35, 31)
    note = ("vvenc, preset slower, no perceptual QP adaptation, one thread; raw stream without a "
            "container; times include starting ffmpeg")

    def check(self) -> None:
        need("imageio_ffmpeg", "imageio-ffmpeg", self.name)
        listed = _run("-hide_banner", "-encoders").decode(errors="replace")
        if "libvvenc" not in listed:
            raise CodecMissing(
                f"{self.name}: this ffmpeg has no libvvenc; pip install 'imageio-ffmpeg>=0.8.1'")

    def version(self) -> str:
        banner = _run("-version").decode(errors="replace").splitlines()[0]
        return f"{release('imageio-ffmpeg')}, {' '.join(banner.split()[:3])}"

    def encode(self, image: Image.Image, value: float) -> bytes:
        pixels = np.asarray(image.convert("RGB"))  # (H, W, 3)
        height, width = pixels.shape[:2]
        pixels = np.pad(pixels, ((0, -height % MULTIPLE), (0, -width % MULTIPLE), (0, 0)), mode="edge")
        stream = _run(
            "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{pixels.shape[1]}x{pixels.shape[0]}", "-i", "-",
            "-threads", "1", "-frames:v", "1",
            "-vf", f"scale=out_color_matrix=bt709:out_range=full:{SCALE},format=yuv420p10le",
            "-c:v", "libvvenc", "-qp", str(int(value)), "-preset", "slower", "-qpa", "0",
            "-vvenc-params", "intraperiod=1:refreshsec=0", "-f", "vvc", "-", data=pixels.tobytes(),
        )
        return SIZE.pack(width, height) + stream

    def decode(self, data: bytes) -> Image.Image:
        width, height = SIZE.unpack_from(data)
        raw = _run(
            "-threads", "1", "-f", "vvc", "-i", "-",
            "-vf", f"scale=in_color_matrix=bt709:in_range=full:{SCALE},format=rgb24",
            "-f", "rawvideo", "-", data=data[SIZE.size:],
        )
        padded = np.frombuffer(raw, np.uint8).reshape(
            height + -height % MULTIPLE, width + -width % MULTIPLE, 3)
        return Image.fromarray(padded[:height, :width].copy())


def _run(*arguments: str, data: bytes = b"") -> bytes:
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", *arguments]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    if done.returncode or not done.stdout:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no output"]
        raise DataError(f"vvc: ffmpeg failed: {lines[-1]}")
    return done.stdout
