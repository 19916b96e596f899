"""`dqcodec train`: the trainers behind the command line. Imports torch only when a command runs."""

from __future__ import annotations

import signal
from pathlib import Path

import click

PATH = click.Path(path_type=Path)


@click.group("train")
def train_group() -> None:
    """Train models and make model files."""


def _of_a_run(command):
    """The options of every training on pictures."""
    options = (
        click.option("--data", required=True, multiple=True, type=PATH,
                     help="Folder of images or tar shards; repeatable."),
        click.option("--out", required=True, type=PATH, help="Folder for checkpoint, logs and pictures."),
        click.option("--valid", type=PATH, help="Folder of validation images."),
        click.option("--metric-weights", type=PATH, help="Folder with the VGG16 and LPIPS weights of the loss."),
        click.option("--device", default="cpu", show_default=True),
        click.option("--resume", is_flag=True, help="Go on from the checkpoint in --out."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@train_group.command("vae")
@click.option("--config", required=True, help="YAML or JSON file, or the name of a packaged config.")
@_of_a_run
@click.option("--init", type=PATH, help="Checkpoint (its averaged weights) or .safetensors model to start from.")
@click.option("--teacher", type=PATH, help="Model file to learn from, for a config with a section distil.")
def vae(config, data, out, valid, metric_weights, device, init, teacher, resume) -> None:
    """Train a DQ-VAE (codec or paper mode, as the config says)."""
    from dqcodec.training.config import load
    from dqcodec.training.trainer import RunFolders, Trainer

    trainer = Trainer(load(config), RunFolders(tuple(data), out, valid, metric_weights), device, resume, init, teacher)
    _train(trainer, "img_s", "img/s", ("loss", "l1", "lpips_vgg"))


@train_group.command("detail")
@click.option("--config", default="detail", show_default=True, help="YAML or JSON file, or a packaged config.")
@click.option("--model", "models", required=True, multiple=True, type=PATH,
              help="Model file whose decoded pictures to add detail to; repeatable, the first is validated with.")
@click.option("--layer", "layers", multiple=True, type=PATH,
              help="File of a layer for regions, and again of that for single patches, whose network to train on.")
@_of_a_run
def detail(config, models, layers, data, out, valid, metric_weights, device, resume) -> None:
    """Train the detail layer on top of frozen models."""
    from dqcodec.training.detail_config import load
    from dqcodec.training.detail_trainer import DetailFolders, DetailTrainer

    folders = DetailFolders(tuple(models), tuple(data), out, valid, metric_weights, tuple(layers))
    _train(DetailTrainer(load(config), folders, device, resume), "img_s", "img/s", ("loss", "l1", "lpips_vgg"))


@train_group.command("book")
@click.option("--network", required=True, type=PATH, help="File of the detail layer whose network shows the codes.")
@click.option("--model", "models", required=True, multiple=True, type=PATH,
              help="Model file whose decoded pictures to add detail to; repeatable.")
@click.option("--data", required=True, multiple=True, type=PATH, help="Folder of images or tar shards; repeatable.")
@click.option("--output", required=True, type=PATH, help="File to write, detail/sparse.safetensors.xz.")
@click.option("--codes", type=click.IntRange(2, 4096), default=1024, show_default=True)
@click.option("--crops", type=click.IntRange(1), default=600, show_default=True, help="Crops of 256x256 to learn from.")
def book(network, models, data, output, codes, crops) -> None:
    """Make a codebook of detail for single patches."""
    from dqcodec.training import detail_book

    mark = detail_book.make(network, models, data, output, codes, crops)
    click.echo(f"{output}: fingerprint {mark.hex()}")


@train_group.command("soft")
@click.option("--config", default="soft", show_default=True, help="YAML or JSON file, or a packaged config.")
@click.option("--model", required=True, type=PATH, help="Model file whose decoder to adapt.")
@click.option("--init", type=PATH, help="File of the softness of an earlier state of that decoder, to go on from.")
@_of_a_run
def soft(config, model, init, data, out, valid, metric_weights, device, resume) -> None:
    """Train what a model's decoder lacks for pictures that are soft at their size."""
    from dqcodec.training.soft_config import load
    from dqcodec.training.soft_trainer import SoftFolders, SoftTrainer

    folders = SoftFolders(model, tuple(data), out, valid, metric_weights, init)
    _train(SoftTrainer(load(config), folders, device, resume), "img_s", "img/s", ("loss", "l1", "lpips_vgg"))


@train_group.command("prior")
@click.option("--config", default="prior", show_default=True, help="YAML or JSON file, or a packaged config.")
@click.option("--vae", required=True, type=PATH,
              help="Model file (.safetensors) of the frozen DQ-VAE; for `mode: paper` checkpoint.pt of its run.")
@click.option("--data", required=True, multiple=True, type=PATH,
              help="Folder of images or tar shards; one with a classes.json gives class labels. Repeatable.")
@click.option("--out", required=True, type=PATH, help="Folder for checkpoint, logs and cached tokens.")
@click.option("--valid", type=PATH, help="Folder of validation images.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--init", type=PATH, help="Checkpoint of a prior whose averaged weights to start from.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --out.")
def prior(config, vae, data, out, valid, device, init, resume) -> None:
    """Train a DQ-Transformer on the tokens of a frozen DQ-VAE (codec or paper mode, as the config says)."""
    from dqcodec.training.paper_prior_trainer import trainer_for
    from dqcodec.training.prior_trainer import PriorFolders

    def encoded(done: int, total: int) -> None:
        if done % 100 == 0 or done == total:
            click.echo(f"encoded {done} of {total} pictures", err=True)

    folders = PriorFolders(vae, tuple(data), out, valid)
    _train(trainer_for(config, folders, device, resume, init, encoded), "symbols_s", "symbols/s", ("bits",))


def _train(trainer, speed: str, unit: str, figures: tuple[str, ...]) -> None:
    """Run a trainer under a progress bar; an interrupt stops it after its step, with a checkpoint."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    stop: list[int] = []
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda number, frame: stop.append(number))
    columns = (BarColumn(), TextColumn("{task.percentage:>5.1f} %"), TimeRemainingColumn(),
               TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=1.0, completed=trainer.progress)

        def report(row: dict) -> None:
            shown = [f"step {row['step']}", f"{row[speed]:.1f} {unit}"]
            shown += [f"{k} {row[k]:.4f}" for k in figures if k in row]
            bar.update(task, completed=trainer.progress, description="  ".join(shown))

        trainer.run(report, lambda: bool(stop))
    if stop:
        click.echo(f"stopped at step {trainer.step}; go on with --resume", err=True)


@train_group.command("export")
@click.option("--run", "folder", required=True, type=PATH, help="Folder of a finished or running training.")
@click.option("--vae", type=PATH, help="For a run of a prior or with frozen codebooks: the model file to put it into. "
              "For one of a detail layer: a model it adds to; of softness: the model it belongs to.")
@click.option("--data", multiple=True, type=PATH, help="For the run of a DQ-VAE without --vae: pictures whose codes "
              "fill the tables.")
@click.option("--output", type=PATH, help="Model file to write, NAME.safetensors. Not for softness, which goes into "
              "the folder soft beside its model.")
@click.option("--pictures", default=400, show_default=True, help="Pictures to count codes on.")
@click.option("--layer", type=PATH, help="For a run of detail that went on from layers: the layer file that gets its "
              "network.")
@click.option("--realism", type=click.FloatRange(0, 1),
              help="For a decoder alone: keep the model's, make the run's the other end of a dial, set to this.")
def export(folder, vae, data, output, pictures, layer, realism) -> None:
    """Make a model file from a run: a DQ-VAE with frequency tables, or a model file with new prior or networks; or the
    file of a detail layer or of softness."""
    from dqcodec.training import checkpoint
    from dqcodec.training.export import (
        export_detail,
        export_detail_network,
        export_model,
        export_networks,
        export_prior,
        export_softness,
    )

    state = checkpoint.load(folder)
    if "softness" in state:
        if vae is None or not data or output is not None or realism is not None:
            raise click.UsageError("for the run of softness give --vae, its model, and --data, and no --output")
        path, correlation = export_softness(folder, vae, list(data), pictures)
        click.echo(f"{path}: {path.stat().st_size} bytes; amounts read from pixels correlate by {correlation:.3f} with "
                   "the true ones")
        return
    if output is None:
        raise click.UsageError("give --output, the file to write")
    if layer is not None:
        if "detail" not in state or vae is not None or data:
            raise click.UsageError("--layer is for the run of a detail layer, without --vae and --data")
        mark = export_detail_network(folder, layer, output)
        click.echo(f"{output}: fingerprint {mark.hex()}")
        return
    if "detail" in state:
        if vae is None or not data or realism is not None:
            raise click.UsageError("for the run of a detail layer give --vae, a model that it adds to, and --data")
        mark = export_detail(folder, [vae], list(data), output, pictures)
        click.echo(f"{output}: fingerprint {mark.hex()}")
        return
    of_prior = "prior" in state
    if vae is None and (of_prior or not data):
        raise click.UsageError("give --data for the run of a DQ-VAE, or --vae for that of a prior or one with frozen "
                               "codebooks")
    if vae is not None and data:
        raise click.UsageError("--data is for a model without --vae: a prior's tables are of its run's tokens, and new "
                               "networks keep those of --vae")
    if vae is None:
        mark = export_model(folder, list(data), output, pictures)
    elif of_prior:
        if realism is not None:
            raise click.UsageError(f"--realism is for a decoder; {folder} is the run of a prior")
        mark = export_prior(folder, vae, output)
    else:
        mark = export_networks(folder, vae, output, realism)
    click.echo(f"{output}: fingerprint {mark.hex()}")


# 7 bits cost a decoder next to nothing, an encoder seven per cent of LPIPS-VGG (docs/experiments.md, section 2).
def _bits(default: int):
    return click.option("--bits", type=click.IntRange(4, 8), default=default, show_default=True,
                        help="Of the networks' kernels.")


@train_group.command("retire")
@click.argument("model", type=PATH)
@click.option("--output", required=True, type=PATH, help="Model file to write: NAME.safetensors, or packed, "
              "NAME.safetensors.xz.")
@click.option("--decoder-of", "lender", type=PATH, help="Newer model file with the same codebooks, in the folder of "
              "--output; its decoder serves both.")
@_bits(7)
def retire(model, output, lender, bits) -> None:
    """Leave in a superseded model's file what its old files need to decode: a third of the size, or less."""
    from dqcodec.weights.model_file import Model
    from dqcodec.weights.slim import retire

    _check_beside("--decoder-of", lender, output)
    retire(model, output, lender, bits)
    click.echo(f"{output}: fingerprint {Model.read(output).fingerprint.hex()}, decodes only")


def _check_beside(option: str, lender: Path | None, output: Path) -> None:
    if lender is not None and lender.resolve().parent != output.resolve().parent:
        raise click.UsageError(f"{option} {lender} must lie in the folder of --output")


@train_group.command("difference")
@click.argument("model", type=PATH)
@click.option("--output", required=True, type=PATH, help="Model file to write, NAME.safetensors.xz.")
@click.option("--prior-on", "base", required=True, type=PATH, help="Model file in the folder of --output, whose prior "
              "was trained from this one's or this one's from it.")
def difference(model, output, base) -> None:
    """Keep in a superseded model's file only in what its prior differs from another's."""
    from dqcodec.weights.model_file import Model
    from dqcodec.weights.slim import keep_difference

    _check_beside("--prior-on", base, output)
    keep_difference(model, output, base)
    click.echo(f"{output}: fingerprint {Model.read(output).fingerprint.hex()}, {output.stat().st_size} bytes")


@train_group.command("share")
@click.argument("model", type=PATH)
@click.option("--output", required=True, type=PATH, help="Model file to write: NAME.safetensors, or packed, "
              "NAME.safetensors.xz.")
@click.option("--codes-of", "lender", required=True, type=PATH, help="Model file of the same fingerprint, in the "
              "folder of --output; its codebooks, tables and prior serve both.")
@_bits(8)
def share(model, output, lender, bits) -> None:
    """Leave out of a model's file what another of the same fingerprint has: codebooks, tables and prior."""
    from dqcodec.weights.model_file import Model
    from dqcodec.weights.slim import share

    _check_beside("--codes-of", lender, output)
    share(model, output, lender, bits)
    click.echo(f"{output}: fingerprint {Model.read(output).fingerprint.hex()}, {output.stat().st_size} bytes")


@train_group.command("whole")
@click.argument("model")
@click.option("--output", required=True, type=PATH, help="Model file to write: NAME.safetensors, or packed, "
              "NAME.safetensors.xz.")
def whole(model, output) -> None:
    """Make a model's file one that needs no other: with the codebooks, prior or decoder that it borrows.

    MODEL is a name, such as tiny, or a path.
    """
    from dqcodec.weights.registry import path_of
    from dqcodec.weights.slim import make_whole

    make_whole(path_of(model), output)
    click.echo(f"{output}: {output.stat().st_size} bytes")
