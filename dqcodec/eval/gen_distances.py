"""Distances between two sets of pictures, by their features."""

from __future__ import annotations

import numpy as np

SUBSETS = 100
LARGEST_SUBSET = 1000


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet distance between normal distributions fitted to features a (N, D) and b (M, D):
    |mean a - mean b|^2 + tr(A + B - 2 (A B)^(1/2)) with their covariances A and B.

    Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", who
    take Inception's features and call it FID. It is too large for small sets, the more the fewer pictures.

    With A = X'X and B = Y'Y, the trace of (A B)^(1/2) is the sum of the singular values of X Y', which stays
    exact where there are fewer pictures than features and A and B have no inverse.

    >>> round(frechet(np.eye(3), np.eye(3) + 2.0), 9)
    12.0
    """
    x, y = ((f - f.mean(0)) / np.sqrt(len(f) - 1) for f in (a, b))
    root = np.linalg.svd(_triangle(x) @ _triangle(y).T, compute_uv=False).sum()
    gap = np.square(a.mean(0) - b.mean(0)).sum()
    return max(0.0, float(gap + np.square(x).sum() + np.square(y).sum() - 2 * root))


def _triangle(x: np.ndarray) -> np.ndarray:
    """R of x = Q R, at most (D, D): all that the singular values depend on."""
    return np.linalg.qr(x, mode="r") if len(x) > x.shape[1] else x


def kernel(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> dict:
    """Kernel distance between features a (N, D) and b (M, D): squared maximum mean discrepancy with the kernel
    (x.y / D + 1)^3, unbiased (it may be below 0), mean and standard deviation over random subsets.

    Binkowski et al. 2018, "Demystifying MMD GANs", who take Inception's features and call it KID. Subsets have
    half of the smaller set, at most 1000 pictures, so that small sets give different subsets. The deviation is
    that between subsets, larger than the uncertainty of the mean.
    """
    size = min(LARGEST_SUBSET, max(2, min(len(a), len(b)) // 2))
    values = [mmd(a[rng.choice(len(a), size, replace=False)], b[rng.choice(len(b), size, replace=False)])
              for _ in range(SUBSETS)]
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)), "subsets": SUBSETS,
            "subset_size": size}


def mmd(a: np.ndarray, b: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy of a (N, D) and b (M, D) with the cubic kernel."""
    def within(x):
        k = _cubic(x, x)
        return (k.sum() - np.trace(k)) / (len(x) * (len(x) - 1))

    return float(within(a) + within(b) - 2 * _cubic(a, b).mean())


def _cubic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3
