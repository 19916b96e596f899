"""Tokens of training pictures, from a frozen DQ-VAE, kept on disk: they do not change while a prior trains.

A region's codes do not depend on the levels around it (models/ladder.py), so a picture is encoded once,
with all codes of all steps, and any budget is drawn from that later.
"""

from __future__ import annotations

import json
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

from dqcodec.bitstream.tokens import ABSENT, Ladder, Tokens
from dqcodec.errors import DataError
from dqcodec.models.allocation import levels_for_bits
from dqcodec.networks import analyse
from dqcodec.training.data import Pictures
from dqcodec.weights.model_file import Model
from dqcodec.weights.registry import read_header

T = TypeVar("T")
_LABELLED = re.compile(r"(\d+)_\d+$")
SHORTEST, LONGEST = 1.0, 0.7  # range of budgets: levels' bits, and this share of the highest level's


@dataclass(frozen=True)
class Encoded:
    """All codes of one picture. codes: per step (rows * side, cols * side) uint16; distortion (L, rows, cols)."""

    codes: list[np.ndarray]
    distortion: np.ndarray
    label: int


class TokenCache:
    """Encoded pictures, all of one model, named by its fingerprint (hex).

    label 0 is "no class", label i + 1 is class i.
    """

    def __init__(self, arrays: dict[str, np.ndarray], ladder: Ladder, classes: tuple[str, ...], fingerprint: str):
        self.ladder, self.classes, self.fingerprint = ladder, classes, fingerprint
        self._arrays = arrays
        self._size, self._label = arrays["size"], arrays["label"]  # (N, 2) regions, (N,)
        regions = np.concatenate([[0], np.cumsum(self._size.prod(1))])
        self._offset = regions
        bits = np.cumsum([ladder.side(s) ** 2 * np.log2(k) for s, k in enumerate(ladder.codebook_sizes)])
        self._bits = torch.from_numpy(bits.astype(np.float32))

    def __len__(self) -> int:
        return len(self._size)

    def __getitem__(self, i: int) -> Encoded:
        rows, cols = self._size[i]
        a, b = self._offset[i], self._offset[i + 1]
        codes = []
        for s in range(len(self.ladder)):
            side = self.ladder.side(s)
            cells = self._arrays[f"codes.{s}"][a * side * side : b * side * side]
            codes.append(cells.reshape(rows * side, cols * side))
        distortion = self._arrays["distortion"][a:b].T.reshape(-1, rows, cols)
        return Encoded(codes, distortion, int(self._label[i]))

    def window(self, i: int, top: int, left: int, rows: int, cols: int) -> Encoded:
        """Regions top.., left.. of picture i, at most rows x cols of them."""
        whole = self[i]
        codes = []
        for s, grid in enumerate(whole.codes):
            side = self.ladder.side(s)
            codes.append(grid[top * side : (top + rows) * side, left * side : (left + cols) * side])
        return Encoded(codes, whole.distortion[:, top : top + rows, left : left + cols], whole.label)

    def tokens(self, encoded: Encoded, share: float, noise: np.ndarray | None = None) -> Tokens:
        """Tokens at a budget: share 0 is the coarsest, 1 the finest, geometric between.

        noise: (rows, cols) factors on the predicted distortions.
        """
        d = torch.from_numpy(encoded.distortion.astype(np.float32))
        if noise is not None:
            d = d * torch.from_numpy(noise.astype(np.float32))
        rows, cols = d.shape[1:]
        low, high = float(self._bits[0]), float(self._bits[-1])
        budget = torch.tensor([low * (high / low) ** share * rows * cols])
        levels = levels_for_bits(d[None], self._bits, budget)[0].numpy().astype(np.uint8)
        codes = []
        for s, grid in enumerate(encoded.codes):
            side = self.ladder.side(s)
            present = np.repeat(np.repeat(levels >= s, side, 0), side, 1)
            codes.append(np.where(present, grid.astype(np.int32), ABSENT))
        return Tokens(cols * self.ladder.region, rows * self.ladder.region, levels, tuple(codes))


