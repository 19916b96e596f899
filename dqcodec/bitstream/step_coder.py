"""The order in which the symbols of one ladder step are coded: encoder and decoder share this loop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dqcodec.bitstream.code_model import CodeModel, Known, MapModel
from dqcodec.bitstream.frequencies import TOTAL

Code = Callable[[np.ndarray, np.ndarray], np.ndarray]


def code_step(step: int, known: Known, model: CodeModel, maps: MapModel, map_bits: Code, codes: Code) -> None:
    """Code the map bits (step >= 1) and then the codes of `step`, and add them to `known`.

    map_bits, codes: called for each batch as f(flat indices (n,), frequencies (n, K) or (1, K)); they
        encode the symbols at these indices, or decode them, and return them (n,) int32.
    """
    if step > 0:
        levels = known.levels.reshape(-1)
        for regions in maps.batches(step, known):
            ones = np.asarray(maps.frequencies(step, regions, known), np.int64)  # (n,)
            bits = map_bits(regions, np.stack([TOTAL - ones, ones], axis=1))
            levels[regions] += bits.astype(np.uint8)
            maps.update(step, regions, bits)
    grid = known.codes[step].reshape(-1)
    for group, cells in enumerate(model.groups(step, known)):
        grid[cells] = codes(cells, model.frequencies(step, group, known))
