"""Clouds in smooth parts: measured, and made good by codes."""

import numpy as np
import pytest
from PIL import Image

import dqcodec
from dqcodec import clouds
from dqcodec.eval import artefacts, kinds


@pytest.mark.parametrize("height, width", [(1, 1), (1, 50), (50, 1), (16, 16), (33, 47), (96, 64)])
def test_an_error_of_everything_is_taken_for_as_many_times_more(height, width):
    pixels = np.full((height, width, 3), 100, np.uint8)
    found = clouds.exaggerated(pixels + np.uint8([4, 0, 8]), pixels)
    assert found.dtype == np.uint8 and (found == 100 + (1 + clouds.MORE) * np.array([4, 0, 8])).all()


def test_texture_is_left_as_it_is():
    pixels = np.random.default_rng(0).integers(0, 256, (96, 80, 3)).astype(np.uint8)
    shown = np.clip(pixels.astype(int) + 4, 0, 255).astype(np.uint8)
    assert np.abs(clouds.exaggerated(shown, pixels).astype(int) - shown).max() <= 1


def test_fine_errors_are_no_clouds():
    pixels = np.full((96, 80, 3), 100, np.uint8)
    mesh = np.uint8(20) * (np.indices((96, 80)).sum(0) % 2).astype(np.uint8)
    shown = pixels - 10 + mesh[..., None]
    assert np.array_equal(clouds.exaggerated(shown, pixels), shown)


def test_what_would_leave_the_range_is_cut():
    white = np.full((32, 32, 3), 255, np.uint8)
    assert (clouds.exaggerated(white, white - 9) == 255).all() and (clouds.exaggerated(white - 255, white) == 0).all()


def test_smooth_pictures_come_back_with_fewer_clouds(monkeypatch):
    pictures = [kinds.draw(kind) for kind in ("gradient", "hues")]

    def shifts():
        for picture in pictures:
            decoded = dqcodec.decompress(dqcodec.compress(Image.fromarray(picture), bpp=0.2))
            yield artefacts.flat_patches(picture, np.asarray(decoded))[0]

    after = sum(shifts())
    monkeypatch.setattr(clouds, "MORE", 0.0)
    assert after < 0.9 * sum(shifts())
