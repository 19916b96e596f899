"""The command line.

Exit codes: 0 good, 1 a file failed, 2 wrong usage, 3 the prior invented a part (--complete), 130 interrupted.

Heavy imports happen inside the commands, so that `dqcodec --help` answers at once.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from dqcodec import files
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


def run_jobs(jobs: list[files.Job], work) -> None:
    """Run `work(job)` for each job; a failed file is named and the others go on; exits 1 if any failed."""
    failed = 0
    with progress(len(jobs)) as advance:
        for job in jobs:
            try:
                work(job)
            except DqError as error:
                failed += 1
                # Messages about content do not know the file's name, messages about files do.
                name = "" if str(error).startswith((job.source, job.target)) else f"{job.source}: "
                say(f"dqcodec: {name}{error}")
            except MemoryError:
                failed += 1
                say(f"dqcodec: {job.source}: not enough memory for this image; scale it down or close programs")
            advance()
    if failed:
        if len(jobs) > 1:
            say(f"dqcodec: {failed} of {len(jobs)} files failed")
        sys.exit(1)


class progress:
    """A progress bar on stderr for several files; nothing for one, or where stderr is no terminal."""

    def __init__(self, total: int):
        self.bar = None
        if total > 1 and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

            self.bar = Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True))
            self.task = self.bar.add_task("", total=total)

    def __enter__(self):
        if self.bar:
            self.bar.start()
        return lambda: self.bar and self.bar.advance(self.task)

    def __exit__(self, *exc):
        if self.bar:
            self.bar.stop()


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
@click.option("--effort", type=click.Choice(["fast", "best"]), default="fast", show_default=True,
              help="best: choose regions by real costs and decodes; slower.")
@click.option("--model", default="default", show_default=True, help="Name or path of the model.")
@click.option("--device", type=DEVICE, default="auto", show_default=True)
@click.option("--keep-metadata", is_flag=True, help="Keep EXIF and XMP (a colour profile is always kept).")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def compress(inputs, output, quality, bpp, size, scale, softness, detail, effort, model, device, keep_metadata,
             force) -> None:
    """Compress images (files, folders, or - for standard input) to .dq files."""
    if sum(option is not None for option in (quality, bpp, size)) > 1:
        raise click.UsageError("give only one of --quality, --bpp and --size")
    jobs = files.plan_jobs(inputs, output, files.IMAGE_SUFFIXES, ".dq")
    warned = []
    from dqcodec import codec, content, images

    def work(job: files.Job) -> None:
        files.check_target(job.target, force)
        source = files.read_bytes("-") if job.source == files.STREAM else Path(job.source)
        picture = images.to_picture(images.open_image(source))
        for note in picture.notes:
            say(f"dqcodec: {job.source}: note: {note}")
        data = codec.compress(picture, bpp=bpp, size=size, quality=quality, scale=scale, softness=softness,
                              detail=detail, effort=effort, model=model, device=device, keep_metadata=keep_metadata)
        files.put_bytes(job.target, data)
        if content.is_screen_content(picture.pixels):
            warned.append(job.source)
            if len(warned) <= MOST_WARNINGS:
                say(f"dqcodec: {job.source}: warning: {content.WARNING}")

    try:
        run_jobs(jobs, work)
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
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def decompress(inputs, output, upto, partial, complete, realism, model, device, max_pixels, force) -> None:
    """Decompress .dq files (files, folders, or - for standard input) to images."""
    if complete and not partial:
        raise click.UsageError("--complete is for damaged files: add --partial")
    invented = []
    jobs = files.plan_jobs(inputs, output, (".dq",), ".png")
    from dqcodec import codec, images

    def work(job: files.Job) -> None:
        files.check_target(job.target, force)
        kind = images.format_of(job.target)
        data = files.read_bytes(job.source)
        try:
            decoded = codec.decode(data, upto=upto, partial=partial, complete=complete, realism=realism, model=model,
                                   device=device, max_pixels=max_pixels)
        except DqError as error:
            hint = codec.partial_hint(error, data) if not partial else ""
            raise DqError(f"{job.source}: {error}{hint}") from error
        if decoded.invented:
            steps = f"step{'' if len(decoded.invented) == 1 else 's'} {', '.join(map(str, decoded.invented))}"
            say(f"dqcodec: {job.source}: {steps} invented by the prior, not decoded: {decoded.problem}")
            invented.append(job.source)
        elif decoded.problem:
            say(f"dqcodec: {job.source}: only a coarser picture: {decoded.problem}")
        files.put_bytes(job.target, images.encode(decoded.image, kind))

    run_jobs(jobs, work)
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
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
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
