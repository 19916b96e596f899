import numpy as np
import pytest
from PIL import Image

from dqcodec.errors import DqError
from dqcodec.eval import sweep
from dqcodec.eval.sweep import Shown

from .conftest import cat_photo

LEVELS = {"a": 5, "b": 15}  # by which a picture's copies are too dark; b has no darkest one


def darker(path):
    """Three ways to show a picture, of which the last has no file of b."""
    image = Image.open(path)
    for times in (1, 2, 3):
        level = times * LEVELS[path.stem]
        gone = path.stem == "b" and times == 3
        yield Shown({"times": times}, image, None if gone else Image.fromarray(np.asarray(image) - np.uint8(level)),
                    {"bpp": float(level)})


def one_without_file(path):
    yield Shown({"target": 0.1}, Image.open(path), None)


def by_name(path):
    yield Shown({"name": path.stem}, Image.open(path), Image.open(path))


def broken(path):
    raise DqError(f"{path.name}: broken")


@pytest.fixture
def pictures(tmp_path):
    paths = [tmp_path / f"{name}.png" for name in LEVELS]
    for path in paths:
        Image.new("RGB", (24, 16), (90, 100, 110)).save(path)
    return paths


def psnr(level):
    return 20 * np.log10(255 / level)


@pytest.mark.parametrize("jobs", [1, 2])
def test_row_of_a_way_has_the_means_of_the_pictures_that_have_it(pictures, jobs):
    rows = sweep.measure(darker, pictures, None, jobs, metrics=("psnr", "ms_ssim"))
    assert [row["times"] for row in rows] == [1, 2, 3]
    assert [row["pictures"] for row in rows] == [2, 2, 1]
    assert [row["bpp"] for row in rows] == [10, 20, 15]
    expected = [(psnr(5) + psnr(15)) / 2, (psnr(10) + psnr(30)) / 2, psnr(15)]
    assert [row["psnr"] for row in rows] == pytest.approx(expected, abs=1e-4)
    assert all(row["ms_ssim"] is None for row in rows)  # too small for it


def test_way_without_a_file_of_any_picture_has_no_row(pictures):
    assert sweep.measure(one_without_file, pictures, None, metrics=("psnr",)) == []


def test_ways_that_differ_between_pictures_are_refused(pictures):
    with pytest.raises(ValueError, match="differ"):
        sweep.measure(by_name, pictures, None, metrics=("psnr",))


def test_failure_of_a_picture_is_raised(pictures):
    with pytest.raises(DqError, match="a.png: broken"):
        sweep.measure(broken, pictures, None, metrics=("psnr",))


def test_bpp_is_bits_of_the_file_for_each_pixel():
    assert sweep.bpp(b"x" * 100, cat_photo(40, 20)) == 1.0


def test_table_shows_scores_by_the_digits_of_their_metric():
    rows = [{"target": 0.1, "way": None, "pictures": 2, "bpp": 0.0994, "psnr": 24.346, "dists": 0.1},
            {"target": None, "way": "AVIF 30", "pictures": 2, "bpp": 0.1, "psnr": 20.0, "dists": None}]
    assert sweep.table(rows, ("pictures",)).splitlines() == [
        "| target | way | bpp | psnr | dists |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| 0.1 |  | 0.0994 | 24.35 | 0.1000 |",
        "|  | AVIF 30 | 0.1 | 20.00 |  |",
    ]
