"""Tokens of some images as a packed batch for the network in training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dqcodec.bitstream.tokens import Tokens
from dqcodec.prior import context, sequence
from dqcodec.prior.config import PriorConfig
from dqcodec.prior.network import Bucket, PriorBatch, StepBatch


@dataclass(frozen=True)
class _Image:
    rows: list[sequence.StepRows]
    tiles: int
    length: int
    arrays: list[dict[str, np.ndarray]]  # per step


def _image(config: PriorConfig, tokens: Tokens) -> _Image:
    ladder = config.ladder
    down, across = sequence.tile_grid(config, *tokens.levels.shape)
    base = np.ones(down * across, np.int64)
    rows, arrays = [], []
    row_of_cell, first = None, 0
    for step in range(len(ladder)):
        levels = np.minimum(tokens.levels, step)
        cells = sequence.step_rows(config, step, levels, base)
        grids = [context.content_grid(ladder, s, levels, tokens.codes[s]) for s in range(step + 1)]
        side = ladder.side(step)
        turns = np.full(tokens.codes[step].shape, np.iinfo(np.int64).max)
        turns.reshape(-1)[cells.cell] = cells.group
        turns = np.pad(turns, context.MARGIN, constant_values=np.iinfo(np.int64).max)
        found = {
            "near": context.neighbourhood(ladder, step, cells.y, cells.x, grids, turns),
            "hot": context.level_hot(ladder, step, cells.y, cells.x, levels),
            "position": cells.position,
            "code": tokens.codes[step].reshape(-1)[cells.cell].astype(np.int64),
        }
        if step:
            found |= _map(config, step, tokens.levels, row_of_cell)
        row_of_cell = np.full(levels.size * side * side, -1)
        row_of_cell[cells.cell] = first + np.arange(len(cells))  # among the image's rows
        first += len(cells)
        base = base + np.bincount(cells.tile, minlength=len(base))
        rows.append(cells)
        arrays.append(found)
    return _Image(rows, down * across, int(base.max()), arrays)


def _map(config: PriorConfig, step: int, levels: np.ndarray, row_of_cell: np.ndarray) -> dict[str, np.ndarray]:
    regions = sequence.candidates(levels, step)
    r, c = regions // levels.shape[1], regions % levels.shape[1]
    known = np.minimum(levels, step)
    return {
        "map_rows": sequence.region_rows(config.ladder, step - 1, levels, row_of_cell, regions),
        "map_hot": context.map_hot(step, r, c, known, context.map_phase(*levels.shape)),
        "map_bit": (levels.reshape(-1)[regions] >= step).astype(np.float32),
    }


def pack(config: PriorConfig, images: list[Tokens], labels: list[int] | None = None) -> PriorBatch:
    """A batch of the tokens of some images; labels: class label of each, 0 for none."""
    parts = [_image(config, tokens) for tokens in images]
    labels = [0] * len(parts) if labels is None else labels
    starts = sum(p.tiles for p in parts)
    steps: list[dict[str, list[np.ndarray]]] = [{"row": []} for _ in config.factors]
    image_rows = []  # per image, per step: rows of the packed batch
    at = starts
    for s in range(len(config.factors)):
        for i, part in enumerate(parts):
            n = len(part.rows[s])
            rows = np.arange(at, at + n)
            at += n
            steps[s]["row"].append(rows)
            image_rows.append((i, rows))
            for name, value in part.arrays[s].items():
                steps[s].setdefault(name, []).append(value)
    own = [np.concatenate([rows for j, rows in image_rows if j == i]) for i in range(len(parts))]
    for s in range(1, len(config.factors)):
        steps[s]["map_rows"] = [own[i][rows] for i, rows in enumerate(steps[s]["map_rows"])]
    buckets, tile = [], 0
    for i, part in enumerate(parts):
        begin = np.arange(part.tiles)
        where = np.concatenate([begin * part.length] + [r.tile * part.length + r.slot for r in part.rows])
        one = np.ones(part.tiles, np.int64)
        query = np.concatenate([one] + [r.query_sight for r in part.rows])
        memory = np.concatenate([one] + [r.memory_sight for r in part.rows])
        rows = np.concatenate([tile + begin, own[i]])
        buckets.append(Bucket(*map(torch.from_numpy, (rows, where)), part.tiles, part.length,
                              torch.from_numpy(query), torch.from_numpy(memory)))
        tile += part.tiles
    tensors = [StepBatch(**{k: torch.from_numpy(np.concatenate(v)) for k, v in step.items()}) for step in steps]
    label = torch.from_numpy(np.repeat(labels, [p.tiles for p in parts]).astype(np.int64))
    return PriorBatch(label, at, tensors, buckets)
