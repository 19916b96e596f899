"""The weights that tell from a picture's statistics how soft it is: linear regression on views."""

from __future__ import annotations

from pathlib import Path

import torch

from dqcodec.models.softness import Softness, amount_of, statistics
from dqcodec.training.config import DataConfig
from dqcodec.training.data import Batches, Pictures
from dqcodec.training.soft_views import soft_view

SHARP, MOST = 0.35, 2.0  # share of views that are not enlarged, and the largest enlargement of the others
HELD_OUT = 0.2
RIDGE = 1e-3
BATCH = 8


def fit_amount(softness: Softness, data: list[Path], pictures: int) -> float:
    """Set the weights of `softness` by about `pictures` views of `data`; returns the correlation of amounts read by
    them with true ones on a fifth of the views, which take no part."""
    batches = Batches(Pictures(data), DataConfig(crop=256, batch=BATCH, grey=0.0), seed=1)
    torch.manual_seed(1)
    found, amounts = [], []
    for step in range(-(-pictures // BATCH)):
        enlargement = 1.0 if torch.rand(()) < SHARP else 1 + (MOST - 1) * float(torch.rand(()))
        views = soft_view(batches(step), enlargement)
        found += [statistics(((view + 1) * 127.5).round()) for view in views]
        amounts += [amount_of(enlargement)] * len(views)
    batches.close()
    x, y = torch.stack(found).double(), torch.tensor(amounts).double()  # (N, STATISTICS), (N,)
    train = int(len(y) * (1 - HELD_OUT))
    penalty = RIDGE * torch.eye(x.shape[1]).double()
    penalty[0, 0] = 0  # a constant costs nothing
    weights = torch.linalg.solve(x[:train].T @ x[:train] / train + penalty, x[:train].T @ y[:train] / train)
    softness.reading.copy_(weights)
    return float(torch.corrcoef(torch.stack([(x[train:] @ weights).clamp(0, 1), y[train:]]))[0, 1])
