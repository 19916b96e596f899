"""Our classical codecs and metrics against measurements that others made with the same libraries."""

import csv

import numpy as np
import pytest

from dqcodec.eval import codecs
from dqcodec.eval.image_set import read_rgb
from dqcodec.eval.metrics import Scorer

from .conftest import SHARED

CASES = [("avif", 12, "AVIF", "q12 s4 420"), ("avif", 28, "AVIF", "q28 s4 420"),
         ("jpeg", 5, "JPEG", "q5 prog 420"), ("jpeg", 10, "JPEG", "q10 prog 420"),
         ("jxl", 15, "JXL", "d15 e7"), ("webp", 12, "WebP", "q12 m6"),
         ("heic", 13, "HEIC", "q13")]
IMAGES = ("kodim03", "kodim23")
TOLERANCE = 0.02


@pytest.fixture(scope="module")
def anchors():
    path = SHARED / "anchors" / "kodak_classical_per_image.csv"
    if not path.is_file() or not (SHARED / "data" / "kodak").is_dir():
        pytest.skip("no ../shared: needs Kodak and its anchors")
    with path.open(newline="") as f:
        return {(row["codec"], row["setting"], row["img"]): row for row in csv.DictReader(f)}


@pytest.fixture(scope="module")
def scorers():
    weights = SHARED / "data" / "metrics"
    return {name: Scorer(name, weights) for name in ("psnr", "ms_ssim", "lpips_alex")}


@pytest.mark.parametrize("name, value, anchor, setting", CASES)
def test_classical_codec_agrees_with_the_anchors_within_two_percent(
        name, value, anchor, setting, anchors, scorers):
    chosen, skipped = codecs.select((name,))
    if skipped:
        pytest.skip(skipped[0].reason)
    for image_name in IMAGES:
        expected = anchors[anchor, setting, image_name]
        image = read_rgb(SHARED / "data" / "kodak" / f"{image_name}.png")
        data = chosen[0].encode(image, value)
        decoded = np.asarray(chosen[0].decode(data))
        found = {metric: scorer(np.asarray(image), decoded) for metric, scorer in scorers.items()}
        found["bpp"] = 8 * len(data) / (image.width * image.height)
        for key, score in found.items():
            assert score == pytest.approx(float(expected[key]), rel=TOLERANCE), (image_name, key)


def test_dists_agrees_with_the_anchors(anchors):
    image = read_rgb(SHARED / "data" / "kodak" / "kodim03.png")
    codec = codecs.select(("avif",))[0][0]
    decoded = np.asarray(codec.decode(codec.encode(image, 12)))
    score = Scorer("dists", SHARED / "data" / "metrics")(np.asarray(image), decoded)
    assert score == pytest.approx(float(anchors["AVIF", "q12 s4 420", "kodim03"]["dists"]), rel=TOLERANCE)
