"""Training pictures: tar shards (WebDataset layout) and plain folders, cropped at random.

What a step sees is a pure function of (seed, step), so a resumed run continues exactly where the
stopped one would have, without any saved position.
"""

from __future__ import annotations

import io
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from dqcodec.errors import DataError
from dqcodec.training.config import DataConfig

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif"}


class Pictures:
    """All pictures below some folders, tar shards opened. Decoded pictures stay in memory up to
    `cache_bytes`; past that they are decoded again at each use."""

    def __init__(self, folders: list[Path], cache_bytes: int = 6 << 30):
        self._encoded: list[bytes | Path] = []
        self._names: list[str] = []
        for folder in folders:
            self._scan(Path(folder))
        if not self._encoded:
            names = ", ".join(str(f) for f in folders)
            raise DataError(f"{names}: no pictures and no .tar shards of pictures there")
        self._decoded: dict[int, np.ndarray] = {}
        self._room = cache_bytes

    def _scan(self, folder: Path) -> None:
        if not folder.exists():
            raise DataError(f"{folder}: no such folder of training pictures")
        files = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.is_file())
        for path in files:
            if path.suffix.lower() == ".tar":
                with tarfile.open(path) as shard:
                    for member in shard:
                        if member.isfile() and Path(member.name).suffix.lower() in SUFFIXES:
                            self._encoded.append(shard.extractfile(member).read())
                            self._names.append(member.name)
            elif path.suffix.lower() in SUFFIXES:
                self._encoded.append(path)
                self._names.append(path.name)

    def __len__(self) -> int:
        return len(self._encoded)

    def name(self, index: int) -> str:
        """File name of picture `index`."""
        return self._names[index]

    def __getitem__(self, index: int) -> np.ndarray:
        """Picture `index` as (H, W, 3) uint8."""
        if index in self._decoded:
            return self._decoded[index]
        source = self._encoded[index]
        try:
            image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
            pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except Exception as error:
            name = source if isinstance(source, Path) else f"picture {index} of a shard"
            raise DataError(f"{name}: not readable as a picture ({error}); remove it from the data") from error
        if self._room > pixels.nbytes:
            self._room -= pixels.nbytes
            self._decoded[index] = pixels
        return pixels


def augmented_crop(picture: np.ndarray, config: DataConfig, rng: np.random.Generator) -> np.ndarray:
    """A crop (crop, crop, 3) uint8 of `picture`, at random place, scale, flip, sometimes grey or darker."""
    height, width = picture.shape[:2]
    smallest = min(height, width)
    scale = rng.uniform(config.min_scale, 1.0) if rng.random() < 0.7 else 1.0
    side = min(round(config.crop / scale), smallest)
    top = int(rng.integers(height - side + 1))
    left = int(rng.integers(width - side + 1))
    crop = picture[top : top + side, left : left + side]
    if side != config.crop:
        resized = Image.fromarray(crop).resize((config.crop, config.crop), Image.Resampling.LANCZOS)
        crop = np.asarray(resized)
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    if rng.random() < config.grey:
        crop = np.asarray(Image.fromarray(np.ascontiguousarray(crop)).convert("L").convert("RGB"))
    if rng.random() < 0.1:  # few night and high-key pictures in the data
        gamma = float(np.exp(rng.uniform(-0.7, 0.7)))
        table = (255 * (np.arange(256) / 255) ** gamma).round().astype(np.uint8)
        crop = table[crop]
    return crop


class Batches:
    """Batches by step number, prepared one ahead by threads.

    rank / world: this process and the number of processes; each gets its own crops.
    """

    def __init__(self, pictures: Pictures, config: DataConfig, seed: int, rank: int = 0, world: int = 1):
        self.pictures, self.config, self.seed = pictures, config, seed
        self.rank, self.world = rank, world
        self._pool = ThreadPoolExecutor(max(1, config.workers))
        self._ahead: dict[int, list] = {}

    def _sample(self, step: int, slot: int) -> np.ndarray:
        rng = np.random.Generator(np.random.Philox(key=[self.seed, step * 65536 + slot]))
        picture = self.pictures[int(rng.integers(len(self.pictures)))]
        return augmented_crop(picture, self.config, rng)

    def _submit(self, step: int) -> None:
        if step not in self._ahead:
            first = self.rank * self.config.batch
            self._ahead[step] = [
                self._pool.submit(self._sample, step, first + i) for i in range(self.config.batch)
            ]

    def __call__(self, step: int) -> torch.Tensor:
        """Batch (B, 3, crop, crop) float32 in [-1, 1] of `step`."""
        self._submit(step)
        self._submit(step + 1)
        crops = np.stack([f.result() for f in self._ahead.pop(step)])
        return torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
