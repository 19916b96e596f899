"""Training pictures that lie on the GPU, decoded once and cropped there: processors crop less fast than a GPU learns.

What a step sees is a pure function of (seed, step), as in data.py, but other crops than there: sides come in a few
sizes a batch, so that each is one resampling of many crops.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dqcodec.errors import DataError
from dqcodec.training.config import DataConfig
from dqcodec.training.data import Pictures

UNSCALED = 0.3  # share of crops taken pixel for pixel
SIDES = 4  # sides of the other crops, drawn anew for each batch


class ResidentBatches:
    """Batches by step number, like data.Batches: (B, 3, crop, crop) float32 in [-1, 1], on `device`.

    Keeps every picture of `pictures` there as it is, 3 bytes a pixel. rank, world: this process and the number of
    processes; each gets its own crops. Raises DataError if no picture is as large as a crop.
    """

    def __init__(self, pictures: Pictures, config: DataConfig, seed: int, rank: int, world: int, device: torch.device):
        self.config, self.device, self._seed = config, device, seed * 64 + rank
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            decoded = list(pool.map(pictures.__getitem__, range(len(pictures))))
        decoded = sorted((p for p in decoded if min(p.shape[:2]) >= config.crop), key=lambda p: -min(p.shape[:2]))
        if not decoded:
            raise DataError(f"no training picture is as large as a crop, {config.crop}x{config.crop} pixels")
        sizes = np.array([p.shape[:2] for p in decoded])  # (N, 2), largest shorter side first
        self._shorter = sizes.min(1)
        starts = np.concatenate([[0], np.cumsum(sizes.prod(1))[:-1]])
        self._sizes, self._starts = torch.from_numpy(sizes).to(device), torch.from_numpy(starts).to(device)
        self._pixels = torch.empty(int(sizes.prod(1).sum()), 3, dtype=torch.uint8, device=device)
        for start, picture in zip(starts, decoded, strict=True):
            self._pixels[start : start + picture.shape[0] * picture.shape[1]] = torch.from_numpy(
                picture.reshape(-1, 3).copy()).to(device)

    def __call__(self, step: int) -> Tensor:
        """The batch of `step`."""
        rng = np.random.Generator(np.random.Philox(key=[self._seed, step]))
        draw = torch.Generator(self.device).manual_seed(int(rng.integers(1 << 62)))
        unscaled = round(UNSCALED * self.config.batch)
        crops = [self._crops(unscaled, self.config.crop, draw)]
        for part in np.array_split(np.arange(self.config.batch - unscaled), SIDES):
            largest = min(self.config.crop / self.config.min_scale, self._shorter[0])
            side = max(self.config.crop, int(min(largest, self.config.crop / rng.uniform(self.config.min_scale, 1.0))))
            x = self._crops(len(part), side, draw)
            if side != self.config.crop:
                x = F.interpolate(x, self.config.crop, mode="bicubic", antialias=True).clamp(0, 1)
            crops.append(x)
        x = torch.cat(crops)
        grey = torch.rand(len(x), 1, 1, 1, generator=draw, device=self.device) < self.config.grey
        weights = torch.tensor([0.299, 0.587, 0.114], device=self.device).view(1, 3, 1, 1)
        x = torch.where(grey, (x * weights).sum(1, keepdim=True), x)
        bend = torch.rand(len(x), 2, 1, 1, generator=draw, device=self.device)  # few night and high-key pictures
        gamma = torch.where(bend[:, :1] < 0.1, torch.exp(1.4 * bend[:, 1:] - 0.7), 1.0)  # (B, 1, 1, 1)
        return x.clamp_min(1e-4).pow(gamma) * 2 - 1

    def _crops(self, count: int, side: int, draw: torch.Generator) -> Tensor:
        """Crops (count, 3, side, side) in [0, 1], half of them mirrored."""
        large = int((self._shorter >= side).sum())
        u = torch.rand(count, 4, generator=draw, device=self.device)
        which = (u[:, 0] * large).long()
        room = self._sizes[which] - side + 1  # (count, 2)
        top, left = ((u[:, 1:3] * room).long()).unbind(1)
        reach = torch.arange(side, device=self.device)
        cols = torch.where(u[:, 3:] < 0.5, reach, side - 1 - reach) + left[:, None]  # (count, side)
        rows = reach + top[:, None]
        widths = self._sizes[which, 1, None, None]  # (count, 1, 1)
        place = self._starts[which, None, None] + rows[:, :, None] * widths + cols[:, None]
        return self._pixels[place].permute(0, 3, 1, 2).float() / 255

    def close(self) -> None:
        """Nothing to end; the trainer closes what it reads from."""
