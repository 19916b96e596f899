"""Grain maps and codes of training pictures, from a frozen paper DQ-VAE, kept on disk.

Here a region's codes depend on its grain, so a view of a picture has one grain map, as in the paper. About
2.3 kB a view of 256x256.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

from dqcodec.errors import DataError
from dqcodec.models.paper.config import PaperConfig
from dqcodec.models.paper.dqvae import PaperCodes, PaperDQVAE
from dqcodec.prior.paper.config import PaperPriorConfig
from dqcodec.prior.paper.network import PaperDQTransformer
from dqcodec.training.data import Pictures
from dqcodec.training.token_cache import _LABELLED, _classes
from dqcodec.weights.registry import read_header

BATCH = 16  # views that the DQ-VAE encodes at once


@dataclass(frozen=True)
class PaperTokens:
    """Views of pictures. levels: (n, rows, cols) uint8. indices: (n, Hf, Wf) uint16 on the finest grid.

    label: (n,) int64, 0 for "no class", i + 1 for class i.
    """

    levels: np.ndarray
    indices: np.ndarray
    label: np.ndarray
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.label)

    def codes(self, views: np.ndarray) -> PaperCodes:
        """Codes of the views (b,)."""
        parts = (torch.from_numpy(part[views].astype(np.int64)) for part in (self.levels, self.indices))
        return PaperCodes(*parts)


def _checkpoint(path: Path) -> dict:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {"config": state["config"], "ema": state["ema"], "prior": state.get("prior")}
    except OSError as error:
        raise DataError(f"{path}: not readable: {error.strerror or error}") from error
    except Exception as error:
        raise DataError(f"{path}: not a checkpoint of a run: give its checkpoint.pt") from error


def read_vae(path: Path) -> tuple[PaperDQVAE, str]:
    """(DQ-VAE with averaged weights, fingerprint) of the checkpoint.pt of a run with `mode: paper`."""
    state = _checkpoint(path)
    if state["config"].get("mode") != "paper" or state["prior"] is not None:
        raise DataError(f"{path}: not the checkpoint of a DQ-VAE in paper mode (config mode: paper)")
    model = PaperDQVAE(PaperConfig.from_dict(state["config"]["model"]))
    model.load_state_dict(state["ema"])
    digest = hashlib.sha256(json.dumps(model.config.to_dict(), sort_keys=True).encode())
    for name, value in sorted(state["ema"].items()):
        digest.update(f"|{name}|".encode() + value.numpy().tobytes())
    return model.eval().requires_grad_(False), digest.hexdigest()[:16]


def read_prior(path: Path) -> PaperDQTransformer:
    """DQ-Transformer with averaged weights of the checkpoint.pt of a run of the paper's prior."""
    state = _checkpoint(path)
    if state["config"].get("mode") != "paper" or state["prior"] is None:
        raise DataError(f"{path}: not the checkpoint of a paper's prior (train prior with mode: paper)")
    network = PaperDQTransformer(PaperPriorConfig.from_dict(state["prior"]))
    network.load_state_dict(state["ema"])
    return network.eval()


def view(pixels: np.ndarray, size: int, number: int, rng: np.random.Generator) -> np.ndarray:
    """View `number` (size, size, 3) uint8 of a picture whose shorter side becomes `size`: see `views` in the config."""
    height, width = pixels.shape[:2]
    scale = size / min(height, width)
    shape = max(size, round(width * scale)), max(size, round(height * scale))
    resized = np.asarray(Image.fromarray(pixels).resize(shape, Image.Resampling.LANCZOS))
    down, across = resized.shape[0] - size, resized.shape[1] - size
    top, left, mirrored = down // 2, across // 2, number == 1
    if number > 1:
        top, left = int(rng.integers(down + 1)), int(rng.integers(across + 1))
        mirrored = rng.random() < 0.5
    crop = resized[top : top + size, left : left + size]
    return np.ascontiguousarray(crop[:, ::-1] if mirrored else crop)


def encode(vae: PaperDQVAE, data: list[Path], size: int, views: int, ratios: tuple[float, ...] | None,
           device: torch.device, progress: Callable[[int, int], None] = lambda done, total: None,
           most: int | None = None) -> PaperTokens:
    """Encode `views` versions of the pictures of `data`, at most the first `most` of these.

    ratios: see PaperPriorTrainConfig; raises RateError for impossible ones.
    """
    pictures = Pictures(data, cache_bytes=0)
    classes, count = _classes(data), len(pictures) if most is None else min(most, len(pictures))
    vae = vae.to(device)
    waiting: list[np.ndarray] = []
    levels: list[np.ndarray] = []
    indices: list[np.ndarray] = []
    label: list[int] = []
    for i in range(count):
        pixels = pictures[i]
        match = _LABELLED.search(Path(pictures.name(i)).stem) if classes else None
        for v in range(views):
            waiting.append(view(pixels, size, v, np.random.Generator(np.random.Philox(key=[i, v]))))
            label.append(int(match[1]) + 1 if match and int(match[1]) < len(classes) else 0)
        if len(waiting) >= BATCH or i == count - 1:
            x = torch.from_numpy(np.stack(waiting)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
            found = vae.encode(x, ratios)
            levels.append(found.levels.cpu().numpy().astype(np.uint8))
            indices.append(found.indices.cpu().numpy().astype(np.uint16))
            waiting.clear()
        progress(i + 1, count)
    return PaperTokens(np.concatenate(levels), np.concatenate(indices), np.array(label), classes)


def load_or_encode(path: Path, fingerprint: str, vae: PaperDQVAE, data: list[Path], size: int, views: int,
                   ratios: tuple[float, ...] | None, device: torch.device, rank: int = 0,
                   progress: Callable[[int, int], None] = lambda done, total: None,
                   most: int | None = None) -> PaperTokens:
    """The cache file `path`, made by the process of rank 0 if it is not there, while the others wait.

    Raises DataError if it comes from another model or other sizes.
    """
    made_of = {"fingerprint": fingerprint, "size": str(size), "views": str(views), "ratios": json.dumps(ratios)}
    if not path.exists() and rank == 0:
        tokens = encode(vae, data, size, views, ratios, device, progress, most)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        arrays = {name: np.ascontiguousarray(getattr(tokens, name)) for name in ("levels", "indices", "label")}
        save_file(arrays, temporary, made_of | {"classes": json.dumps(tokens.classes)})
        os.replace(temporary, path)
    while not path.exists():  # not a collective call: those time out while rank 0 encodes for hours
        time.sleep(1)
    header = read_header(path)
    if any(header.get(name) != value for name, value in made_of.items()):
        raise DataError(f"{path}: tokens of another DQ-VAE or with other size, views or ratios: remove the file")
    return PaperTokens(**load_file(path), classes=tuple(json.loads(header["classes"])))
