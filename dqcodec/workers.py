"""Worker processes that share the cores, each with its own threads."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from dqcodec import files
from dqcodec.errors import WorkerError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
WAIT_POLICY = "OMP_WAIT_POLICY"


def each(function: Callable[[Any], Any], items: Iterable[tuple[Any, Any]], jobs: int,
         threads: int = 1) -> Iterator[tuple[Any, Any]]:
    """(key, function(item)) of items (key, item) as they are done, by `jobs` processes of so many threads.

    function, items and results have to be picklable; the first exception, as Ctrl-C, ends it all at once. Raises
    WorkerError if a worker died.
    """
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _start)
    queue, running = iter(items), {}
    with _threads_of_children(threads):
        try:
            while True:
                # A short queue keeps neighbours, which may share what is loaded, in the same workers.
                for key, item in queue:
                    running[pool.submit(function, item)] = key
                    if len(running) >= 2 * jobs:
                        break
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        except BrokenProcessPool as error:
            raise WorkerError("a worker process died, most likely for want of memory: try fewer --jobs") from error
        except BaseException:
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start() -> None:
    """Ctrl-C reaches the workers too, but what becomes of them is their parent's to say, and they go when it goes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=_go).start())
    threading.Thread(target=_go_with_the_parent, daemon=True).start()


def _go_with_the_parent() -> None:
    multiprocessing.parent_process().join()
    _go()


def _go() -> None:
    with files.WRITING:  # a file is whole or not there
        os._exit(1)


@contextmanager
def _threads_of_children(count: int) -> Iterator[None]:
    """What children's threads obey must stand in the environment before they import torch and numpy: how many there
    are, and that they do not spin while they wait for each other on a core that others could use."""
    asked = dict.fromkeys(THREAD_VARIABLES, str(count))
    asked[WAIT_POLICY] = os.environ.get(WAIT_POLICY, "PASSIVE")
    before = {name: os.environ.get(name) for name in asked}
    os.environ.update(asked)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