@dataclass(frozen=True)
class Views:
    """How often a picture is encoded. mirror: its mirror image too. scales: sizes, for pictures without a label."""

    mirror: bool = False
    scales: tuple[float, ...] = (1.0,)

    def of(self, pixels: np.ndarray, label: int) -> Iterator[np.ndarray]:
        """Views (h, w, 3) uint8 of a picture (H, W, 3) uint8, contiguous."""
        for scale in (1.0,) if label else self.scales:
            view = pixels
            if scale != 1:
                size = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
                view = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
            yield np.ascontiguousarray(view)
            if self.mirror:
                yield np.ascontiguousarray(view[:, ::-1])


def encode(model: Path, data: list[Path], views: Views, progress=lambda done, total: None,
           device: torch.device | str = "cpu") -> TokenCache:
    """Encode all pictures of `data`, in all their views, with the model file `model`."""
    loaded = Model.read(model)
    if not loaded.encodes:
        raise DataError(f"{model}: a superseded model that only decodes; its codes cannot be made any more")
    pictures = Pictures(data, cache_bytes=0)
    classes = _classes(data)
    ladder = loaded.config.ladder
    codes: list[list[np.ndarray]] = [[] for _ in ladder.factors]
    distortion, size, labels = [], [], []
    vae = loaded.vae.to(device)

    def prepared(i: int) -> tuple[int, list[np.ndarray]]:
        match = _LABELLED.search(Path(pictures.name(i)).stem) if classes else None
        label = int(match[1]) + 1 if match and int(match[1]) < len(classes) else 0
        return label, list(views.of(pictures[i], label))

    for i, (label, pixels) in enumerate(_ahead(prepared, len(pictures))):
        for view in pixels:
            found = analyse(vae, view, torch.device(device))
            for s, grid in enumerate(found.codes):
                codes[s].append(grid.astype(np.uint16).reshape(-1))
            count, rows, cols = found.distortion.shape
            distortion.append(found.distortion.reshape(count, -1).T.astype(np.float32))
            size.append((rows, cols))
            labels.append(label)
        progress(i + 1, len(pictures))
    arrays = {f"codes.{s}": np.concatenate(c) for s, c in enumerate(codes)}
    arrays |= {"distortion": np.concatenate(distortion), "size": np.array(size), "label": np.array(labels)}
    return TokenCache(arrays, ladder, classes, loaded.tables.fingerprint.hex())


def _ahead(function: Callable[[int], T], count: int) -> Iterator[T]:
    """function(0), function(1), ... function(count - 1), some of them computed ahead by threads."""
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque(pool.submit(function, i) for i in range(min(2 * threads, count)))
        for i in range(len(waiting), count + len(waiting)):
            yield waiting.popleft().result()
            if i < count:
                waiting.append(pool.submit(function, i))


def _classes(data: list[Path]) -> tuple[str, ...]:
    """Class names of the first folder with a classes.json (a list, or a mapping from index to name)."""
    for folder in data:
        path = folder / "classes.json"
        if path.exists():
            names = json.loads(path.read_text())
            return tuple(names[str(i)] for i in range(len(names))) if isinstance(names, dict) else tuple(names)
    return ()


def load_or_encode(path: Path, model: Path, data: list[Path], views: Views, progress=lambda d, t: None,
                   device: torch.device | str = "cpu") -> TokenCache:
    """The cache file `path`, made now if it is not there. Raises DataError if another model made it."""
    fingerprint = read_header(model)["fingerprint"]
    if not path.exists():
        cache = encode(model, data, views, progress, device)
        path.parent.mkdir(parents=True, exist_ok=True)
        note = {"fingerprint": fingerprint, "classes": json.dumps(cache.classes)}
        temporary = path.with_suffix(".part")
        # safetensors writes memory as it lies: columns first would come back as rows.
        save_file({k: np.ascontiguousarray(v) for k, v in cache._arrays.items()}, temporary, note)
        os.replace(temporary, path)
        return cache
    cache = read_cache(path, Model.read(model).config.ladder)
    if cache.fingerprint != fingerprint:
        raise DataError(f"{path}: tokens of model {cache.fingerprint}, not {fingerprint}: remove the file")
    return cache


def read_cache(path: Path, ladder: Ladder) -> TokenCache:
    """The cache file `path`, of a model with this ladder."""
    header = read_header(path)
    return TokenCache(load_file(path), ladder, tuple(json.loads(header["classes"])), header["fingerprint"])
