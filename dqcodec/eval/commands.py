"""`dqcodec eval` and `dqcodec compare`. Heavy imports happen inside, so that `--help` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dqcodec.errors import DataError

CODEC_FAMILIES = "dqcodec,avif,heic,jxl,webp,jpeg,jpeg2000,vvc,compressai"
METRIC_NAMES = "lpips_alex,lpips_vgg,dists,ms_ssim,psnr"

_FOLDER = click.Path(path_type=Path, file_okay=False)
_CODECS = click.option("--codecs", default=CODEC_FAMILIES, show_default=True, metavar="A,B,...",
                       help="Codecs, by family or single ones such as dqcodec-NAME.")
_METRICS = click.option("--metrics", default=METRIC_NAMES, show_default=True, metavar="A,B,...")
_WEIGHTS = click.option("--metric-weights", type=_FOLDER,
                        help="Folder with the metric networks as safetensors [DQCODEC_METRIC_WEIGHTS]; "
                             "else their packages download them.")
_ZOO = click.option("--compressai-weights", type=_FOLDER, help="Folder of CompressAI's zoo files.")
_JOBS = click.option("--jobs", type=click.IntRange(min=1),
                     help="Processes of one thread each [number of cores].")


@click.command("eval")
@click.argument("images", metavar="[DIR|kodak]", default="kodak")
@click.option("--out", type=_FOLDER, required=True,
              help="Folder for results; an interrupted run goes on there.")
@_CODECS
@_METRICS
@click.option("--rates", metavar="X,Y,...",
              help="Bits per pixel for dqcodec's curve; the others sweep their own knob.")
@click.option("--settings", multiple=True, metavar="CODEC=X,Y,...", help="Knob values of one codec's curve.")
@click.option("--data", type=_FOLDER, help="Folder of the Kodak pictures [DQCODEC_KODAK].")
@_WEIGHTS
@_ZOO
@click.option("--show", metavar="A,B,...",
              help="Names of the images with a before/after view [three of them].")
@click.option("--show-rates", default="0.1,0.2", show_default=True, metavar="X,Y,...",
              help="Bits per pixel of the before/after views.")
@_JOBS
def eval_command(images, out, codecs, metrics, rates, settings, data, metric_weights, compressai_weights,
                 show, show_rates, jobs):
    """Measure rate and distortion of dqcodec and other codecs on a folder of images.

    Writes tables (JSON, CSV, Markdown), plots (PNG, SVG) and report.html to --out. Finished cells are
    kept there and not done again. Exit code 1 if an image or a cell failed; the others are measured.
    """
    from dqcodec.eval.run import Plan, evaluate

    plan = Plan(
        images=images, out=out, codecs=_names(codecs), metrics=_metrics(metrics),
        rates=_numbers("--rates", rates) if rates else None, settings=_settings(settings), data=data,
        metric_weights=metric_weights, compressai_weights=compressai_weights,
        show=_names(show) if show else None, show_rates=_numbers("--show-rates", show_rates), jobs=jobs,
    )
    problems = evaluate(plan, say)
    if problems:
        say(f"dqcodec: {len(problems)} failed; the tables name what is missing")
        sys.exit(1)


@click.command("compare")
@click.argument("image", metavar="IMG", type=click.Path(path_type=Path))
@click.option("--bpp", type=click.FloatRange(min=0, min_open=True), default=0.1, show_default=True,
              help="Bits per pixel that every codec comes nearest to.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="PAGE.html")
@_CODECS
@_METRICS
@_WEIGHTS
@_ZOO
@_JOBS
def compare_command(image, bpp, out, codecs, metrics, metric_weights, compressai_weights, jobs):
    """One picture through every codec at nearly the same size, as a page with a before/after slider."""
    from dqcodec.eval.compare import compare

    problems = compare(image, bpp, out, _names(codecs), _metrics(metrics), metric_weights, compressai_weights,
                       jobs, say)
    if problems:
        sys.exit(1)


def say(text: str) -> None:
    """A line for the user, on stderr."""
    click.echo(text, err=True)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _metrics(text: str) -> tuple[str, ...]:
    names, known = _names(text), METRIC_NAMES.split(",")
    for name in names:
        if name not in known:
            raise DataError(f"no metric {name!r}; there are: {', '.join(known)}")
    return names


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in _names(text))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 0:
        raise click.BadParameter(f"{text!r} is no list of numbers such as 0.1,0.2", param_hint=option)
    return numbers


def _settings(texts: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    found = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} is not like avif=12,28", param_hint="--settings")
        found[name.strip()] = _numbers("--settings", values)
    return found
