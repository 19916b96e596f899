"""The loop that both trainers run: steps until the schedule ends, rows for the log, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable

from torch import Tensor


class Loop:
    """Base of a trainer, which brings config, step, elapsed, rank, log, batches, save, _one_step and _look.

    config: steps, hours, log_every, look_every and checkpoint_every. A row of _one_step may hold scalar tensors, which
    are read only where it is logged: reading one waits for the GPU.
    """

    rank = 0
    warm_up = 0  # first steps of a process whose time does not count: compilers work in them

    @property
    def progress(self) -> float:
        """Share of the run done, 0..1, by steps or by wall-clock time, whichever is further."""
        by_time = self.elapsed / (self.config.hours * 3600) if self.config.hours else 0.0
        return max(self.step / self.config.steps, by_time)

    def _agree(self, seconds: float) -> float:
        """The elapsed time that all processes of the run go by."""
        return seconds

    def run(self, report: Callable[[dict], None] = lambda row: None,
            should_stop: Callable[[], bool] = lambda: False) -> None:
        """Train; `report` gets each logged row. Always leaves a checkpoint, also on an exception."""
        c = self.config
        begin, base, first = time.monotonic(), self.elapsed, self.step
        looked = -1
        try:
            while self.progress < 1 and not should_stop():
                row = self._one_step()
                if self.step - first < self.warm_up:
                    begin = time.monotonic()
                self.elapsed = self._agree(base + time.monotonic() - begin)
                self.step += 1
                if self.rank == 0 and self.step % c.log_every == 0:
                    row = {k: v.item() if isinstance(v, Tensor) else v for k, v in row.items()}
                    row = {"step": self.step - 1, "hours": round(self.elapsed / 3600, 4), **row}
                    self.log.write(row)
                    report(row)
                if self.step % c.look_every == 0:
                    self._look()
                    looked = self.step
                if self.step % c.checkpoint_every == 0:
                    self.save()
            if looked != self.step and self.progress >= 1:  # not when asked to stop: that should be prompt
                self._look()
        finally:
            self.save()
            self.batches.close()
