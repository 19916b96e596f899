"""Bjontegaard deltas against AVIF (Bjontegaard 2001, VCEG-M33), by the bjontegaard package.

BD-rate: mean difference in rate at equal quality, in percent, over the qualities that both curves
reach. BD-metric: mean difference in quality at equal rate, over the rates that both reach. Monotone
cubic interpolation (PCHIP) over log-rate. Outside the overlap nothing is extrapolated, and what
overlaps too little is refused: a delta there would be an opinion.
"""

from __future__ import annotations

from dqcodec.eval.metrics import METRICS
from dqcodec.eval.results import Results

ANCHOR = "avif"
FEWEST_POINTS = 3
SMALLEST_OVERLAP = 0.1


def table(results: Results) -> list[dict]:
    """A row for each codec but the anchor and each metric: bd_rate in percent and bd_metric in the
    metric's unit (None where refused), the overlaps used, and the reason for a refusal."""
    rows = []
    for codec in results.codecs:
        if codec["name"] == ANCHOR:
            continue
        for metric in results.metrics:
            row = {"codec": codec["name"], "anchor": ANCHOR, "metric": metric}
            anchor, test = results.curve(ANCHOR, metric), results.curve(codec["name"], metric)
            rows.append(row | deltas(anchor, test, metric))
    return rows


def deltas(anchor: list[tuple[float, float]], test: list[tuple[float, float]], metric: str) -> dict:
    """BD-rate and BD-metric of two curves of (bpp, score) by rising rate.

    quality_overlap, rate_overlap: the interval used and its share of the narrower curve's range.
    """
    import bjontegaard

    empty = {"bd_rate": None, "bd_metric": None, "quality_overlap": None, "rate_overlap": None}
    if min(len(anchor), len(test)) < FEWEST_POINTS:
        return empty | {"refused": f"fewer than {FEWEST_POINTS} points on a curve"}
    sign = 1 if METRICS[metric].higher else -1
    rates_a, rates_t = [p[0] for p in anchor], [p[0] for p in test]
    goods_a, goods_t = [sign * p[1] for p in anchor], [sign * p[1] for p in test]
    if not (_rising(goods_a) and _rising(goods_t)):
        return empty | {"refused": "a curve is not monotone"}
    result = dict(empty)
    refusals = []
    arguments = (rates_a, goods_a, rates_t, goods_t, "pchip")
    free = {"require_matching_points": False, "min_overlap": 0}  # the overlap is checked here
    low, high, share = _overlap(goods_a, goods_t)
    if share >= SMALLEST_OVERLAP:
        result["bd_rate"] = float(bjontegaard.bd_rate(*arguments, **free))
        result["quality_overlap"] = [*sorted((sign * low, sign * high)), share]
    else:
        refusals.append("the curves share too little of their quality range for a BD-rate")
    low, high, share = _overlap(rates_a, rates_t)
    if share >= SMALLEST_OVERLAP:
        delta = float(bjontegaard.bd_psnr(*arguments, **free))
        result["bd_metric"], result["rate_overlap"] = sign * delta, [low, high, share]
    else:
        refusals.append("the curves share too little of their rate range for a BD-metric")
    return result | {"refused": "; ".join(refusals) or None}


def _rising(values: list[float]) -> bool:
    return all(a < b for a, b in zip(values, values[1:], strict=False))


def _overlap(a: list[float], b: list[float]) -> tuple[float, float, float]:
    """Common interval of two ranges and its share of the narrower one (0 if they are apart)."""
    low, high = max(min(a), min(b)), min(max(a), max(b))
    narrower = min(max(a) - min(a), max(b) - min(b))
    return low, high, max(0.0, (high - low) / narrower)
