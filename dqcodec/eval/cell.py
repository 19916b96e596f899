"""One cell of the benchmark: one picture, one codec, one setting, measured on a real file.

A cell leaves OUT/cells/CODEC/SETTING/IMAGE.json and the coded file beside it. A cell is finished when
its JSON belongs to the same pixels and the same codec and has every metric asked for.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from dqcodec.errors import DataError
from dqcodec.eval.codecs.base import Codec
from dqcodec.eval.image_set import TestImage, read_rgb
from dqcodec.eval.metrics import Scorer

# Calls are repeated up to RUNS times while they fit into BUDGET_S. The first call only warms up, unless
# it alone takes longer than SLOW_S: there the warm-up is lost in the rest.
RUNS, BUDGET_S, SLOW_S = 3, 1.0, 2.0
TIMING_NOTE = (f"wall clock of one call on an image in memory; median of up to {RUNS} calls after a warm-up "
               f"call; calls of more than {SLOW_S:g} s are timed once, without warm-up")


@dataclass(frozen=True)
class Task:
    """What to measure. identity: of the codec, see Codec.identity. folder: OUT/cells."""

    image: TestImage
    codec: Codec
    value: float
    identity: str
    metrics: tuple[str, ...]
    weights: Path | None
    folder: Path

    @property
    def setting(self) -> str:
        return self.codec.knob.label(self.value)

    @property
    def json_path(self) -> Path:
        return self.folder / self.codec.name / self.setting / f"{self.image.name}.json"

    @property
    def file_path(self) -> Path:
        return self.json_path.with_name(self.image.name + self.codec.suffix)


@dataclass(frozen=True)
class Cell:
    """What was measured. bytes: size of the file on disk; bpp = 8 bytes / (width height).
    enc_s, dec_s: seconds, see TIMING_NOTE. metrics: name -> score, None where the picture is too
    small for the metric."""

    image: str
    sha256: str
    codec: str
    setting: str
    value: float
    identity: str
    width: int
    height: int
    bytes: int
    bpp: float
    enc_s: float
    dec_s: float
    metrics: dict[str, float | None] = field(default_factory=dict)


def finished(task: Task) -> Cell | None:
    """The stored cell of this task, with every metric asked for, or None if there is work to do."""
    cell = _stored(task)
    return cell if cell and set(task.metrics) <= set(cell.metrics) else None


def _stored(task: Task) -> Cell | None:
    try:
        cell = Cell(**json.loads(task.json_path.read_text()))
        on_disk = task.file_path.stat().st_size
    except (OSError, ValueError, TypeError):
        return None
    same = (cell.sha256, cell.identity, cell.value, cell.bytes) == (
        task.image.sha256, task.identity, task.value, on_disk)
    return cell if same else None


def measure(task: Task, scorers: dict[str, Scorer]) -> Cell:
    """Encode, write, read, decode and score; only what is missing. Raises DataError with the codec's
    reason if it fails on this picture.

    scorers: networks loaded so far, added to as metrics need them.
    """
    image = read_rgb(task.image.path)
    cell = _stored(task)
    try:
        task.codec.load(task.value)
        if cell is None:
            enc_s, data = _timed(lambda: task.codec.encode(image, task.value))
            write_atomically(task.file_path, data)
            dec_s, decoded = _timed(lambda: task.codec.decode(task.file_path.read_bytes()))
        else:
            enc_s, dec_s, decoded = cell.enc_s, cell.dec_s, task.codec.decode(task.file_path.read_bytes())
    except Exception as error:  # foreign libraries raise whatever they like
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{task.image.name}: {task.codec.name} {task.setting} failed: {reason}") from error
    known = dict(cell.metrics) if cell else {}
    reference, output = np.asarray(image), np.asarray(decoded)  # (H, W, 3) uint8
    for name in task.metrics:
        if name not in known:
            if name not in scorers:
                scorers[name] = Scorer(name, task.weights)
            known[name] = scorers[name](reference, output)
    size = task.file_path.stat().st_size
    cell = Cell(task.image.name, task.image.sha256, task.codec.name, task.setting, task.value, task.identity,
                image.width, image.height, size, 8 * size / (image.width * image.height), enc_s, dec_s, known)
    write_atomically(task.json_path, json.dumps(asdict(cell), indent=1).encode())
    return cell


def _timed(call):
    """Median seconds of `call`, and its result."""
    start = time.perf_counter()
    result = call()
    first = time.perf_counter() - start
    if first > SLOW_S:
        return first, result
    times: list[float] = []
    while not times or (len(times) < RUNS and sum(times) + times[-1] <= BUDGET_S):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return statistics.median(times), result


def write_atomically(path: Path, data: bytes) -> None:
    """Write through a temporary file, so that an interrupted run leaves no half cell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)
