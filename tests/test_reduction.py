"""Pictures that are coded at less than their size."""

import numpy as np
import pytest
from PIL import Image

import dqcodec
from dqcodec import bitstream, codec, reduction
from dqcodec.bitstream import WHOLE, Frame
from dqcodec.errors import DqError, RateError
from tests.test_cli import dq

LANCZOS = Image.Resampling.LANCZOS


@pytest.fixture(scope="module")
def soft(photo):
    """A photograph at twice its size, as from a camera that sees no more than half of its pixels."""
    return photo.resize((2 * photo.width - 1, 2 * photo.height - 1), LANCZOS)


def scale_of(data: bytes) -> int:
    return bitstream.inspect(data).header.scale


def error(image: Image.Image, data: bytes) -> float:
    return np.square(np.asarray(image, float) - np.asarray(dqcodec.decompress(data), float)).mean()


def test_what_has_nothing_to_lose_is_reduced_and_what_has_is_not(photo, soft):
    rng = np.random.default_rng(0)
    for image, low, high in ((soft, 0, 182), (photo, 182, WHOLE)):
        pixels = np.asarray(image)
        shown = np.clip(pixels + rng.normal(0, 14, pixels.shape), 0, 255).astype(np.uint8)
        scales = [reduction.chosen(pixels, shown, bpp) for bpp in (0, 0.05, 0.1, 0.3)]
        assert low < scales[1] <= high
        assert scales[0] == scales[1] <= scales[2] <= scales[3] and (scales[1] == WHOLE or scales[1] < scales[3])
        assert reduction.chosen(pixels, pixels, 0.05) == WHOLE
    noise = rng.integers(0, 256, (300, 400, 3), np.uint8)
    assert reduction.chosen(noise, np.full_like(noise, 128), 0.05) == WHOLE


def test_small_pictures_stay():
    for height, scale in ((70, WHOLE), (140, 128)):
        flat = np.full((height, 400, 3), 90, np.uint8)
        assert reduction.chosen(flat, flat + 9, 0.05) == scale
    assert reduction.others(Frame(400, 70), WHOLE, 0.5) == []


def test_other_scales_come_nearest_first():
    frame = Frame(700, 500)
    assert reduction.others(frame, 182, 0.9) == [154, 128, 108, 91, 64]
    assert reduction.others(frame, 182, 0.3) == [91, 64] and reduction.others(frame, 182, 0.001) == [64]
    assert reduction.others(frame, 182, 1.1) == [205, 230, WHOLE]


def test_a_soft_photograph_looks_better_reduced_at_the_same_bytes(soft):
    small, whole = (dqcodec.compress(soft, bpp=0.05, scale=scale) for scale in (None, 1))
    assert scale_of(small) < WHOLE == scale_of(whole)
    for data in (small, whole):
        assert 0.98 * 0.05 <= 8 * len(data) / (soft.width * soft.height) <= 0.05
    assert dqcodec.decompress(small).size == soft.size
    assert error(soft, small) < error(soft, whole)


def test_a_quality_stands_for_the_same_bytes_at_any_scale(soft):
    small, whole = (dqcodec.compress(soft, quality=20, scale=scale) for scale in (0.5, 1))
    assert scale_of(small) == 128 and 0.8 < len(small) / len(whole) < 1.25


def test_rates_below_those_of_the_whole_size_are_met(photo):
    with pytest.raises(RateError, match=r"smallest file has \d+, which is 0\.\d+ bpp for 0\.0150"):
        dqcodec.compress(photo, bpp=0.015, scale=1)
    data = dqcodec.compress(photo, bpp=0.015)
    assert 0.98 * 0.015 <= 8 * len(data) / (photo.width * photo.height) <= 0.015
    assert scale_of(data) < WHOLE and dqcodec.decompress(data).size == photo.size


def test_rates_above_those_of_the_chosen_size_are_met():
    y, x = np.mgrid[0:256, 0:256]
    gradient = Image.fromarray(np.stack([x, y, (x + y) // 2], -1).astype(np.uint8))
    size = max(len(dqcodec.compress(gradient, quality=100, scale=scale)) for scale in (205 / 256, 1)) - 40
    data = dqcodec.compress(gradient, size=size)
    assert 0.98 * size <= len(data) <= size


@pytest.mark.parametrize("scale", [0, -1, 1.5])
def test_scales_outside_the_range_are_refused(photo, scale):
    with pytest.raises(DqError, match="scale"):
        dqcodec.compress(photo, scale=scale)


def test_alpha_and_greyness_are_of_the_whole_picture(soft):
    image = soft.convert("LA")
    alpha = np.add.outer(np.arange(soft.height), np.arange(soft.width)).astype(np.uint8)
    image.putalpha(Image.fromarray(alpha))
    back = dqcodec.decompress(dqcodec.compress(image, quality=10, scale=0.5))
    assert back.mode == "LA" and np.array_equal(np.asarray(back.getchannel("A")), alpha)


def test_what_is_generated_from_a_reduced_file_has_its_size(photo):
    data = dqcodec.compress(photo, quality=30, scale=0.5)
    ladder = dqcodec.load().entropy.ladder
    (found,) = dqcodec.generate(1, source=data, mask=(300, 200, 100, 60))
    assert found.image.size == photo.size and scale_of(found.to_dq()) == 128
    before, after = codec.tokens_of(data), codec.tokens_of(found.to_dq())
    region = ladder.region
    changed = np.kron(before.codes[0] != after.codes[0], np.ones((region, region), bool))
    inside = np.zeros_like(changed)
    inside[100 // region * region : -(-130 // region) * region, 150 // region * region : 208] = True
    assert changed.any() and not (changed & ~inside).any()


def test_the_command_takes_and_shows_a_scale(photo, tmp_path):
    photo.save(tmp_path / "cat.png")
    done = dq("compress", tmp_path / "cat.png", "--scale", 0.5, "--quality", 30)
    assert done.returncode == 0
    info = dq("info", tmp_path / "cat.dq")
    assert b"451x300" in info.stdout and b"coded at 226x150" in info.stdout
    wrong = dq("compress", tmp_path / "cat.png", "--scale", 0)
    assert wrong.returncode == 2 and b"--scale" in wrong.stderr


@pytest.mark.parametrize("size", [(1024, 1024), (1025, 1024), (3000, 4000), (100, 20000), (20000, 100), (700, 9000)])
def test_large_pictures_are_judged_by_windows_from_all_over(size):
    rows, cols = np.mgrid[: size[0], : size[1]].astype(np.uint16)
    pixels = np.stack([rows, cols], -1)
    found, part = reduction.sample(pixels)
    assert part == found.shape[0] * found.shape[1] / (size[0] * size[1]) and found[..., 0].size <= 2**20
    if size == (1024, 1024):
        assert found is pixels and part == 1
    else:
        assert tuple(found[-1, -1]) == (size[0] - 1, size[1] - 1) and tuple(found[0, 0]) == (0, 0)
        assert len(np.unique(found.reshape(-1, 2), axis=0)) == found.shape[0] * found.shape[1]  # no pixel twice


def test_a_large_soft_picture_is_reduced_at_its_rate_and_quality(photo):
    large = photo.resize((1500, 1000), LANCZOS)
    assert reduction.sample(np.asarray(large))[1] < 1
    data = dqcodec.compress(large, bpp=0.02)
    assert scale_of(data) < WHOLE and 0.98 * 0.02 <= 8 * len(data) / 1.5e6 <= 0.02
    small, whole = (dqcodec.compress(large, quality=20, scale=scale) for scale in (0.5, 1))
    assert 0.75 < len(small) / len(whole) < 1.3
