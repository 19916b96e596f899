"""Artefacts that a score of the whole picture hides: colour shifts, restless flat areas, a mesh, seams.

All work on the error, decoded minus reference, in 8-bit levels.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

PATCH = 16  # side of a flat patch in pixels
FLAT_RANGE = 16  # levels between the darkest and the lightest pixel of a flat patch, at most, in each channel
NEAR, FAR = 3, 7  # frequency bins beside a mesh frequency that it is compared with


def error(reference: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    """Error (H, W, 3) float64 of two pictures (H, W, 3) uint8, -255..255."""
    return decoded.astype(float) - reference


def colour_shift(reference: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    """Mean error (3,) of each channel over the picture, in levels."""
    return error(reference, decoded).mean((0, 1))


def patches(picture: np.ndarray, side: int = PATCH) -> np.ndarray:
    """Patches (N, side * side, C) of a picture (H, W, C); what is left at the right and the bottom is dropped."""
    rows, cols = picture.shape[0] // side, picture.shape[1] // side
    cut = picture[: rows * side, : cols * side].reshape(rows, side, cols, side, -1)
    return cut.swapaxes(1, 2).reshape(rows * cols, side * side, -1)


def flat_patches(reference: np.ndarray, decoded: np.ndarray) -> tuple[float, float, int]:
    """How patches of PATCH x PATCH pixels come back that are flat in the reference, (H, W, 3) uint8 both.

    Returns the colour shift (mean over patches of the largest absolute mean error of a channel, levels), the
    restlessness (root mean square over patches and channels of the error's standard deviation, levels), and
    the number of flat patches; nan where there are none.
    """
    levels = patches(reference)
    flat = (np.ptp(levels, axis=1) <= FLAT_RANGE).all(1)  # (N,)
    gaps = patches(error(reference, decoded))[flat]  # (M, 256, 3)
    if not len(gaps):
        return float("nan"), float("nan"), 0
    shift = np.abs(gaps.mean(1)).max(1).mean()
    return float(shift), float(np.sqrt(gaps.var(1).mean())), len(gaps)


def mesh(reference: np.ndarray, decoded: np.ndarray, period: int) -> float:
    """Energy of the error at a period in pixels against that of the frequencies beside it, 1 = no mesh.

    Mean power along rows and along columns of the error's luma under a Hann window; the picture must be some
    periods wide. Where the error is zero, 1.
    """
    luma = error(reference, decoded) @ [0.299, 0.587, 0.114]  # (H, W)
    peak, beside = 0.0, 0.0
    for lines in (luma, luma.T):
        lines = lines[:, : lines.shape[1] // period * period]
        power = (np.abs(np.fft.rfft(lines * np.hanning(lines.shape[1] + 1)[:-1], axis=1)) ** 2).mean(0)
        centre = lines.shape[1] // period
        around = [centre + side * i for i in range(NEAR, FAR + 1) for side in (-1, 1)]
        peak += power[centre - 1 : centre + 2].mean()
        beside += np.mean([power[i] for i in around if 0 < i < len(power)])
    return float(peak / beside) if beside else 1.0


def seam(reference: np.ndarray, decoded: np.ndarray, cols: Iterable[int], rows: Iterable[int] = (),
         side: int = PATCH) -> float:
    """How much tile boundaries stand out of the error map, in standard deviations: about 0 where nothing shows.

    cols, rows: first pixels of tiles, multiples of `side`, none at the picture's edge. The error's strength on
    either side of a line and its jump across the line, as logarithms, less their mean over the two lines of the
    `side`-pixel grid beside it, are compared between tile boundaries and all other lines of that grid, where
    regions of the codec meet as well. Returns the larger of the two excesses of the boundaries' mean. Raises
    ValueError if there are no boundaries or hardly any other lines.
    """
    gap = error(reference, decoded)
    found = [_lines(lines, np.asarray(list(chosen), int), side)
             for lines, chosen in ((gap, cols), (gap.swapaxes(0, 1), rows))]
    values, chosen = (np.concatenate(parts, -1) for parts in zip(*found, strict=True))  # (2, P), (P,)
    if not chosen.any() or (~chosen).sum() < 8:
        raise ValueError("a seam needs tile boundaries and at least 8 other lines to compare them with")
    others = values[:, ~chosen]
    spread = np.maximum(others.std(1), 1e-9) / np.sqrt(chosen.sum())
    return float(((values[:, chosen].mean(1) - others.mean(1)) / spread).max())


def _lines(gap: np.ndarray, chosen: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Strength and jump (2, P) of the error (H, W, 3) at the grid's columns, and which of them are `chosen` (P,)."""
    places = np.arange(side, gap.shape[1], side)
    before, after = gap[:, places - 1], gap[:, places]  # (H, P, 3)
    values = np.log1p([(np.abs(before) + np.abs(after)).mean((0, 2)), np.abs(after - before).mean((0, 2))])
    values[:, 1:-1] -= (values[:, :-2] + values[:, 2:]) / 2
    return values[:, 1:-1], np.isin(places, chosen)[1:-1]
