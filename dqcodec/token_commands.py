"""`dqcodec tokens`. Heavy imports happen inside, so that `--help` answers at once."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dqcodec import files
from dqcodec.batch import Progress
from dqcodec.errors import DqError, TokenFileError

if TYPE_CHECKING:
    from dqcodec.token_files import TokenFile
    from dqcodec.token_shards import Sample

_ZIP, _DQ = b"PK", b"\x9dDQ"


@dataclasses.dataclass(frozen=True)
class _Options:
    """What a source is read with."""

    quality: int | None
    bpp: float | None
    model: str | None
    device: str
    vectors: bool = False


@click.command("tokens")
@click.argument("source", metavar="IN")
@click.option("-o", "--output", metavar="OUT", help="Output file, - for standard output, or for a folder the shards, "
              "as in tokens-%06d.tar. [default: beside the input]")
@click.option("--vectors", is_flag=True, help="Also write the codebooks (K, D) of every step.")
@click.option("--quality", type=click.IntRange(1, 100), help="Of images: 1..100, as in compress. [default: 50]")
@click.option("--bpp", type=click.FloatRange(min=0, min_open=True), help="Of images: bits for each pixel.")
@click.option("--per-shard", type=click.IntRange(min=1), help="Samples in a shard. [default: 1000]")
@click.option("--labels", metavar="FILE.json", help="Classes of a folder: an object of names or folders to integers. "
              "[default: CC of names CC_NNNNN]")
@click.option("--model", help="Name or path of the model. [default: found by the fingerprint; for images: default]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def tokens_command(source, output, vectors, quality, bpp, per_shard, labels, model, device, force) -> None:
    """Write the tokens of a file as arrays, or a file from such arrays.

    \b
    IN.dq or an image   to OUT.npz: grain map and codes
    IN.npz              to OUT.dq
    a folder of images and .dq files   to WebDataset shards OUT-%06d.tar
    """
    if quality is not None and bpp is not None:
        raise click.UsageError("give only one of --quality and --bpp")
    options = _Options(quality, bpp, model, device, vectors)
    if source != files.STREAM and Path(source).is_dir():
        if vectors:
            raise click.UsageError("--vectors is for single files: all samples of a model share its codebooks")
        _folder(source, output, per_shard or 1000, labels, options, force)
    elif per_shard is not None or labels is not None:
        raise click.UsageError("--per-shard and --labels are for folders")
    else:
        _file(source, output, options, force)


def _file(source: str, output: str | None, options: _Options, force: bool) -> None:
    from dqcodec.cli import run_jobs

    data = files.read_bytes(source) if source == files.STREAM else None
    suffix = _suffix(source, data)
    wanted = ".dq" if suffix == ".npz" else ".npz"
    (job,) = files.plan_jobs([source], output, (suffix,), wanted)
    if not files.is_stream(job.target) and Path(job.target).suffix.lower() != wanted:
        raise click.UsageError(f"-o {job.target}: what comes from {source} is a {wanted} file")
    if suffix in (".dq", ".npz") and (options.quality or options.bpp):
        raise click.UsageError("--quality and --bpp are for images; a file of tokens has its rate")
    if suffix == ".npz" and options.vectors:
        raise click.UsageError("--vectors is for writing a .npz file")

    def work(job: files.Job, say: Callable[[str], None], progress: Progress) -> None:
        from dqcodec import token_files

        files.check_target(job.target, force)
        if suffix == ".npz":
            contents = token_files.unpack(files.read_bytes(source) if data is None else data)
            files.put_bytes(job.target, token_files.to_dq(contents, model=options.model))
            return
        contents, left_out = _read(source, data, options)
        if left_out:
            say(f"dqcodec: {source}: note: tokens do not carry {', '.join(left_out)}")
        files.put_bytes(job.target, token_files.pack(contents))

    run_jobs([job], work)


def _folder(source: str, output: str | None, per_shard: int, labels: str | None, options: _Options,
            force: bool) -> None:
    from dqcodec import token_shards

    try:
        token_shards.shard_path(output or "", 0)
    except ValueError as error:
        raise click.UsageError("a folder goes to shards: -o needs a numbered name, as in tokens-%06d.tar") from error
    before = token_shards.existing_shards(output)
    for shard in before:
        files.check_target(str(shard), force)
    classes = None if labels is None else token_shards.read_labels(labels)
    # As if every file went to NAME.npz below the current folder: that NAME is the key of its sample.
    jobs = files.plan_jobs([source], ".", (*files.IMAGE_SUFFIXES, ".dq"), ".npz")
    failures: list[str] = []
    written = token_shards.write_shards(output, _samples(jobs, classes, options, failures), per_shard)
    for shard in before:
        if shard not in written:
            _say(f"dqcodec: {shard}: note: left from an earlier run; remove it if it is not wanted")
    if failures:
        _say(f"dqcodec: {len(failures)} of {len(jobs)} files failed")
        sys.exit(1)


def _samples(jobs: list[files.Job], classes: dict[str, int] | None, options: _Options,
             failures: list[str]) -> Iterator[Sample]:
    """Sample after sample; files that fail are named on stderr and in `failures`."""
    from dqcodec import token_shards
    from dqcodec.cli import progress

    left_out: Counter[str] = Counter()
    sources: dict[str, str] = {}  # by key
    mark = None
    with progress(len(jobs)) as advance:
        for job in jobs:
            sample = None
            try:
                key = token_shards.key_of(Path(job.target))
                if key in sources:
                    raise TokenFileError(f"would be the same sample as {sources[key]}; rename one of them")
                contents, extras = _read(job.source, None, options)
                mark = mark or contents.fingerprint
                if contents.fingerprint != mark:
                    other = contents.fingerprint.hex()
                    raise TokenFileError(f"is of model {other}, the files before it of {mark.hex()}")
                sample = token_shards.Sample(key, contents, token_shards.label_of(key, classes))
                sources[key] = job.source
                left_out.update(extras)
            except DqError as error:
                failures.append(job.source)
                _say(f"dqcodec: {'' if str(error).startswith(job.source) else f'{job.source}: '}{error}")
            except MemoryError:
                failures.append(job.source)
                _say(f"dqcodec: {job.source}: not enough memory for this image; scale it down or close programs")
            if sample is not None:
                yield sample
            advance()
    if left_out:
        counts = ", ".join(f"{kind} of {count}" for kind, count in sorted(left_out.items()))
        _say(f"dqcodec: note: tokens do not carry {counts} files")


def _suffix(source: str, data: bytes | None) -> str:
    """Suffix of a source; standard input, `data`, has that of its first bytes, "" for an image."""
    if data is None:
        return Path(source).suffix.lower()
    return ".npz" if data.startswith(_ZIP) else ".dq" if data.startswith(_DQ) else ""


def _read(source: str, data: bytes | None, options: _Options) -> tuple[TokenFile, list[str]]:
    """Tokens of a .dq file or an image, and the names of what they leave out. data: of standard input."""
    from dqcodec import bitstream, codec, images, token_files

    if _suffix(source, data) == ".dq":
        packed = files.read_bytes(source) if data is None else data
        contents = token_files.from_dq(packed, model=options.model, vectors=options.vectors)
        return contents, [section.name for section in bitstream.inspect(packed).sections if section.step is None]
    picture = images.to_picture(images.open_image(Path(source) if data is None else data))
    for note in picture.notes:
        _say(f"dqcodec: {source}: note: {note}")
    # Not even coded: the rate asked for is that of the tokens. And a token stands for the same pixels in every image.
    bare = dataclasses.replace(picture, alpha=None, icc=None)
    model = options.model or "default"
    packed = codec.compress(bare, quality=options.quality, bpp=options.bpp, scale=1, model=model, device=options.device,
                            detail=False)
    extras = [name for name in ("alpha", "icc") if getattr(picture, name) is not None]
    return token_files.from_dq(packed, model=model, vectors=options.vectors), extras


def _say(text: str) -> None:
    click.echo(text, err=True)
