"""Thorough rate control (`--effort best`): costs from the prior, distortions from real decodes.

The quick way (rate.py) orders refinements by what the router predicts and by how frequent their codes
are in general. Here each region's costs come from the prior, given the codes around it, and the router's
prediction is joined by the error of the picture decoded at every level.
"""

from __future__ import annotations

import numpy as np
import torch

from dqcodec import bitstream, networks, rate
from dqcodec.bitstream.code_model import CodeModel
from dqcodec.networks import Analysis
from dqcodec.weights.model_file import Model

L1_WEIGHT = 2.0  # of the measured error beside the predicted distortion; against 0 on validation pictures


def thorough_costs(model: Model, analysis: Analysis, pixels: np.ndarray,
                   device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """Costs and distortions (L, rows, cols), as rate.plan wants them, of pixels (H, W, 3) uint8 whose analysis is
    given."""
    distortion = analysis.distortion + L1_WEIGHT * decoded_errors(model, analysis, pixels, device)
    return model_costs(model.entropy, analysis), distortion


def decoded_errors(model: Model, analysis: Analysis, pixels: np.ndarray, device: torch.device) -> np.ndarray:
    """Mean absolute error (L, rows, cols) of each region, range 0..2, of the picture decoded at each level."""
    count, rows, cols = analysis.distortion.shape
    errors = np.empty((count, rows, cols))
    region = model.config.ladder.region
    plain = model.plain.vae  # invented texture would count as error
    for level in range(count):
        tokens = rate.tokens_at(analysis, np.full((rows, cols), level, np.uint8))
        decoded = networks.synthesise(plain.to(device), tokens, device)
        gap = np.abs(decoded.astype(np.float32) - pixels).mean(2) / 127.5  # (H, W)
        padding = ((0, rows * region - gap.shape[0]), (0, cols * region - gap.shape[1]))
        gap = np.pad(gap, padding, mode="edge")
        errors[level] = gap.reshape(rows, region, cols, region).mean((1, 3))
    return errors


def model_costs(model: CodeModel, analysis: Analysis) -> np.ndarray:
    """Bits (L, rows, cols) of each step of each region if all regions carried all steps; map bits not counted."""
    count, rows, cols = analysis.distortion.shape
    tokens = rate.tokens_at(analysis, np.full((rows, cols), count - 1, np.uint8))
    known = bitstream.Known.nothing(analysis.width, analysis.height, model.ladder, complete=tokens)
    maps = model.map_model()
    costs = np.empty((count, rows, cols))
    for step in range(count):
        if step:
            maps.batches(step, known)
            known.levels[:] = step
        codes = tokens.codes[step].reshape(-1)
        bits = np.empty(codes.shape)
        for group, cells in enumerate(model.groups(step, known)):
            f = np.broadcast_to(model.frequencies(step, group, known), (len(cells), model.ladder.codebook_sizes[step]))
            bits[cells] = 16 - np.log2(np.take_along_axis(f, codes[cells, None].astype(np.int64), 1)[:, 0])
            known.codes[step].reshape(-1)[cells] = codes[cells]
        side = model.ladder.side(step)
        costs[step] = bits.reshape(rows, side, cols, side).sum((1, 3)) + rate.MAP_BIT
    return costs
