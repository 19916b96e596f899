"""The HTML report: one file that works offline, with everything inside it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from dqcodec.eval import anchors
from dqcodec.eval.metrics import METRICS
from dqcodec.eval.palette import measured_colours, published_colours
from dqcodec.eval.plots import rate_range
from dqcodec.eval.results import Results
from dqcodec.eval.views import SHOWN_QUALITY, View

PAGE = Path(__file__).with_name("page")
SCRIPTS = ("start.js", "viewer.js", "curves.js", "tables.js")


def write(results: Results, bjontegaard: list[dict], views: list[View], path: Path) -> Path:
    """Write the report of a benchmark run to `path`."""
    published = {metric: anchors.curves(results.name, metric) for metric in results.metrics}
    data = _common(results.codecs, results.metrics, views) | {
        "name": results.name,
        "curves": {metric: _curves(results, metric, published[metric]) for metric in results.metrics},
        "rateRange": rate_range(results) if any(m.complete for m in results.means) else None,
        "means": [asdict(mean) for mean in results.means],
        "bjontegaard": bjontegaard,
        "cells": [_row(cell) for cell in results.cells],
    }
    sources = sorted({(p.codec, p.kind, p.source) for curves in published.values() for p in curves})
    count = len(results.images)
    page = _render(
        data, title=f"Rate and distortion on {results.name}",
        subtitle=f"{count} image{'s' if count != 1 else ''}, {len(results.codecs)} codecs, "
                 f"{len(results.cells)} files written, read back and scored",
        about=results.about, codecs=results.codecs, skipped=results.skipped, sources=sources, curves=True)
    path.write_text(page, encoding="utf-8")
    return path


def write_comparison(name: str, codecs: list[dict], metrics: list[str], view: View, about: dict,
                     skipped: list[str], path: Path) -> Path:
    """Write the page of `dqcodec compare`: the slider and one table. codecs: of results.describe."""
    data = _common(codecs, metrics, [view]) | {"name": name}
    page = _render(
        data, title=name, subtitle=f"{view.width} x {view.height} pixels, every codec as near as it comes to "
                                   f"{view.bpp:g} bits per pixel",
        about=about, codecs=codecs, skipped=skipped, sources=[], curves=False)
    path.write_text(page, encoding="utf-8")
    return path


def _common(codecs: list[dict], metrics: list[str], views: list[View]) -> dict:
    colours = measured_colours([c["name"] for c in codecs])
    return {
        "codecs": {c["name"]: {"label": c["label"], "colour": colours[c["name"]]} for c in codecs},
        "metrics": [asdict(METRICS[metric]) for metric in metrics],
        "views": [_view(view) for view in views],
    }


def _view(view: View) -> dict:
    entries = [{**_row(entry.cell), "src": entry.src} for entry in view.entries]
    return {"image": view.image, "bpp": view.bpp, "width": view.box[2] - view.box[0],
            "height": view.box[3] - view.box[1], "original": view.original, "entries": entries}


def _row(cell) -> dict:
    return {"image": cell.image, "codec": cell.codec, "setting": cell.setting, "bytes": cell.bytes,
            "bpp": round(cell.bpp, 5), "enc_s": round(cell.enc_s, 4), "dec_s": round(cell.dec_s, 4),
            **{name: None if score is None else round(score, 5) for name, score in cell.metrics.items()}}


def _curves(results: Results, metric: str, published: list[anchors.Published]) -> list[dict]:
    colours = measured_colours([c["name"] for c in results.codecs])
    curves = [{"label": c["label"], "colour": colours[c["name"]], "published": False,
               "strong": c["family"] == "dqcodec", "points": results.curve(c["name"], metric)}
              for c in results.codecs if results.curve(c["name"], metric)]
    colours = published_colours([p.codec for p in published])
    return curves + [{"label": f"{p.codec} (published)", "colour": colours[p.codec], "published": True,
                      "strong": False, "points": p.points, "source": p.source} for p in published]


def _render(data: dict, **context) -> str:
    import jinja2

    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(PAGE), autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True)
    # "</script>" in a name must not end the script that holds it.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    script = "\n".join((PAGE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return environment.get_template("page.html.j2").render(
        data=text, style=(PAGE / "style.css").read_text(encoding="utf-8"), script=script,
        shown_quality=SHOWN_QUALITY, **context)
