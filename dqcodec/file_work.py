"""What `compress` and `decompress` do with one file; picklable, so that worker processes can do it too.

Heavy imports happen when there is work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dqcodec import files
from dqcodec.batch import Progress
from dqcodec.errors import DqError
from dqcodec.files import Job


@dataclass(frozen=True)
class Compress:
    """Image to .dq file; finds whether it is of a kind that the codec codes badly. options: of codec.compress."""

    options: dict[str, Any]
    force: bool

    def __call__(self, job: Job, say: Callable[[str], None], progress: Progress) -> bool:
        from dqcodec import codec, content, images

        files.check_target(job.target, self.force)
        source = files.read_bytes("-") if job.source == files.STREAM else Path(job.source)
        picture = images.to_picture(images.open_image(source))
        for note in picture.notes:
            say(f"dqcodec: {job.source}: note: {note}")
        files.put_bytes(job.target, codec.compress(picture, **self.options, progress=progress))
        return content.is_screen_content(picture.pixels)


@dataclass(frozen=True)
class Decompress:
    """.dq file to image; finds whether the prior invented a part. options: of codec.decode."""

    options: dict[str, Any]
    force: bool

    def __call__(self, job: Job, say: Callable[[str], None], progress: Progress) -> bool:
        from dqcodec import codec, images

        files.check_target(job.target, self.force)
        data = files.read_bytes(job.source)
        kind = images.format_of(job.target)
        try:
            decoded = codec.decode(data, **self.options)
        except DqError as error:
            hint = "" if self.options["partial"] else codec.partial_hint(error, data)
            raise DqError(f"{job.source}: {error}{hint}") from error
        if decoded.invented:
            steps = f"step{'' if len(decoded.invented) == 1 else 's'} {', '.join(map(str, decoded.invented))}"
            say(f"dqcodec: {job.source}: {steps} invented by the prior, not decoded: {decoded.problem}")
        elif decoded.problem:
            say(f"dqcodec: {job.source}: only a coarser picture: {decoded.problem}")
        files.put_bytes(job.target, images.encode(decoded.image, kind))
        return bool(decoded.invented)
