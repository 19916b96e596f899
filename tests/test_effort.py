"""--effort best: real costs and real decodes in the place of guesses."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import dqcodec
from dqcodec import effort, feedback, networks, rate
from dqcodec.errors import DqError

CPU = torch.device("cpu")
PHOTO = np.ascontiguousarray(data.chelsea()[40:200, 60:250])  # (160, 190, 3), not whole regions


@pytest.fixture(scope="module")
def model():
    return dqcodec.load("default")


@pytest.fixture(scope="module")
def analysis(model):
    return networks.analyse(model.vae, PHOTO, CPU)


def test_errors_are_those_of_the_pictures_at_each_level(model, analysis):
    errors = effort.decoded_errors(model, analysis, PHOTO, CPU)
    assert errors.shape == analysis.distortion.shape
    means = errors.mean((1, 2))
    assert (np.diff(means) < 0).all()
    finest = networks.synthesise(model.plain.vae, rate.tokens_at(analysis, np.full((10, 12), 2, np.uint8)), CPU)
    gap = np.abs(finest.astype(float) - PHOTO)[16:32, 32:48].mean() / 127.5
    assert errors[2, 1, 2] == pytest.approx(gap, rel=1e-4)


def test_costs_are_the_bits_of_the_file_with_all_codes(model, analysis):
    costs = effort.model_costs(model.entropy, analysis)
    tokens = rate.tokens_at(analysis, np.full(costs.shape[1:], 2, np.uint8))
    written = 8 * len(dqcodec.bitstream.write(tokens, model.entropy))
    assert costs.sum() == pytest.approx(written, rel=0.03)  # map bits, header and sections are the rest


def test_best_meets_the_size_and_lowers_the_error_that_it_measures(model, monkeypatch):
    monkeypatch.setattr(feedback, "BEST", feedback.FAST)  # so that only the choice of regions differs
    efforts = ("fast", "best")
    gaps = dict.fromkeys(efforts, 0.0)
    for pixels in (PHOTO, data.astronaut()[:256, 100:356]):
        for size in (1000, 1500):
            for how in efforts:
                file = dqcodec.compress(Image.fromarray(pixels), size=size, effort=how, device="cpu")
                assert 0.98 * size <= len(file) <= size
                decoded = np.asarray(dqcodec.decompress(file, device="cpu", realism=0))  # the decoder it measures by
                gaps[how] += np.abs(decoded.astype(float) - pixels).mean()
    assert gaps["best"] < 0.995 * gaps["fast"]
    with pytest.raises(DqError, match="none of fast, best, search"):
        dqcodec.compress(Image.fromarray(PHOTO), effort="most")
