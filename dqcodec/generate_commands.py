"""`dqcodec generate`. Heavy imports happen inside, so that `--help` answers at once."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dqcodec import files
from dqcodec.errors import DqError, FormatError, GenerateError, UnknownModelError

if TYPE_CHECKING:
    from PIL import Image

    from dqcodec.generation import Generated

GAP = 2  # pixels between the pictures of a contact sheet


@click.command("generate")
@click.option("-o", "--output", required=True, help="Folder for numbered PNGs; or an image file, which for several "
              "pictures is a contact sheet; or - for standard output.")
@click.option("--num", type=int, default=1, show_default=True, help="How many pictures.")
@click.option("--class", "class_name", metavar="NAME", help="A class that the model was trained with.")
@click.option("--size", metavar="WxH", help="Pixels of pictures from nothing. [default: one tile of the model]")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same tokens everywhere.")
@click.option("--from", "source", metavar="FILE", help="Start from a .dq file (or -), with one of the next three:")
@click.option("--keep", type=float, metavar="FRACTION", help="keep this first fraction of its tokens, 0..1;")
@click.option("--upto", metavar="coarse|medium", help="keep its tokens up to this grain;")
@click.option("--mask", metavar="X,Y,W,H", help="keep all but the regions that this box in pixels touches.")
@click.option("--temperature", type=float, default=1.0, show_default=True, help="Of the codes.")
@click.option("--top-k", type=int, help="Only the k likeliest codes.")
@click.option("--top-p", type=float, default=1.0, show_default=True, help="Only the likeliest codes of this share.")
@click.option("--guidance", type=float, default=1.0, show_default=True, help="Towards the class (classifier-free).")
@click.option("--detail", type=float, default=0.0, show_default=True,
              help="More (> 0) or fewer refined regions: nats added to their log-odds.")
@click.option("--order", type=click.Choice(["groups", "raster"]), default="groups", show_default=True,
              help="raster: one code at a time, slow.")
@click.option("--tokens", type=click.Choice(["dq", "npz"]), help="Also write the tokens, beside the pictures.")
@click.option("--model", help="Name or path of the model. [default: that of FILE, or default]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
              help="For the pixels; tokens are sampled on the processor.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def generate_command(output, num, class_name, size, seed, source, keep, upto, mask, temperature, top_k, top_p,
                     guidance, detail, order, tokens, model, device, force) -> None:
    """Sample pictures from the model's prior: from nothing, or from a part of a file.

    \b
    dqcodec generate -o new/ --num 16 --seed 7
    dqcodec generate -o sheet.png --num 9 --from photo.dq --upto coarse
    dqcodec generate -o other.png --from photo.dq --mask 64,0,96,96
    """
    if num < 1:
        raise GenerateError(f"--num {num} must be at least 1")
    from dqcodec import generation
    from dqcodec.cli import progress
    from dqcodec.prior.sampling import Sampling

    settings = Sampling(temperature, top_k, top_p, guidance, detail, order)
    targets = _Targets.plan(output, num, tokens)
    targets.check(force)
    box = None if mask is None else _integers("--mask", mask, ",", 4, "X,Y,W,H")
    pixels = None if size is None else _integers("--size", size, "x", 2, "WxH")
    start = generation.Start(pixels, None if source is None else files.read_bytes(source), keep, upto, box)
    try:
        found = generation.each(num, start, settings, class_name=class_name, seed=seed, model=model, device=device)
        with progress(num) as advance:
            targets.write(_counted(found, advance), num)
    except (FormatError, UnknownModelError) as error:
        raise DqError(error if source is None else f"{source}: {error}") from error


@dataclass(frozen=True)
class _Targets:
    """Where pictures go.

    sheet: one file for all, or None. pictures: a file for each, without a sheet. tokens: a file for each, or none.
    """

    sheet: str | None
    pictures: tuple[str, ...]
    tokens: tuple[str, ...]

    @classmethod
    def plan(cls, output: str, num: int, kind: str | None) -> _Targets:
        """Raises ImageError if the output is a file of a kind that Pillow does not write."""
        from dqcodec import images

        digits = max(4, len(str(num - 1)))
        path = Path(output)
        if not files.is_stream(output) and (path.is_dir() or output.endswith(("/", os.sep)) or not path.suffix):
            stems = [str(path / f"{i:0{digits}}") for i in range(num)]
            return cls(None, tuple(f"{s}.png" for s in stems), tuple(f"{s}.{kind}" for s in stems if kind))
        images.format_of(output)
        if files.is_stream(output) and kind:
            raise GenerateError("--tokens needs a folder or a file to write beside; give -o one")
        stem = str(path.with_suffix(""))
        stems = [stem] if num == 1 else [f"{stem}-{i:0{digits}}" for i in range(num)]
        return cls(output, (), tuple(f"{s}.{kind}" for s in stems if kind))

    def check(self, force: bool) -> None:
        """Refuse what exists already."""
        for target in (self.sheet, *self.pictures, *self.tokens):
            if target is not None:
                files.check_target(target, force)

    def write(self, found: Iterator[Generated], num: int) -> None:
        """Write `num` pictures as they come; a contact sheet at the end."""
        from dqcodec import images

        sheet = None
        for i, one in enumerate(found):
            if self.sheet is None:
                files.put_bytes(self.pictures[i], images.encode(one.image, "PNG"))
            else:
                sheet = sheet or ContactSheet(one.image, num)
                sheet.add(one.image)
            if self.tokens:
                data = one.to_dq() if self.tokens[i].endswith(".dq") else one.to_npz()
                files.put_bytes(self.tokens[i], data)
        if self.sheet is not None:
            files.put_bytes(self.sheet, images.encode(sheet.image, images.format_of(self.sheet)))


class ContactSheet:
    """Pictures of one size and mode, row by row on white; one picture alone is itself.

    Raises GenerateError if `count` pictures like `first` make too large an image.
    """

    def __init__(self, first: Image.Image, count: int):
        from PIL import Image

        from dqcodec.codec import MAX_PIXELS

        self.across, self.count = math.ceil(math.sqrt(count)), 0
        down = math.ceil(count / self.across)
        self.step = first.width + GAP, first.height + GAP
        size = self.across * self.step[0] - GAP, down * self.step[1] - GAP
        if size[0] * size[1] > MAX_PIXELS:
            raise GenerateError(f"a contact sheet of {size[0]}x{size[1]} pixels is too large; give -o a folder")
        self.image = Image.new(first.mode, size, (255,) * len(first.getbands()))
        self.image.info = dict(first.info)

    def add(self, picture: Image.Image) -> None:
        """Put the next picture into its place."""
        row, column = divmod(self.count, self.across)
        self.image.paste(picture, (column * self.step[0], row * self.step[1]))
        self.count += 1


def _counted(found: Iterator[Generated], advance: Callable[[], object]) -> Iterator[Generated]:
    for one in found:
        yield one
        advance()


def _integers(option: str, text: str, separator: str, count: int, form: str) -> tuple[int, ...]:
    parts = text.lower().split(separator)
    try:
        values = tuple(int(part) for part in parts)
    except ValueError:
        values = ()
    if len(values) != count:
        raise GenerateError(f"{option} {text!r} must be {form}, whole pixels")
    return values
