"""Which regions get detail: those where it saves most error for its bits, as many as there is room for."""

from __future__ import annotations

import numpy as np
import torch

from dqcodec import bitstream, networks, rate
from dqcodec.bitstream import ABSENT, Details, Tokens
from dqcodec.errors import OutOfReachError
from dqcodec.models.detail import REGION
from dqcodec.weights.detail_file import DetailLayer


class DetailSearch:
    """Files with detail on top of what the ladder's steps show, so that its codes answer that.

    pixels, shown: (H, W, 3) uint8, the picture and what its tokens show. last: (rows, cols) bool, where detail may be.
    """

    def __init__(self, layer: DetailLayer, pixels: np.ndarray, tokens: Tokens, shown: np.ndarray, last: np.ndarray,
                 device: torch.device):
        self._layer, self._tokens, self._last = layer, tokens, last
        net, side = layer.net.to(device), layer.table.side
        self._codes = networks.detail_codes(net, pixels, shown, device)
        everywhere = np.where(np.kron(last, np.ones((side, side), bool)), self._codes, ABSENT)
        saved = _error(pixels, shown, last.shape) - _error(pixels, networks.with_detail(net, shown, everywhere, device),
                                                           last.shape)
        rows, cols = last.shape
        bits = layer.bits[self._codes].reshape(rows, side, cols, side).sum((1, 3))
        worth = np.where(last, saved / bits, -np.inf).reshape(-1)
        self._order = np.argsort(-worth, kind="stable")[: int(last.sum())]  # best first

    def _details(self, count: int) -> Details:
        chosen = np.zeros(self._last.size, bool)
        chosen[self._order[:count]] = True
        side = self._layer.table.side
        present = np.kron(chosen.reshape(self._last.shape), np.ones((side, side), bool))
        return Details(np.where(present, self._codes, ABSENT).astype(np.int32), self._layer.table)

    def file(self, writer: bitstream.Writer, count: int) -> bytes:
        """The file with detail in the `count` regions where it is worth most."""
        return writer.write(self._tokens, self._details(min(count, len(self._order))))

    def file_of_size(self, writer: bitstream.Writer, size: int) -> bytes | None:
        """The largest file of at most `size` bytes, None if there is none with detail. Raises OutOfReachError if even
        that with all detail is smaller by more than the tolerance."""
        low, high, best = 0, len(self._order) + 1, None
        while high - low > 1:
            count = (low + high) // 2
            data = self.file(writer, count)
            if len(data) <= size:
                low, best = count, data
            else:
                high = count
        if low == len(self._order) and best is not None and len(best) < size * (1 - rate.TOLERANCE):
            raise OutOfReachError(size, len(best))
        return best


def _error(pixels: np.ndarray, shown: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Sum of absolute differences (rows, cols) in each region of two pictures (H, W, 3) uint8."""
    gap = np.abs(np.subtract(pixels, shown, dtype=np.float32)).sum(2)
    gap = np.pad(gap, [(0, count * REGION - side) for count, side in zip(grid, gap.shape, strict=True)])
    return gap.reshape(grid[0], REGION, grid[1], REGION).sum((1, 3))
