"""Screen content is told from photographs, and `dqcodec compress` says so without changing anything else."""

import doctest
import io
import time

import numpy as np
import pytest
from PIL import Image

from dqcodec import codec, content
from dqcodec.content import is_screen_content, screen_score
from dqcodec.eval.kinds import draw
from tests.test_cli import dq

GRAPHICS_IN_VALID = {"08", "26", "27", "28"}  # diagram, plot, bar chart, logo


def test_docstring_example_runs():
    assert doctest.testmod(content).failed == 0


@pytest.mark.parametrize("kind", ["text", "terminal", "line art", "screenshot", "chart", "checker"])
def test_graphics_are_screen_content_in_any_place(kind):
    assert all(is_screen_content(np.roll(draw(kind), shift, (0, 1))) for shift in ((0, 0), (5, 3), (8, 8)))


@pytest.mark.parametrize("kind", ["text", "terminal", "line art", "screenshot", "chart"])
def test_graphics_stay_screen_content_after_jpeg(kind):
    buffer = io.BytesIO()
    Image.fromarray(draw(kind)).save(buffer, "JPEG", quality=90)
    assert is_screen_content(np.asarray(Image.open(buffer)))


def test_flat_patches_aligned_with_regions_are_screen_content():
    assert is_screen_content(draw("flat"))


@pytest.mark.parametrize("kind", ["gradient", "hues", "nature", "grey", "night"])
def test_smooth_and_photographic_pictures_are_not(kind):
    assert screen_score(draw(kind)) < 0.5


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket"])
def test_photographs_are_not(name):
    from skimage import data

    assert not is_screen_content(getattr(data, name)())


def test_validation_pictures_are_told_apart(shared):
    found = {path.stem for path in (shared / "data" / "valid").glob("*.png")
             if is_screen_content(np.asarray(Image.open(path).convert("RGB")))}
    assert found == GRAPHICS_IN_VALID


@pytest.mark.parametrize("shape", [(1, 1), (23, 400), (24, 24), (5000, 24)])
def test_any_size_has_a_score(shape):
    assert 0 <= screen_score(np.zeros((*shape, 3), np.uint8)) <= 3


def test_large_pictures_score_as_small_ones():
    page = draw("screenshot")
    assert screen_score(np.tile(page, (6, 6, 1))) == pytest.approx(screen_score(page), rel=0.1)


def test_score_costs_less_than_a_twentieth_of_coding(photo):
    def seconds(work) -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    pixels = np.asarray(photo)
    codec.compress(photo)
    assert min(seconds(lambda: screen_score(pixels)) for _ in range(3)) < 0.05 * seconds(lambda: codec.compress(photo))


def test_compress_warns_in_one_line_and_codes_the_same(tmp_path):
    page = Image.fromarray(draw("text", 96, 64))
    page.save(tmp_path / "page.png")
    done = dq("compress", tmp_path / "page.png")
    (line,) = done.stderr.decode().strip().splitlines()
    assert done.returncode == 0 and "page.png: warning: looks like text" in line and "use PNG" in line
    assert (tmp_path / "page.dq").read_bytes() == codec.compress(page)


def test_many_warnings_become_one_line(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(7):
        Image.fromarray(draw("text", 96, 64)).save(tmp_path / "in" / f"{i}.png")
    (tmp_path / "in" / "bad.png").write_bytes(b"nothing")
    done = dq("compress", tmp_path / "in", "-o", tmp_path / "out")
    lines = done.stderr.decode().strip().splitlines()
    assert done.returncode == 1 and sum("warning: looks like" in line for line in lines) == 5
    assert lines[-1] == "dqcodec: warning: the same of 2 more pictures, 7 in all"


def test_photographs_are_coded_in_silence(photo, tmp_path):
    photo.save(tmp_path / "cat.png")
    done = dq("compress", tmp_path / "cat.png", "--bpp", 0.1)
    assert (done.returncode, done.stderr) == (0, b"")
