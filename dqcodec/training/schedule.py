"""Learning rate over a run's progress."""

from __future__ import annotations

import math

from dqcodec.training.config import OptimConfig


def learning_rate(config: OptimConfig, step: int, progress: float) -> float:
    """Linear warm-up over `warmup_steps`, then cosine from lr to final * lr.

    progress: share of the run done, 0..1, by steps or by wall-clock time.
    """
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))
    return config.lr * warm * (config.final + (1 - config.final) * cosine)
