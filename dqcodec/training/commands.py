"""`dqcodec train`: the trainers behind the command line. Imports torch only when a command runs."""

from __future__ import annotations

import signal
from pathlib import Path

import click

PATH = click.Path(path_type=Path)


@click.group("train")
def train_group() -> None:
    """Train models and make model files."""


@train_group.command("vae")
@click.option("--config", required=True, help="YAML or JSON file, or the name of a packaged config.")
@click.option("--data", required=True, multiple=True, type=PATH, help="Folder of images or tar shards; repeatable.")
@click.option("--out", required=True, type=PATH, help="Folder for checkpoint, logs and pictures.")
@click.option("--valid", type=PATH, help="Folder of validation images.")
@click.option("--metric-weights", type=PATH, help="Folder with the VGG16 and LPIPS weights of the loss.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--init", type=PATH, help="Checkpoint (its averaged weights) or .safetensors model to start from.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --out.")
def vae(config, data, out, valid, metric_weights, device, init, resume) -> None:
    """Train a DQ-VAE (codec or paper mode, as the config says)."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from dqcodec.training.config import load
    from dqcodec.training.trainer import RunFolders, Trainer

    trainer = Trainer(load(config), RunFolders(tuple(data), out, valid, metric_weights), device, resume, init)
    stop: list[int] = []
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda number, frame: stop.append(number))
    columns = (BarColumn(), TextColumn("{task.percentage:>5.1f} %"), TimeRemainingColumn(),
               TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=1.0, completed=trainer.progress)

        def report(row: dict) -> None:
            shown = [f"step {row['step']}", f"{row['img_s']:.1f} img/s"]
            shown += [f"{k} {row[k]:.4f}" for k in ("loss", "l1", "lpips_vgg") if k in row]
            bar.update(task, completed=trainer.progress, description="  ".join(shown))

        trainer.run(report, lambda: bool(stop))
    if stop:
        click.echo(f"stopped at step {trainer.step}; go on with --resume", err=True)


@train_group.command("export")
@click.option("--run", "folder", required=True, type=PATH, help="Folder of a finished or running training.")
@click.option("--data", required=True, multiple=True, type=PATH, help="Pictures whose codes fill the tables.")
@click.option("--output", required=True, type=PATH, help="Model file to write, NAME.safetensors.")
@click.option("--pictures", default=400, show_default=True, help="Pictures to count codes on.")
def export(folder, data, output, pictures) -> None:
    """Make a model file from a run: averaged weights and frequency tables."""
    from dqcodec.training.export import export_model

    mark = export_model(folder, list(data), output, pictures)
    click.echo(f"{output}: fingerprint {mark.hex()}")
