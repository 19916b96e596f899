"""Tokens of training pictures, from a frozen DQ-VAE, kept on disk: they do not change while a prior trains.

They are what files hold: codes corrected for what the decoder makes of them (dqcodec/feedback.py), which depends on
the budget. Each view of a picture is therefore encoded for one budget, with all codes of all steps; budgets near it
can be drawn from that later.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

from dqcodec import feedback
from dqcodec.bitstream.tokens import ABSENT, Ladder, Tokens
from dqcodec.errors import DataError
from dqcodec.models.allocation import levels_for_bits
from dqcodec.networks import analyse
from dqcodec.training.data import Pictures
from dqcodec.weights.model_file import Model
from dqcodec.weights.registry import read_header

T = TypeVar("T")
_LABELLED = re.compile(r"(\d+)_\d+$")
RANDOM_SHARES = (-0.05, 0.9)  # below 0: all regions at the coarsest level, as often as that happens to files


@dataclass(frozen=True)
class Encoded:
    """All codes of one picture. codes: per step (rows * side, cols * side) uint16; distortion (L, rows, cols);
    share: the budget (`levels_at`) that the codes are corrected for."""

    codes: list[np.ndarray]
    distortion: np.ndarray
    label: int
    share: float


class TokenCache:
    """Encoded pictures, all of one model, named by its fingerprint (hex).

    label 0 is "no class", label i + 1 is class i.
    """

    def __init__(self, arrays: dict[str, np.ndarray], ladder: Ladder, classes: tuple[str, ...], fingerprint: str):
        self.ladder, self.classes, self.fingerprint = ladder, classes, fingerprint
        self._arrays = arrays
        self._size, self._label, self._share = arrays["size"], arrays["label"], arrays["share"]  # (N, 2) regions, (N,)
        regions = np.concatenate([[0], np.cumsum(self._size.prod(1))])
        self._offset = regions

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
        return Encoded(codes, distortion, int(self._label[i]), float(self._share[i]))

    def window(self, i: int, top: int, left: int, rows: int, cols: int) -> Encoded:
        """Regions top.., left.. of picture i, at most rows x cols of them."""
        whole = self[i]
        codes = []
        for s, grid in enumerate(whole.codes):
            side = self.ladder.side(s)
            codes.append(grid[top * side : (top + rows) * side, left * side : (left + cols) * side])
        distortion = whole.distortion[:, top : top + rows, left : left + cols]
        return replace(whole, codes=codes, distortion=distortion)

    def tokens(self, encoded: Encoded, noise: np.ndarray | None = None, nudge: float = 0.0) -> Tokens:
        """Tokens at the budget that the codes are corrected for, or near it.

        noise: (rows, cols) factors on the predicted distortions. nudge: added to the share.
        """
        distortion = encoded.distortion if noise is None else encoded.distortion * noise
        levels = levels_at(self.ladder, distortion, float(np.clip(encoded.share + nudge, 0, 1)))
        rows, cols = levels.shape
        codes = []
        for s, grid in enumerate(encoded.codes):
            side = self.ladder.side(s)
            present = np.repeat(np.repeat(levels >= s, side, 0), side, 1)
            codes.append(np.where(present, grid.astype(np.int32), ABSENT))
        return Tokens(cols * self.ladder.region, rows * self.ladder.region, levels, tuple(codes))


def levels_at(ladder: Ladder, distortion: np.ndarray, share: float) -> np.ndarray:
    """Levels (rows, cols) uint8 for predicted distortions (L, rows, cols) at a budget: share 0 is the coarsest, 1 the
    finest, geometric between."""
    bits = np.cumsum([ladder.side(s) ** 2 * np.log2(k) for s, k in enumerate(ladder.codebook_sizes)])
    budget = torch.tensor([bits[0] * (bits[-1] / bits[0]) ** share * distortion[0].size])
    d = torch.from_numpy(distortion.astype(np.float32))[None]
    levels = levels_for_bits(d, torch.from_numpy(bits.astype(np.float32)), budget.float())
    return levels[0].numpy().astype(np.uint8)


@dataclass(frozen=True)
class Views:
    """Which pictures are encoded, and how often. mirror: its mirror image too. scales: sizes, for pictures without a
    label. shares: budgets (`levels_at`), each a view; without, each view gets one at random in `RANDOM_SHARES`.
    part: of each folder's pictures, drawn at random, 0..1."""

    mirror: bool = False
    scales: tuple[float, ...] = (1.0,)
    shares: tuple[float, ...] = ()
    part: float = 1.0

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

    def chosen(self, count: int) -> np.ndarray:
        """Which of a folder's `count` pictures, (n,) int64 in order; a larger part has those of a smaller one."""
        return np.sort(np.random.default_rng(7).permutation(count)[: math.ceil(self.part * count)])


def encode(model: Path, data: list[Path], views: Views, progress=lambda done, total: None,
           device: torch.device | str = "cpu") -> TokenCache:
    """Encode pictures of `data`, those and in the views that `views` says, with the model file `model`."""
    loaded = Model.read(model)
    if not loaded.encodes:
        raise DataError(f"{model}: a superseded model that only decodes; its codes cannot be made any more")
    folders = [Pictures([folder], cache_bytes=0) for folder in data]
    chosen = [(pictures, int(i)) for pictures in folders for i in views.chosen(len(pictures))]
    classes = _classes(data)
    ladder = loaded.config.ladder
    codes: list[list[np.ndarray]] = [[] for _ in ladder.factors]
    distortion, size, labels, used = [], [], [], []
    vae, where = loaded.vae.to(device), torch.device(device)
    rng = np.random.default_rng(0)

    def prepared(number: int) -> tuple[int, list[np.ndarray]]:
        pictures, i = chosen[number]
        match = _LABELLED.search(Path(pictures.name(i)).stem) if classes else None
        label = int(match[1]) + 1 if match and int(match[1]) < len(classes) else 0
        return label, list(views.of(pictures[i], label))

    for i, (label, pixels) in enumerate(_ahead(prepared, len(chosen))):
        for view in pixels:
            found = analyse(vae, view, where)
            count, rows, cols = found.distortion.shape
            for share in views.shares or (float(np.clip(rng.uniform(*RANDOM_SHARES), 0, 1)),):
                levels = levels_at(ladder, found.distortion, share)
                corrected = feedback.corrected(vae, view, found, levels, where, *feedback.FAST)
                for s, grid in enumerate(corrected.codes):
                    codes[s].append(grid.astype(np.uint16).reshape(-1))
                distortion.append(found.distortion.reshape(count, -1).T.astype(np.float32))
                size.append((rows, cols))
                labels.append(label)
                used.append(share)
        progress(i + 1, len(chosen))
    arrays = {f"codes.{s}": np.concatenate(c) for s, c in enumerate(codes)}
    arrays |= {"distortion": np.concatenate(distortion), "size": np.array(size), "label": np.array(labels),
               "share": np.array(used)}
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
    header, arrays = read_header(path), load_file(path)
    if "share" not in arrays:
        raise DataError(f"{path}: tokens of an earlier version, not corrected as those of files are: remove the file")
    return TokenCache(arrays, ladder, tuple(json.loads(header["classes"])), header["fingerprint"])
