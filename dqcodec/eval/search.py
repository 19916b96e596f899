"""The knob setting at which one picture comes nearest to a rate."""

from __future__ import annotations

import math
from collections.abc import Callable

from PIL import Image

from dqcodec.eval.codecs.base import Codec

CLOSE = 0.02
MOST_TRIES = 9


def nearest_setting(codec: Codec, image: Image.Image, bpp: float,
                    known: dict[float, float] | None = None) -> float:
    """Knob value whose file is nearest to `bpp` bits per pixel by ratio.

    Interpolates log(bpp) over the knob between the nearest tries on either side and stops within 2 %
    or when no value lies between. known: value -> bpp already measured on this picture.
    """
    if codec.knob.is_rate:
        return bpp
    return _search(codec, lambda value: 8 * len(codec.encode(image, value)) / (image.width * image.height),
                   bpp, dict(known or {}))


def _search(codec: Codec, rate: Callable[[float], float], bpp: float, tried: dict[float, float]) -> float:
    grid = _grid(codec)
    errors = {index: math.log(tried[value] / bpp) for index, value in enumerate(grid) if value in tried}
    for _ in range(MOST_TRIES):
        if errors and min(map(abs, errors.values())) <= CLOSE:
            break
        low = max((i for i, e in errors.items() if e < 0), default=-1)
        high = min((i for i, e in errors.items() if e >= 0), default=len(grid))
        if high - low <= 1:
            break
        if low < 0 or high == len(grid):
            index = _step_out(low, high, len(grid), errors)
        else:
            share = errors[low] / (errors[low] - errors[high])
            index = min(high - 1, max(low + 1, round(low + share * (high - low))))
        errors[index] = math.log(rate(grid[index]) / bpp)
    return grid[min(errors, key=lambda i: abs(errors[i]))]


def _step_out(low: int, high: int, size: int, errors: dict[int, float]) -> int:
    """A first try near the small end, then outwards until the rate is enclosed."""
    if not errors:
        return size // 4
    if low < 0:
        return high // 3
    return low + max(1, 2 * (size - 1 - low) // 3)


def _grid(codec: Codec) -> list[float]:
    """Knob values in order of rising rate."""
    knob = codec.knob
    count = int(round((knob.high - knob.low) / knob.step)) + 1
    values = [round(knob.low + i * knob.step, 6) for i in range(count)]
    if codec.family == "compressai":
        values = [v for v in values if v in codec.sweep]
    return values if knob.rising else values[::-1]
