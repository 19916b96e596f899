"""Rate-distortion plots: measured curves solid, published ones dashed, rate on a logarithmic axis."""

from __future__ import annotations

from pathlib import Path

from dqcodec.eval import anchors
from dqcodec.eval.metrics import METRICS
from dqcodec.eval.palette import measured_colours, published_colours
from dqcodec.eval.results import Results

TICKS = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5)


def rate_range(results: Results) -> tuple[float, float]:
    """Rates to show: those measured, with a margin; published curves are cut to it."""
    rates = [m.bpp for m in results.means if m.complete]
    return min(rates) * 0.75, min(max(rates), 1.5) * 1.2


def draw_all(results: Results, out: Path) -> list[Path]:
    """Write OUT/NAME-METRIC.png and .svg for each metric with a measured curve."""
    paths = []
    for metric in results.metrics:
        if any(results.curve(c["name"], metric) for c in results.codecs):
            paths += draw(results, metric, out)
    return paths


def draw(results: Results, metric: str, out: Path) -> list[Path]:
    """Write the plot of one metric."""
    from matplotlib.figure import Figure

    info = METRICS[metric]
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    axes = figure.subplots()
    low, high = rate_range(results)
    shown: list[float] = []
    colours = measured_colours([c["name"] for c in results.codecs])
    for codec in results.codecs:
        points = results.curve(codec["name"], metric)
        if points:
            own = codec["family"] == "dqcodec"
            axes.plot(*zip(*points, strict=True), "-o", color=colours[codec["name"]], label=codec["label"],
                      linewidth=2.6 if own else 1.5, markersize=6 if own else 3.5, zorder=4 if own else 3)
            shown += [score for bpp, score in points if low <= bpp <= high]
    published = anchors.curves(results.name, metric)
    colours = published_colours([p.codec for p in published])
    for curve in published:
        points = [p for p in curve.points if low <= p[0] <= high]
        if points:
            axes.plot(*zip(*points, strict=True), "--", marker=".", color=colours[curve.codec], linewidth=1,
                      markersize=4, alpha=0.85, label=f"{curve.codec} (published)", zorder=2)
            shown += [score for _, score in points]
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    margin = 0.04 * (max(shown) - min(shown) or 1)
    axes.set_ylim(min(shown) - margin, max(shown) + margin)
    ticks = [t for t in TICKS if low <= t <= high]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_xticks([], minor=True)
    axes.grid(alpha=0.25, linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_xlabel("bits per pixel, whole file (log scale)")
    axes.set_ylabel(f"{info.label}, {'higher' if info.higher else 'lower'} is better")
    axes.set_title(f"{results.name}, {len(results.images)} images: {info.label}", loc="left", fontsize=11)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
    if results.curve("vvc", metric):
        figure.text(0.01, -0.01, "VVC: raw stream without a container, about 0.006 bpp less on Kodak",
                    fontsize=7, color="#666666", va="top")
    paths = [out / f"{results.name}-{metric}.{kind}" for kind in ("png", "svg")]
    for path in paths:
        # A date in the SVG would make every run another file.
        figure.savefig(path, dpi=150, bbox_inches="tight",
                       metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths
