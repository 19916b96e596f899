"""Plans of made-up pictures, for tests of rate control."""

import numpy as np

from dqcodec import rate
from dqcodec.bitstream import Ladder, StaticTables, quantise_counts, write
from dqcodec.networks import Analysis

LADDER = Ladder((16, 16, 8, 4), (64, 64, 64, 64))
TABLES = StaticTables(LADDER, b"test", tuple(quantise_counts(np.arange(1, 65)) for _ in range(4)))


def analysis(rows: int, cols: int, seed: int = 0, flat: bool = False) -> Analysis:
    rng = np.random.default_rng(seed)
    codes = tuple(rng.integers(0, 64, (rows * LADDER.side(s), cols * LADDER.side(s))).astype(np.int32)
                  for s in range(4))
    gains = np.full((4, rows, cols), 0.1) if flat else rng.random((4, rows, cols)) ** 3
    return Analysis(cols * 16 - 5, rows * 16 - 3, codes, gains[::-1].cumsum(0)[::-1].copy())


def sizer(plan):
    return lambda levels: len(write(plan.tokens(levels), TABLES))


def plan_of(found):
    return rate.plan(found, rate.table_costs(found, TABLES))
