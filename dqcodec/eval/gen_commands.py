"""`dqcodec eval-gen`. Heavy imports happen inside, so that `--help` answers at once."""

from __future__ import annotations

from pathlib import Path

import click

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("eval-gen")
@click.argument("samples", type=_FOLDER)
@click.option("--reference", type=_FOLDER, required=True,
              help="Folder of real pictures or tar shards of them; the training set, to see whether it was copied.")
@click.option("--out", type=_FOLDER, required=True, help="Folder for results.")
@click.option("--tokens-model", metavar="NAME", help="Name or path of the model of the token statistics. "
              "[default: that of the .dq files in SAMPLES, or default]")
@click.option("--most", type=click.IntRange(min=16), default=10_000, show_default=True,
              help="Samples and reference pictures at most, drawn at random.")
@click.option("--pairs", type=click.IntRange(min=1), default=500, show_default=True,
              help="Pairs of pictures for the diversity.")
@click.option("--fit", type=click.Choice(["scale", "crop"]), default="scale", show_default=True,
              help="Reference pictures to the samples' size: the largest centred box, scaled; or the centre as it is.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all random choices.")
@click.option("--metric-weights", type=_FOLDER, help="Folder with the metric networks as safetensors "
              "[DQCODEC_METRIC_WEIGHTS]; else their packages download them.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
              help="For features and tokens; LPIPS runs on the processor.")
def eval_gen_command(samples, reference, out, tokens_model, most, pairs, fit, seed, metric_weights, device) -> None:
    """Measure generated pictures against real ones.

    SAMPLES holds pictures, also in one folder for each class, and their .dq files if the token statistics are to
    be those of the sampled tokens. Distances between the sets, diversity, nearest reference pictures, tokens:
    --out gets generation.json, generation.md and contact sheets.
    """
    from dqcodec.cli import progress, say
    from dqcodec.eval.generation import Plan, evaluate

    evaluate(Plan(samples, reference, out, tokens_model, most, pairs, seed, metric_weights, fit, device), say, progress)
