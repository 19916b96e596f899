"""The command line.

Exit codes: 0 good, 1 a file failed, 2 wrong usage, 3 the prior invented a part (--complete), 130 interrupted.

Heavy imports happen inside the commands, so that `dqcodec --help` answers at once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import click

from dqcodec import batch, file_work, files, workers
from dqcodec.errors import DqError
from dqcodec.eval.commands import compare_command, eval_command
from dqcodec.eval.gen_commands import eval_gen_command
from dqcodec.generate_commands import generate_command
from dqcodec.token_commands import tokens_command
from dqcodec.training.commands import train_group
from dqcodec.version import __version__

INVENTED = 3  # exit code
MOST_WARNINGS = 5  # of one command about the content of pictures; the rest are counted in one line
DEVICE = click.Choice(["auto", "cpu", "cuda"])


def say(text: str) -> None:
    click.echo(text, err=True)


def run_jobs(jobs: list[files.Job], work: batch.Work, processes: int = 1,
             found: Callable[[str], None] = lambda source: None) -> None:
    """Do `work` for each job; a failed file is named and the others go on; exits 1 if any failed. found: is told the
    sources that `work` said yes to."""
    failed = 0
    with progress(len(jobs)) as advance:
        for outcome in batch.run(jobs, work, processes, advance.within):
            for line in outcome.lines:
                say(line)
            failed += outcome.failed
            if outcome.found:
                found(outcome.source)
            advance()
    if failed:
        if len(jobs) > 1:
            say(f"dqcodec: {failed} of {len(jobs)} files failed")
        sys.exit(1)


class progress:
    """A progress bar on stderr for several files, or for one that says how far it is; nothing where stderr is no
    terminal. Called when a file is done."""

    def __init__(self, total: int):
        self.bar, self.total, self.done = None, total, 0

    def __enter__(self):
        if self.total > 1:
            self._start()
        return self

    def _start(self) -> None:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

            self.bar = Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True))
            self.task = self.bar.add_task("", total=self.total)
            self.bar.start()

    def __call__(self) -> None:
        self.done += 1
        if self.bar:
            self.bar.update(self.task, completed=self.done)

    def within(self, share: float) -> None:
        """This share, 0..1, of the file at hand is done."""
        if self.bar is None:
            self._start()
        if self.bar:
            self.bar.update(self.task, completed=self.done + share)

    def __exit__(self, *exc):
        if self.bar:
            self.bar.stop()


def of_many_files(command: Callable) -> Callable:
    """The options of commands that work on one file after another: `processes`, `force`, `skip`."""
    for option in (
        click.option("--skip-existing", "skip", is_flag=True,
                     help="Leave out what has its output already: go on with an interrupted folder."),
        click.option("--force", is_flag=True, help="Overwrite existing files."),
        click.option("--jobs", "processes", type=click.IntRange(min=1), default=1, show_default=True,
                     help="Files at a time, in processes that share the cores; each takes the memory of one."),
    ):
        command = option(command)
    return command


def planned(inputs: tuple[str, ...], output: str | None, wanted: Iterable[str], suffix: str, force: bool,
            skip: bool) -> list[files.Job]:
    """files.plan_jobs, less what is there already if that is to be left out."""
    if force and skip:
        raise click.UsageError("give only one of --force and --skip-existing")
    jobs = files.plan_jobs(inputs, output, wanted, suffix)
    left = [job for job in jobs if not files.is_there(job.target)] if skip else jobs
    if len(left) < len(jobs):
        say(f"dqcodec: {len(jobs) - len(left)} of {len(jobs)} files are there already")
    return left


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dqcodec")
def cli() -> None:
    """A learned image codec on variable-length visual tokens."""


@cli.command()
@click.argument("inputs", nargs=-1, required=True, metavar="IN...")
@click.option("-o", "--output", help="Output file, folder, or - for standard output. [default: beside the input]")
@click.option("--quality", type=click.IntRange(1, 100), help="1..100; the rate follows the picture. [default: 50]")
@click.option("--bpp", type=click.FloatRange(min=0, min_open=True), help="Bits for each pixel, whole file.")
@click.option("--size", type=click.IntRange(min=1), help="Bytes of the whole file.")
@click.option("--scale", type=click.FloatRange(0, 1, min_open=True), metavar="0..1",
              help="Code the image at this part of its width and height. [default: chosen by what that would lose]")
@click.option("--softness", type=click.FloatRange(0, 1), metavar="0..1",
              help="Adapt the decoder by this much to an image that is soft at its size. [default: measured]")
@click.option("--detail/--no-detail", default=True, show_default=True,
              help="Whether a file may have detail in the pixels on top of its tokens: rates beyond 0.3 bpp gain.")
@click.option("--effort", type=click.Choice(["fast", "best", "search"]), default="fast", show_default=True,
              help="best: choose regions by real costs and decodes; slower. search: move codes by the gradient of "
                   "LPIPS-VGG; much slower, much nearer.")
@click.option("--metric-weights", type=click.Path(path_type=Path, file_okay=False),
              help="For --effort search: folder of the weights of VGG16 and LPIPS as safetensors "
                   "[DQCODEC_METRIC_WEIGHTS]; else the package lpips downloads them.")
@click.option("--search-steps", type=click.IntRange(1, 1000),
              help="For --effort search: steps of the gradient; time goes with their number. [default: 8]")
@click.option("--model", default="default", show_default=True, help="Name or path of the model.")
@click.option("--device", type=DEVICE, default="auto", show_default=True)
@click.option("--keep-metadata", is_flag=True, help="Keep EXIF and XMP (a colour profile is always kept).")
@of_many_files
def compress(inputs, output, quality, bpp, size, scale, softness, detail, effort, metric_weights, search_steps,
             model, device, keep_metadata, processes, force, skip) -> None:
    """Compress images (files, folders, or - for standard input) to .dq files."""
    if sum(option is not None for option in (quality, bpp, size)) > 1:
        raise click.UsageError("give only one of --quality, --bpp and --size")
    if effort == "search":
        from dqcodec.eval import metric_weights as weights

        metric_weights = weights.find(metric_weights)
    elif metric_weights is not None or search_steps is not None:
        raise click.UsageError("--metric-weights and --search-steps are for --effort search")
    jobs = planned(inputs, output, files.IMAGE_SUFFIXES, ".dq", force, skip)
    work = file_work.Compress(dict(bpp=bpp, size=size, quality=quality, scale=scale, softness=softness, detail=detail,
                                   effort=effort, metric_weights=metric_weights, search_steps=search_steps, model=model,
                                   device=device, keep_metadata=keep_metadata), force)
    warned = []

    def warn(source: str) -> None:
        from dqcodec import content

        warned.append(source)
        if len(warned) <= MOST_WARNINGS:
            say(f"dqcodec: {source}: warning: {content.WARNING}")

    try:
        run_jobs(jobs, work, processes, warn)
    finally:
        if len(warned) > MOST_WARNINGS:
            say(f"dqcodec: warning: the same of {len(warned) - MOST_WARNINGS} more pictures, {len(warned)} in all")


@cli.command()
@click.argument("inputs", nargs=-1, required=True, metavar="IN...")
@click.option("-o", "--output", help="Output image (format by suffix), folder, or -. [default: NAME.png]")
@click.option("--upto", type=click.Choice(["coarse", "medium", "fine"]), help="Decode no further than this grain.")
@click.option("--partial", is_flag=True, help="Decode what is intact of a truncated or damaged file.")
@click.option("--complete", is_flag=True, help="With --partial: let the model's prior invent the rest; exit code 3.")
@click.option("--realism", type=click.FloatRange(0, 1), metavar="0..1",
              help="0: least distortion, 1: most realistic texture. [default: the model's]")
@click.option("--model", help="Name or path of the model. [default: found by the file's fingerprint]")
@click.option("--device", type=DEVICE, default="auto", show_default=True)
@click.option("--max-pixels", type=click.IntRange(min=1), default=2**28, show_default=True)
@of_many_files
def decompress(inputs, output, upto, partial, complete, realism, model, device, max_pixels, processes, force,
               skip) -> None:
    """Decompress .dq files (files, folders, or - for standard input) to images."""
    if complete and not partial:
        raise click.UsageError("--complete is for damaged files: add --partial")
    invented = []
    jobs = planned(inputs, output, (".dq",), ".png", force, skip)
    work = file_work.Decompress(dict(upto=upto, partial=partial, complete=complete, realism=realism, model=model,
                                     device=device, max_pixels=max_pixels), force)
    run_jobs(jobs, work, processes, invented.append)
    if invented:
        sys.exit(INVENTED)


@cli.command()
@click.argument("file", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@click.option("--model", help="Name or path of the model. [default: found by the file's fingerprint]")
def info(file, as_json, model) -> None:
    """Show header, grains, bytes of each section and the model of a .dq file."""
    from dqcodec import describe

    data = files.read_bytes(file)
    try:
        facts = describe.describe(data, model)
    except DqError as error:
        raise DqError(f"{file}: {error}") from error
    click.echo(json.dumps(facts, indent=2) if as_json else describe.to_text(file, facts))
    if facts["problem"]:
        sys.exit(1)


cli.add_command(train_group)
cli.add_command(eval_command)
cli.add_command(compare_command)
cli.add_command(eval_gen_command)
cli.add_command(tokens_command)
cli.add_command(generate_command)


def _run() -> int:
    """Run the command line; what the user can mend becomes one line and an exit code."""
    try:
        code = cli.main(standalone_mode=False)
        return code if isinstance(code, int) else 0
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except (click.exceptions.Abort, KeyboardInterrupt):
        say("dqcodec: interrupted")
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except DqError as error:
        say(f"dqcodec: {error}")
        return 1
    except BrokenPipeError:
        return 1  # whoever read our output has seen enough


def main() -> None:
    """Entry point."""
    # Before torch is loaded, which reads it then: threads that wait for others don't keep a core busy. On a quiet
    # machine that costs nothing, beside another program it is three times as fast (docs/experiments.md, section 6).
    os.environ.setdefault(workers.WAIT_POLICY, "PASSIVE")
    code = _run()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            code = code or 1
    # Everything is written. Tearing torch down in order takes half a second that nobody waits for.
    os._exit(code)


if __name__ == "__main__":
    main()
