"""Which detail a file shall have, by plan: of whole regions, of single patches, or none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dqcodec.detail_search import Patches
from dqcodec.plans import Plans
from dqcodec.weights.detail_file import DetailLayer

LEAST_DETAIL = 0.04  # of a file
MOST_SPARSE = 0.33  # with more of a file than this, detail is of whole regions (docs/experiments.md, section 2)
# Squared error of a patch that a bit of sparse detail has to save where the ladder's are worth a slope of 1e-3, and the
# power of the slope by which that changes: chosen by benchmarks/detail.py on validation pictures.
DETAIL_WORTH, WORTH_POWER = 0.12, 2.8


@dataclass(frozen=True)
class DetailPlan:
    """Detail as planned. levels: (rows, cols) uint8, of the regions below it. bytes: of it, about. count: of the places
    that get some, or 0 for all in which a bit saves `worth`."""

    layer: DetailLayer
    levels: np.ndarray
    bytes: float
    count: int = 0
    worth: float = 0.0


def chosen(plans: Plans, regions: DetailLayer, sparse: DetailLayer | None,
           patches: Callable[[], Patches]) -> DetailPlan | None:
    """What detail a file shall have, None where that is too little of it to be worth its time.

    patches: makes those of `sparse`.
    """
    plan = of_regions(plans, regions)
    if sparse is not None and plan.bytes <= MOST_SPARSE * plans.bytes:
        plan = _of_patches(plans, sparse, patches())
    return plan if plan.bytes >= LEAST_DETAIL * plans.bytes else None


def of_regions(plans: Plans, layer: DetailLayer) -> DetailPlan:
    """Detail of whole regions, as one more step of the ladder."""
    count = int((plans.levels > plans.last).sum())
    return DetailPlan(layer, plans.ladder_levels, count * layer.region_bits / 8, count=count)


def _of_patches(plans: Plans, layer: DetailLayer, patches: Patches) -> DetailPlan:
    """Detail of single patches, as far as its bits save what the ladder's do."""
    def more(slope: float) -> float:
        return patches.bytes_about(_worth(slope))

    slope = plans.slope(more)
    return DetailPlan(layer, plans.ladder.levels_at(slope), more(slope), worth=_worth(slope))


def _worth(slope: float) -> float:
    """Squared error that a bit of sparse detail has to save beside a ladder whose bits save `slope`."""
    return DETAIL_WORTH * (slope / 1e-3) ** WORTH_POWER
