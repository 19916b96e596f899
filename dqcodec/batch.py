"""Many files, one after another or several at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from dqcodec import workers
from dqcodec.errors import DqError
from dqcodec.files import Job

# work(job, say, progress): does one file, says lines to the user, tells which share 0..1 of the file is done if that
# takes long, and returns whether it found what its command counts. Raises DqError. For several processes it has to be
# picklable.
Progress = Callable[[float], None]
Work = Callable[[Job, Callable[[str], None], Progress], bool | None]


@dataclass
class Outcome:
    """What became of a file. lines: for the user. failed: it was not done. found: what `work` returned."""

    source: str
    lines: list[str] = field(default_factory=list)
    failed: bool = False
    found: bool = False


def run(jobs: list[Job], work: Work, processes: int, progress: Progress = lambda share: None) -> Iterator[Outcome]:
    """The outcome of each job as it is done, by so many processes that share the cores; progress: is told the share of
    the one at hand that is done, where there is one process. Raises WorkerError."""
    processes = min(processes, len(jobs))
    if processes <= 1:
        yield from (_attempt(work, job, progress) for job in jobs)
        return
    threads = max(1, workers.cores() // processes)
    for _, outcome in workers.each(partial(_attempt, work), enumerate(jobs), processes, threads):
        yield outcome


def _attempt(work: Work, job: Job, progress: Progress = lambda share: None) -> Outcome:
    outcome = Outcome(job.source)
    try:
        outcome.found = bool(work(job, outcome.lines.append, progress))
    except DqError as error:
        # Messages about content do not know the file's name, messages about files do.
        name = "" if str(error).startswith((job.source, job.target)) else f"{job.source}: "
        outcome.lines.append(f"dqcodec: {name}{error}")
        outcome.failed = True
    except MemoryError:
        outcome.lines.append(f"dqcodec: {job.source}: not enough memory for this image; scale it down "
                             "or close programs")
        outcome.failed = True
    return outcome
