"""CompressAI's model zoo: every model whose weights the user already has."""

from __future__ import annotations

import os
import struct
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from dqcodec.eval.codecs.base import Codec, Knob, need, release
from dqcodec.torchvision_fix import import_torchvision

PREFIX = struct.Struct("<HHHHB")  # width, height, latent rows, latent columns, number of strings
LENGTH = struct.Struct("<I")
STRIDE = 64


class ZooModel(Codec):
    """One architecture of the zoo at one training metric; the knob is the quality index.

    The file is a header of 9 bytes, then each entropy-coded string after its 4-byte length:
    CompressAI defines no file format.
    """

    family, suffix = "compressai", ".cai"
    note = "CompressAI, padded to multiples of 64, header of 9 bytes and 4 bytes for each string"

    def __init__(self, architecture: str, metric: str, files: dict[int, Path]):
        """files: weight file of each quality index at hand."""
        self.architecture, self.metric, self.files = architecture, metric, files
        self.name = f"compressai-{architecture}" + ("" if metric == "mse" else f"-{metric}")
        self.label = f"{architecture} ({metric})"
        self.sweep = tuple(float(q) for q in sorted(files))
        self.knob = Knob("q", min(self.sweep), max(self.sweep))

    def check(self) -> None:
        import_torchvision()
        need("compressai", "compressai", self.name)

    def version(self) -> str:
        return f"{release('compressai')}, {', '.join(self.files[q].name for q in sorted(self.files))}"

    def load(self, value: float) -> None:
        self._network(value)

    def encode(self, image: Image.Image, value: float) -> bytes:
        import torch

        pixels = torch.from_numpy(np.asarray(image.convert("RGB")).copy())  # (H, W, 3)
        x = pixels.permute(2, 0, 1)[None] / 255  # (1, 3, H, W)
        pad = (0, -image.width % STRIDE, 0, -image.height % STRIDE)
        with torch.inference_mode():
            out = self._network(value).compress(torch.nn.functional.pad(x, pad, mode="replicate"))
        strings = [group[0] for group in out["strings"]]
        head = PREFIX.pack(image.width, image.height, *out["shape"], len(strings))
        return head + b"".join(LENGTH.pack(len(s)) + s for s in strings) + bytes([int(value)])

    def decode(self, data: bytes) -> Image.Image:
        import torch

        width, height, rows, columns, count = PREFIX.unpack_from(data)
        offset, strings = PREFIX.size, []
        for _ in range(count):
            (length,) = LENGTH.unpack_from(data, offset)
            offset += LENGTH.size
            strings.append([data[offset:offset + length]])
            offset += length
        with torch.inference_mode():
            x = self._network(data[offset]).decompress(strings, (rows, columns))["x_hat"]  # (1, 3, H', W')
        x = x[0, :, :height, :width].clamp(0, 1).mul(255).round().byte()
        return Image.fromarray(x.permute(1, 2, 0).numpy().copy())

    def _network(self, quality: float):
        return _load(self.architecture, self.files[int(quality)])


@lru_cache(maxsize=8)
def _load(architecture: str, path: Path):
    import_torchvision()
    import torch
    from compressai.zoo.image import model_architectures
    from compressai.zoo.pretrained import load_pretrained

    state = load_pretrained(torch.load(path, map_location="cpu", weights_only=True))
    network = model_architectures[architecture].from_state_dict(state).eval()
    network.update()
    return network


def all_models(folder: Path | None) -> list[ZooModel]:
    """A codec for every zoo model of which `folder` or torch's download cache holds weight files,
    under the names that the zoo gives them. Empty without compressai or without such files."""
    cache = Path(os.environ.get("TORCH_HOME", Path.home() / ".cache" / "torch")) / "hub" / "checkpoints"
    present = {p.name: p for place in (cache, folder) if place for p in place.glob("*.pth.tar")}
    if not present:
        return []
    import_torchvision()
    from compressai.zoo.image import model_urls

    found = []
    for architecture, metrics in model_urls.items():
        for metric, urls in metrics.items():
            names = {quality: url.rsplit("/", 1)[-1] for quality, url in urls.items()}
            files = {quality: present[name] for quality, name in names.items() if name in present}
            if files:
                found.append(ZooModel(architecture, metric, files))
    return found
