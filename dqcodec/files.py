"""Files of the command line: which inputs, which outputs, and writes that are whole or not at all."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dqcodec.errors import DqError

STREAM = "-"
WRITING = threading.Lock()  # held while a file is written, for a thread that wants to end the process
IMAGE_SUFFIXES = tuple(
    f".{name}"
    for name in "png jpg jpeg webp avif heic heif jxl jp2 tif tiff bmp gif ppm pgm pbm pnm tga ico qoi".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Job:
    """One file to work on; source and target may be "-"."""

    source: str
    target: str


def plan_jobs(inputs: Iterable[str], output: str | None, wanted: Iterable[str], suffix: str) -> list[Job]:
    """Pair every input with its output.

    inputs: files, folders (searched for files with a suffix in `wanted`, kept in their subfolders)
    or "-". output: None (beside the input), "-", a folder (existing, ending in a slash, or whenever
    there are several inputs), or a file. Raises DqError if two inputs would write the same file, several are to
    go to what looks like one file, or a folder holds nothing to do.
    """
    wanted = {s.lower() for s in wanted}
    found: list[tuple[str, Path]] = []  # (source, path below the output folder, without suffix)
    folders = False
    for name in inputs:
        path = Path(name)
        if name == STREAM:
            found.append((name, Path("stdin")))
        elif path.is_dir():
            folders = True
            below = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in wanted)
            if not below:
                raise DqError(f"{name}: no files here with a suffix of {' '.join(sorted(wanted))}")
            found += [(str(p), p.relative_to(path).with_suffix("")) for p in below]
        else:
            found.append((name, Path(path.stem)))
    into_folder = folders or len(found) > 1
    if output is not None and output != STREAM:
        is_folder = Path(output).is_dir() or output.endswith(("/", os.sep))
        if into_folder and not is_folder and Path(output).suffix.lower() in (suffix, *IMAGE_SUFFIXES):
            raise DqError(f"{output}: several inputs cannot go to one file; name a folder, or end it in a slash")
        into_folder = into_folder or is_folder
    if output == STREAM and len(found) > 1:
        raise DqError("several inputs cannot go to one standard output; give -o a folder")
    jobs = []
    for source, stem in found:
        if output is None:
            target = STREAM if source == STREAM else str(Path(source).with_suffix(suffix))
        elif into_folder and output != STREAM:
            target = str(Path(output) / stem.with_name(stem.name + suffix))
        else:
            target = output
        jobs.append(Job(source, target))
    _refuse_clashes(jobs)
    return jobs


def _refuse_clashes(jobs: list[Job]) -> None:
    seen: dict[str, str] = {}
    for job in jobs:
        if job.target == STREAM:
            continue
        key = os.path.abspath(job.target)
        if key in seen:
            raise DqError(f"{seen[key]} and {job.source} would both write {job.target}; rename one of them")
        if key == os.path.abspath(job.source):
            raise DqError(f"{job.source}: would overwrite itself; choose another output with -o")
        seen[key] = job.source


def read_bytes(source: str) -> bytes:
    """Contents of a file or of standard input; raises DqError with the reason if that fails."""
    if source == STREAM:
        return sys.stdin.buffer.read()
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise DqError(f"{source}: cannot be read: {error.strerror}") from error


def is_stream(target: str) -> bool:
    """Whether a target is written into, not replaced: standard output, a device, a named pipe."""
    try:
        return target == STREAM or stat.S_IFMT(os.stat(target).st_mode) not in (stat.S_IFREG, stat.S_IFDIR)
    except OSError:
        return False


def is_there(target: str) -> bool:
    """Whether a write would replace something."""
    return os.path.lexists(target) and not is_stream(target)


def check_target(target: str, force: bool) -> None:
    """Refuse an existing target before any work is done."""
    if not force and is_there(target):
        raise DqError(f"{target}: exists already; add --force to overwrite it")


def write_whole(target: str, write: Callable[[Path], None]) -> None:
    """Let `write(path)` fill a temporary file beside `target`, then rename it into place. A link stays one.

    Whatever goes wrong, also an interrupt, nothing half-written stays. Raises DqError on OSError.
    """
    with WRITING:
        _write_whole(target, write)


def _write_whole(target: str, write: Callable[[Path], None]) -> None:
    path = Path(os.path.realpath(target))
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise DqError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def put_bytes(target: str, data: bytes) -> None:
    """Write bytes to a file, whole or not at all, or to a stream."""
    if not is_stream(target):
        write_whole(target, lambda path: path.write_bytes(data))
        return
    try:
        if target == STREAM:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            with open(target, "wb") as stream:
                stream.write(data)
    except BrokenPipeError:
        raise  # whoever read our output has seen enough: not an error to report
    except OSError as error:
        name = "standard output" if target == STREAM else target
        raise DqError(f"{name}: cannot be written: {error.strerror}") from error
