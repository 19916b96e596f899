"""A training step as one CUDA graph, launched at once, where Python would launch thousands of kernels one by one.

After Nguyen et al., "Accelerating PyTorch with CUDA Graphs", PyTorch blog, 2021. On an H100 the default model's step
of 128 crops is 52 ms of kernels, and takes 134 ms when Python launches them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WARM = 3  # steps as they are before one is captured: libraries choose their kernels, compilers compile


class CapturedStep:
    """step(x) -> figures, a dict of scalar tensors, run as it is `warm` times and from then on as a graph.

    step must do the same kernels each time: no branch that depends on values, nothing read from the device, one shape
    of x, random numbers from the device's default generator only (which may be seeded between steps). The figures of
    a captured step are overwritten by the next.
    """

    def __init__(self, step: Callable[[Tensor], dict[str, Tensor]], warm: int = WARM):
        self._step, self._warm = step, warm
        self._graph: torch.cuda.CUDAGraph | None = None
        # Capture forbids the default stream, and gradients must accumulate on the stream that they were warmed up on.
        torch.cuda.synchronize()
        torch.cuda.set_stream(torch.cuda.Stream())

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        if self._warm:
            self._warm -= 1
            return self._step(x)
        if self._graph is None:
            self._x, self._graph = x.clone(memory_format=torch.preserve_format), torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, stream=torch.cuda.current_stream()):
                self._figures = self._step(self._x)
        self._x.copy_(x)
        self._graph.replay()
        return self._figures
