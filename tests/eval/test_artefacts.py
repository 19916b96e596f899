"""Each measure sees the artefact that it is named after, and nothing where there is none."""

import math

import numpy as np
import pytest

from dqcodec.eval import artefacts

Y, X = np.mgrid[:192, :256]
REFERENCE = np.repeat(np.where(X < 128, 100, 90 + X // 4)[..., None], 3, axis=2).astype(np.uint8)


def noisy(amplitude: float = 3.0) -> np.ndarray:
    return REFERENCE + np.random.default_rng(0).normal(0, amplitude, REFERENCE.shape)


def to_bytes(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)


def test_colour_shift_has_sign_and_channel():
    shifted = to_bytes(REFERENCE + np.array([4.0, 0, -6]))
    assert artefacts.colour_shift(REFERENCE, shifted) == pytest.approx([4, 0, -6])
    shift, restless, count = artefacts.flat_patches(REFERENCE, shifted)
    assert shift == pytest.approx(6) and restless == 0 and count == 192


def test_flat_patches_tell_restlessness_from_shift():
    shift, restless, _ = artefacts.flat_patches(REFERENCE, to_bytes(noisy(3)))
    assert restless == pytest.approx(3, abs=0.2) and shift < 0.6


def test_no_flat_patches_is_nan():
    shift, restless, count = artefacts.flat_patches(to_bytes(noisy(60)), REFERENCE)
    assert math.isnan(shift) and math.isnan(restless) and count == 0


@pytest.mark.parametrize("period", [2, 4, 8, 16])
def test_mesh_is_seen_at_its_period_alone(period):
    wave = np.cos(2 * np.pi * X / period)[..., None] * 1.5
    meshed = to_bytes(noisy() + wave)
    assert artefacts.mesh(REFERENCE, meshed, period) > 4
    for other in {2, 4, 8, 16} - {period}:
        assert artefacts.mesh(REFERENCE, meshed, other) < 1.5
    assert artefacts.mesh(REFERENCE, REFERENCE, period) == 1


def test_seam_is_seen_where_it_is():
    meshed = to_bytes(noisy())
    assert abs(artefacts.seam(REFERENCE, meshed, [96, 192], [96])) < 3
    meshed = to_bytes(noisy() + 8 * (X >= 96)[..., None])
    assert artefacts.seam(REFERENCE, meshed, [96]) > 5 > 3 > artefacts.seam(REFERENCE, meshed, [176])
    with pytest.raises(ValueError, match="boundaries"):
        artefacts.seam(REFERENCE, meshed, [])
