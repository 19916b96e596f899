"""Cells and searches in worker processes of one thread each, and a progress bar over what they do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from dqcodec import workers
from dqcodec.errors import DataError, DqError, WorkerError
from dqcodec.eval.cell import Cell, Task, finished, measure
from dqcodec.eval.codecs.base import Codec
from dqcodec.eval.image_set import TestImage, read_rgb
from dqcodec.eval.search import nearest_setting

# Of one worker process: codecs by name and metrics by name, with their networks loaded.
_codecs: dict[str, Codec] = {}
_scorers: dict = {}


def run_cells(tasks: list[Task], jobs: int, title: str = "cells") -> tuple[list[Cell], list[str]]:
    """Measure the tasks that are not finished; returns all cells in the order of tasks, and one line
    for each task that failed."""
    cells: dict[int, Cell] = {}
    todo = []
    for i, task in enumerate(tasks):
        stored = finished(task)
        if stored:
            cells[i] = stored
        else:
            todo.append((i, task))
    failures = []
    for i, result in _map(_measure, todo, jobs, title, done=len(cells)):
        if isinstance(result, Cell):
            cells[i] = result
        else:
            failures.append(result)
    return [cells[i] for i in sorted(cells)], failures


Wanted = tuple[Codec, TestImage, float, dict[float, float]]


def find_settings(wanted: list[Wanted], jobs: int) -> list[float | None]:
    """Knob value nearest to a rate, for each (codec, image, bpp, known rates); None where it failed."""
    found: list[float | None] = [None] * len(wanted)
    for i, result in _map(_search, list(enumerate(wanted)), jobs, "rates"):
        if not isinstance(result, str):
            found[i] = result
    return found


def _measure(task: Task) -> Cell:
    codec = _codecs.setdefault(task.codec.name, task.codec)
    object.__setattr__(task, "codec", codec)  # the one of this process has its network loaded
    return measure(task, _scorers)


def _search(wanted: Wanted) -> float:
    codec, image, bpp, known = wanted
    return nearest_setting(_codecs.setdefault(codec.name, codec), read_rgb(image.path), bpp, known)


def _call(function, item):
    try:
        return function(item)
    except DqError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]


def _map(function, items: list[tuple[int, object]], jobs: int, title: str, done: int = 0) -> Iterator:
    """(index, result or error line) as workers finish, under a progress bar that starts at `done`."""
    if not items:
        return
    with progress(title, done + len(items), done) as advance:
        try:
            for found in workers.each(partial(_call, function), items, jobs):
                yield found
                advance()
        except WorkerError as error:
            raise DataError("a worker process died (out of memory, or a codec library crashed); finished "
                            "cells are kept, run the same command again, with fewer --jobs") from error


@contextmanager
def progress(title: str, total: int, done: int = 0):
    """A bar on stderr; where that is no terminal, its last state as one line."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, completed=done)
        yield lambda: bar.advance(task)


def cells_folder(out: Path) -> Path:
    """Where the cells of a run are kept; `out` is made if it is not there. Raises DataError."""
    folder = out / "cells"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{out}: cannot be made or written to ({error.strerror}); name another --out") from error
    return folder
