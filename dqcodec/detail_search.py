"""Which places get detail: those where it saves most error for its bits, as many as there is room for."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dqcodec import bitstream, networks
from dqcodec.bitstream import ABSENT, Details, Tokens
from dqcodec.errors import OutOfReachError
from dqcodec.models.detail import PATCH, PLACE_BITS, REGION, VALUES, best_codes
from dqcodec.size_search import AMID, ENOUGH, TOLERANCE
from dqcodec.weights.detail_file import DetailLayer

MAP_SHARE = 0.73  # of the entropy of a map bit by itself that the context model spends on one
SAMPLE = 4096  # patches by which the bytes of a picture's detail are judged
CHUNK = 1 << 15  # patches whose residuals are in memory at a time
TRIES = 8  # for a size; two or three are enough as a rule


class Patches:
    """What `shown` lacks of `pixels`, both (H, W, 3) uint8, in patches, and the codes that are worth their bits there.

    places: (rows * 4, cols * 4) bool, the patches that may have some.
    """

    def __init__(self, layer: DetailLayer, pixels: np.ndarray, shown: np.ndarray, places: np.ndarray,
                 device: torch.device):
        self._device, self._grid = device, places.shape
        self._wanted, self._shown = (_in_patches(image, places.shape) for image in (pixels, shown))
        self._where = np.flatnonzero(places)
        self._book = layer.net.codebook.embedding.to(device)
        self._bits = torch.from_numpy(layer.bits).float().to(device)
        some = np.linspace(0, len(self._where) - 1, min(SAMPLE, len(self._where))).astype(int)
        self._sample = self._vectors(self._where[some])
        self._energy = self._sample.square().sum(1)

    def bytes_about(self, worth: float) -> float:
        """Bytes of the detail in which every bit saves at least `worth`, by a sample of the patches."""
        least = float(self._bits.min()) + PLACE_BITS
        vectors = self._sample[self._energy > worth * least]  # no other patch can be worth a code
        if not len(vectors):
            return 0.0
        codes, saved = best_codes(vectors, self._book, self._bits, torch.full_like(vectors[:, 0], worth))
        used = codes[saved > 0]
        share = len(used) / len(self._sample)
        on_map = MAP_SHARE * _entropy(share) * len(self._where)
        return (float(self._bits[used].sum()) * len(self._where) / len(self._sample) + on_map) / 8

    def best(self, worth: float) -> tuple[np.ndarray, np.ndarray]:
        """The best code of each patch at this worth of a bit, (rows * 4, cols * 4) int32, and the squared error that it
        saves for each of its bits, -inf where there may be none."""
        codes, worths = np.full(self._grid, ABSENT, np.int32), np.full(self._grid, -np.inf, np.float32)
        for start in range(0, len(self._where), CHUNK):
            where = self._where[start : start + CHUNK]
            vectors = self._vectors(where)
            found, saved = best_codes(vectors, self._book, self._bits, torch.full_like(vectors[:, 0], worth))
            codes.flat[where] = found.cpu().numpy()
            worths.flat[where] = (worth + saved / (self._bits[found] + PLACE_BITS)).cpu().numpy()
        return codes, worths

    def _vectors(self, where: np.ndarray) -> Tensor:
        """(n, 48) of the patches of flat indices `where`, channels first as in models.detail.lacking."""
        row, col = np.divmod(where, self._grid[1])
        gap = np.subtract(self._wanted[row, :, col], self._shown[row, :, col], dtype=np.float32)  # (n, 4, 4, 3)
        return torch.from_numpy(gap.transpose(0, 3, 1, 2).reshape(-1, VALUES) / np.float32(127.5)).to(self._device)


class DetailSearch:
    """Files with detail on top of what the ladder's steps show, so that its codes answer that.

    pixels, shown: (H, W, 3) uint8, the picture and what its tokens show. last: the last level of the ladder. worth:
    squared error that a bit has to save in a sparse layer, by which codes are chosen.
    """

    def __init__(self, layer: DetailLayer, pixels: np.ndarray, tokens: Tokens, shown: np.ndarray, last: int,
                 device: torch.device, worth: float = 0.0):
        self._layer, self._tokens = layer, tokens
        self._places = layer.table.places(tokens.levels, last)
        if layer.table.sparse:
            self._codes, worths = Patches(layer, pixels, shown, self._places, device).best(worth)
        else:
            self._codes, worths = _regions(layer, pixels, shown, self._places, device)
        worths = worths.reshape(-1)
        self._order = np.argsort(-worths, kind="stable")[: int(self._places.sum())]  # best first
        self.worth_it = int((worths > worth).sum())
        rows, cols = self._places.shape
        bits = layer.bits[self._codes].reshape(rows, layer.table.span, cols, layer.table.span).sum((1, 3)).reshape(-1)
        self._bytes = np.concatenate([[0], (bits[self._order] + PLACE_BITS).cumsum()]) / 8  # of so many, about

    def _details(self, count: int) -> Details:
        chosen = np.zeros(self._places.size, bool)
        chosen[self._order[:count]] = True
        span = self._layer.table.span
        present = np.kron(chosen.reshape(self._places.shape), np.ones((span, span), bool))
        return Details(np.where(present, self._codes, ABSENT).astype(np.int32), self._layer.table)

    def file(self, writer: bitstream.Writer, count: int) -> bytes:
        """The file with detail in the `count` places where it is worth most; for none it has no section of it."""
        count = min(count, len(self._order))
        return writer.write(self._tokens, self._details(count) if count else None)

    def file_of_size(self, writer: bitstream.Writer, size: int) -> bytes | None:
        """A file of at most `size` bytes and hardly less, None if there is none with detail. Raises OutOfReachError if
        even that with all detail is smaller by more than the tolerance."""
        low, high, best = 0, len(self._order) + 1, None
        goal = size * AMID
        bare = near = len(self.file(writer, 0))
        count, steep = 0, 1.0
        for _ in range(TRIES):
            wanted = self._bytes[count] + (goal - near) / steep
            count = min(max(int(np.searchsorted(self._bytes, wanted, side="right")) - 1, low + 1), high - 1)
            if count <= low:
                break
            data = self.file(writer, count)
            near = len(data)
            if near <= size:
                low, best = count, data
            else:
                high = count
            if size * ENOUGH <= near <= size:
                break
            steep = max((near - bare) / self._bytes[count], 0.25)
        if low == len(self._order) and best is not None and len(best) < size * (1 - TOLERANCE):
            raise OutOfReachError(size, len(best))
        return best


def _regions(layer: DetailLayer, pixels: np.ndarray, shown: np.ndarray, last: np.ndarray,
             device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """Codes (rows * 4, cols * 4) int32 of all patches, and what those of a region save, (rows, cols): of the absolute
    error for each bit, -inf where there may be none."""
    net, side = layer.net.to(device), layer.table.side
    codes = networks.detail_codes(net, pixels, shown, device)
    everywhere = np.where(np.kron(last, np.ones((side, side), bool)), codes, ABSENT)
    detailed = networks.with_detail(net, shown, everywhere, device)
    saved = _error(pixels, shown, last.shape) - _error(pixels, detailed, last.shape)
    rows, cols = last.shape
    bits = layer.bits[codes].reshape(rows, side, cols, side).sum((1, 3))
    return codes, np.where(last, saved / bits, -np.inf)


def _in_patches(image: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """(rows, 4, cols, 4, 3) of an image (H, W, 3), its last pixels repeated to fill the grid (rows, cols)."""
    missing = [(0, PATCH * count - side) for count, side in zip(grid, image.shape, strict=False)]
    return np.pad(image, [*missing, (0, 0)], mode="edge").reshape(grid[0], PATCH, grid[1], PATCH, 3)


def _entropy(share: float) -> float:
    """Bits of a yes that comes with this probability, or a no."""
    return float(-sum(p * np.log2(p) for p in (share, 1 - share) if p > 0))


def _error(pixels: np.ndarray, shown: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Sum of absolute differences (rows, cols) in each region of two pictures (H, W, 3) uint8."""
    gap = np.abs(np.subtract(pixels, shown, dtype=np.float32)).sum(2)
    gap = np.pad(gap, [(0, count * REGION - side) for count, side in zip(grid, gap.shape, strict=True)])
    return gap.reshape(grid[0], REGION, grid[1], REGION).sum((1, 3))
