"""The tables of a README: scores at fixed rates, Bjontegaard rates, times."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dqcodec.eval.markdown_table import table
from dqcodec.eval.metrics import METRICS
from dqcodec.eval.results import Results

RATES = (0.05, 0.1, 0.15, 0.2, 0.3)


def score_at(points: list[tuple[float, float]], bpp: float) -> float | None:
    """Score at a rate, linear in log-rate between a curve's (bpp, score) points by rising rate; None
    outside of the curve."""
    if len(points) < 2 or not points[0][0] <= bpp <= points[-1][0]:
        return None
    return float(np.interp(np.log(bpp), np.log([p[0] for p in points]), [p[1] for p in points]))


def write(results: Results, bjontegaard: list[dict], out: Path) -> Path:
    """Write OUT/NAME.md."""
    path = out / f"{results.name}.md"
    blocks = [_scores(results, metric) for metric in results.metrics]
    if any(row["bd_rate"] is not None for row in bjontegaard):
        blocks.append(_deltas(results, bjontegaard))
    blocks.append(_times(results))
    about = results.about
    blocks.append(f"{len(results.images)} images; {about['bpp']}; {about['timing']}; "
                  f"{about['machine']['cpu']}, {about['date']}, commit {about['commit'] or 'unknown'}.")
    path.write_text("\n\n".join(blocks) + "\n")
    return path


def _scores(results: Results, metric: str) -> str:
    info = METRICS[metric]
    direction = "higher" if info.higher else "lower"
    head = ["codec", *(f"{rate:g} bpp" for rate in RATES)]
    rows = []
    for codec in results.codecs:
        scores = [score_at(results.curve(codec["name"], metric), rate) for rate in RATES]
        rows.append([codec["label"], *("–" if s is None else f"{s:.{min(3, info.digits)}f}" for s in scores)])
    return (f"**{info.label}** on {results.name}, {direction} is better; log-rate interpolation inside "
            f"each measured curve, – outside of it\n\n{table(head, rows)}")


def _deltas(results: Results, bjontegaard: list[dict]) -> str:
    head = ["codec", *(METRICS[metric].label for metric in results.metrics)]
    rows = []
    for codec in results.codecs:
        found = {row["metric"]: row for row in bjontegaard if row["codec"] == codec["name"]}
        if found:
            rows.append([codec["label"], *(_delta(found[metric]) for metric in results.metrics)])
    return ("**BD-rate against AVIF** (share of the narrower quality range that the curves share); negative "
            f"is smaller at equal quality; – refused for too little overlap\n\n{table(head, rows)}")


def _delta(row: dict) -> str:
    if row["bd_rate"] is None:
        return "–"
    return f"{row['bd_rate']:+.1f} % ({100 * row['quality_overlap'][2]:.0f} %)"


def _times(results: Results) -> str:
    rows = []
    for codec in results.codecs:
        means = [m for m in results.means if m.codec == codec["name"]]
        if means:
            nearest = min(means, key=lambda m: abs(np.log(m.bpp / 0.15)))
            rows.append([codec["label"], *(f"{v:.3f}" for v in (nearest.bpp, nearest.enc_s, nearest.dec_s))])
    return ("**Times**, median seconds at the setting nearest to 0.15 bpp\n\n"
            + table(["codec", "bpp", "encode", "decode"], rows))
