"""How different samples are from each other, and how near to the pictures that they may have been copied from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dqcodec.eval.gen_pictures import PictureSet
from dqcodec.eval.metrics import Scorer

CANDIDATES, NEAREST = 10, 3
QUANTILES = (0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


@dataclass(frozen=True)
class Neighbour:
    """A picture of the reference near to another. index: in the reference. lpips: the distance. mirrored: it is
    its mirror image that is near."""

    index: int
    lpips: float
    mirrored: bool


def random_pairs(indices: Sequence[int], count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """`count` different pairs of `indices`, or all of them if there are fewer."""
    n = len(indices)
    total = n * (n - 1) // 2
    first, second = np.triu_indices(n, 1) if total <= 1 << 20 else (None, None)
    if first is not None:
        chosen = np.arange(total) if total <= count else np.sort(rng.choice(total, count, replace=False))
        return [(int(indices[i]), int(indices[j])) for i, j in zip(first[chosen], second[chosen], strict=True)]
    found: set[tuple[int, int]] = set()  # so many pairs that hardly one comes twice
    while len(found) < min(count, total):
        i, j = sorted(rng.choice(n, 2, replace=False))
        found.add((int(indices[i]), int(indices[j])))
    return sorted(found)


def diversity(pictures: PictureSet, pairs: list[tuple[int, int]], score: Scorer,
              advance: Callable[[], object]) -> dict:
    """Mean and standard deviation of LPIPS over pairs of pictures: near 0 if all samples look alike."""
    values = []
    for i, j in pairs:  # in rising order, so that the scorer keeps the features of i
        values.append(score(pictures[i], pictures[j]))
        advance()
    return {"mean": float(np.mean(values)), "std": float(np.std(values)), "pairs": len(values)}


class Finder:
    """Finds the nearest pictures of a reference set by LPIPS.

    LPIPS to all of them would take too long, so only the CANDIDATES whose features point nearest to the same
    direction from the reference's mean (cosine) are scored; and their mirror images, since priors are trained
    on both. features: (M, D) of the reference.
    """

    def __init__(self, reference: PictureSet, features: np.ndarray, score: Scorer):
        self.reference, self.score = reference, score
        self._mean = features.mean(0)
        self._directions = self._direction(features)

    def _direction(self, features: np.ndarray) -> np.ndarray:
        centred = features - self._mean
        return centred / np.maximum(np.linalg.norm(centred, axis=-1, keepdims=True), 1e-12)

    def nearest(self, picture: np.ndarray, feature: np.ndarray, leave_out: int | None = None) -> list[Neighbour]:
        """The NEAREST pictures to `picture` (H, W, 3) with features (D,), nearest first.

        leave_out: index of a reference picture that does not count, the picture itself.
        """
        cosine = self._directions @ self._direction(feature)  # (M,)
        if leave_out is not None:
            cosine[leave_out] = -np.inf
        count = min(CANDIDATES, len(cosine) - (leave_out is not None))
        found = []
        for index in np.argsort(-cosine, kind="stable")[:count]:
            other = self.reference[int(index)]
            plain, mirrored = self.score(picture, other), self.score(picture, np.ascontiguousarray(other[:, ::-1]))
            found.append(Neighbour(int(index), min(plain, mirrored), mirrored < plain))
        return sorted(found, key=lambda n: n.lpips)[:NEAREST]


def compare(samples: list[float], reference: list[float]) -> dict:
    """Distances of samples to their nearest reference picture against those of reference pictures to theirs.

    share_below_5_percent: of the samples, those nearer than all but 5 % of the reference pictures; about 0.05
    where samples are as new as the reference pictures are to each other, more where they copy.
    """
    low = float(np.quantile(reference, 0.05))
    return {
        "quantiles": list(QUANTILES),
        "samples": [float(v) for v in np.quantile(samples, QUANTILES)],
        "reference": [float(v) for v in np.quantile(reference, QUANTILES)],
        "samples_count": len(samples),
        "reference_count": len(reference),
        "share_below_5_percent": float(np.mean(np.array(samples) <= low)),
    }
