"""Grain that is measured before coding and made anew after decoding."""

import numpy as np
import pytest
from PIL import Image

import dqcodec
from dqcodec import bitstream, grain
from dqcodec.bitstream.frame import GRAIN_UNIT, MOST_GRAIN
from tests.test_cli import dq


def smooth(height=200, width=300) -> np.ndarray:
    """A soft picture (H, W, 3) of floats in the middle of the range."""
    y, x = np.mgrid[:height, :width]
    base = 128 + 50 * np.sin(x / 37) * np.cos(y / 29)
    return np.stack([base, base * 0.9, 230 - base], -1)


def noisy(pixels: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (pixels + rng.normal(0, sigma, pixels.shape[:2])[..., None]).clip(0, 255).round().astype(np.uint8)


def grain_of(data: bytes) -> int:
    return bitstream.inspect(data).header.grain


@pytest.mark.parametrize("sigma", [1, 2, 4, 8])
def test_strength_is_that_of_the_noise(sigma):
    assert grain.strength(noisy(smooth(), sigma)) == pytest.approx(sigma, rel=0.15)


def test_edges_and_texture_are_no_grain(photo):
    assert grain.strength(smooth().astype(np.uint8)) < 0.5
    page = np.full((200, 300, 3), 255, np.uint8)
    page[20:60:3, 20:280] = 0
    assert grain.strength(page) == 0
    soft = photo.resize((900, 600), Image.Resampling.LANCZOS)
    assert grain.strength(np.asarray(soft)) < 0.6


@pytest.mark.parametrize("size", [(1, 1), (17, 17), (18, 18), (5, 400)])
def test_pictures_of_any_size(size):
    pixels = noisy(smooth(*size), 9)
    assert 0 <= grain.strength(pixels) < 20 and 0 <= grain.missing(pixels, np.zeros_like(pixels)) <= 255
    assert grain.added(pixels, 80).shape == pixels.shape


def test_missing_is_what_the_shown_picture_lacks():
    pixels = noisy(smooth(), 4)
    assert grain.missing(pixels, smooth().astype(np.uint8)) == pytest.approx(4 * grain.PART * GRAIN_UNIT, rel=0.15)
    assert grain.missing(pixels, noisy(smooth(), 4, seed=1)) < 0.6 * 4 * grain.PART * GRAIN_UNIT
    assert grain.missing(smooth().astype(np.uint8), pixels) == 0
    assert grain.missing(noisy(smooth(), 100), smooth().astype(np.uint8)) == MOST_GRAIN


def test_added_grain_has_its_strength_and_no_colour():
    clean = np.full((600, 300, 3), (90, 128, 160), np.uint8)
    shown = grain.added(clean, 3 * GRAIN_UNIT)
    gap = shown.astype(int) - clean
    assert (gap == gap[..., :1]).all() and abs(gap.mean()) < 0.05 and gap.std() == pytest.approx(3, rel=0.03)
    assert np.array_equal(grain.added(clean, 3 * GRAIN_UNIT), shown) and grain.added(clean, 0) is clean
    rows = gap[..., 0]
    assert not np.array_equal(rows[: grain.ROWS], rows[grain.ROWS : 2 * grain.ROWS])


def test_a_noisy_picture_comes_back_with_its_grain_and_a_clean_one_without():
    picture = Image.fromarray(noisy(smooth(), 3))
    data = dqcodec.compress(picture, bpp=0.1)
    assert grain_of(data) > 0 == grain_of(dqcodec.compress(Image.fromarray(smooth().astype(np.uint8)), bpp=0.1))
    wanted = grain.strength(np.asarray(picture))
    shown, plain = (grain.strength(np.asarray(dqcodec.decompress(data, realism=r))) for r in (None, 0))
    assert plain < 0.6 * wanted < shown < 1.1 * wanted


def test_realism_turns_grain_down_with_the_dial():
    model = dqcodec.load()
    assert [model.share_of_grain(r) for r in (None, model.dial.default, 1, 0)] == [1, 1, 1, 0]
    assert 0 < model.share_of_grain(0.3) < 1
    assert dqcodec.load("tiny").share_of_grain(None) == 1


def test_grain_stays_with_the_tokens(tmp_path):
    Image.fromarray(noisy(smooth(), 3)).save(tmp_path / "a.png")
    assert dq("compress", tmp_path / "a.png", "--bpp", 0.1).returncode == 0
    assert b"grain of" in dq("info", tmp_path / "a.dq").stdout
    assert dq("tokens", tmp_path / "a.dq", "-o", tmp_path / "a.npz").returncode == 0
    assert dq("tokens", tmp_path / "a.npz", "-o", tmp_path / "b.dq").returncode == 0
    assert (tmp_path / "a.dq").read_bytes() == (tmp_path / "b.dq").read_bytes()
