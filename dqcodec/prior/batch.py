"""Tokens of some images as a packed batch for the network in training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dqcodec.bitstream.tokens import Tokens
from dqcodec.prior import context, sequence
from dqcodec.prior.config import PriorConfig
from dqcodec.prior.network import PriorBatch, StepBatch


@dataclass(frozen=True)
class _Image:
    rows: list[sequence.StepRows]
    tiles: int
    arrays: list[dict[str, np.ndarray]]  # per step


def _image(config: PriorConfig, tokens: Tokens) -> _Image:
    ladder = config.ladder
    down, across = sequence.tile_grid(config, *tokens.levels.shape)
    base = np.ones(down * across, np.int64)
    rows, arrays = [], []
    row_of_cell = None
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
        row_of_cell[cells.cell] = np.arange(len(cells))
        base = base + np.bincount(cells.tile, minlength=len(base))
        rows.append(cells)
        arrays.append(found)
    return _Image(rows, down * across, arrays)


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
    steps: list[dict[str, list[np.ndarray]]] = [{"row": []} for _ in config.factors]
    starts, sights = [0], []
    for part in parts:
        length = 1 + sum(np.bincount(r.tile, minlength=part.tiles) for r in part.rows)  # (tiles,)
        begin = starts[-1] + np.cumsum(length) - length
        starts += [int(b) for b in begin + length]
        sight = np.ones((2, int(length.sum())), np.int64)
        own = []  # rows of the image's tokens, step after step
        for s, rows in enumerate(part.rows):
            own.append(begin[rows.tile] + rows.slot)
            sight[:, own[-1] - begin[0]] = rows.query_sight, rows.memory_sight
            steps[s]["row"].append(own[-1])
            for name, value in part.arrays[s].items():
                value = own[s - 1][value] if name == "map_rows" else value
                steps[s].setdefault(name, []).append(value)
        sights.append(sight)
    tensors = [StepBatch(**{k: torch.from_numpy(np.concatenate(v)) for k, v in step.items()}) for step in steps]
    label = np.repeat(labels, [p.tiles for p in parts]).astype(np.int64)
    query, memory = torch.from_numpy(np.concatenate(sights, 1))
    return PriorBatch(torch.from_numpy(label), starts, query, memory, tensors)
