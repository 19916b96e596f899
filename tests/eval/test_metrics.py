import os
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

from dqcodec.errors import DataError, DqError
from dqcodec.eval import metric_weights, metrics
from dqcodec.eval.metrics import METRICS, Scorer

from .conftest import cat_photo, read

EXAMPLE_VARIABLE = "DQCODEC_LPIPS_EXAMPLE"


def pair(width=176, height=176):
    clean = np.asarray(cat_photo(width, height))
    noise = np.random.default_rng(0).normal(0, 12, clean.shape)
    return clean, (clean + noise).round().clip(0, 255).astype(np.uint8)


def test_psnr_of_a_constant_error_is_its_closed_form():
    clean = np.full((32, 40, 3), 100, np.uint8)
    assert Scorer("psnr", None)(clean, clean + np.uint8(5)) == pytest.approx(20 * np.log10(255 / 5))
    assert Scorer("psnr", None)(clean, clean) == metrics.IDENTICAL_PSNR


def test_psnr_is_that_of_scikit_image():
    from skimage.metrics import peak_signal_noise_ratio

    clean, noisy = pair()
    assert Scorer("psnr", None)(clean, noisy) == pytest.approx(peak_signal_noise_ratio(clean, noisy))


def test_ms_ssim_is_that_of_pytorch_msssim_on_the_full_8_bit_range():
    import torch
    from pytorch_msssim import ms_ssim

    clean, noisy = pair()
    x, y = (torch.from_numpy(p / 255.0).float().permute(2, 0, 1)[None] for p in (clean, noisy))
    assert Scorer("ms_ssim", None)(clean, noisy) == pytest.approx(float(ms_ssim(x, y, data_range=1)), abs=1e-5)


def test_picture_too_small_for_ms_ssim_has_no_score():
    assert Scorer("ms_ssim", None)(*pair(160, 200)) is None


@pytest.mark.parametrize("name", ["lpips_alex", "lpips_vgg", "dists"])
def test_picture_too_small_for_a_network_has_a_score_or_none(name, shared):
    score = Scorer(name, shared / "data" / "metrics")
    clean = np.zeros((3, 5, 3), np.uint8)
    assert score(clean, clean) in (None, pytest.approx(0, abs=1e-4))


@pytest.mark.parametrize("name", ["lpips_alex", "lpips_vgg", "dists"])
def test_scores_do_not_depend_on_what_was_scored_before(name, shared):
    weights = shared / "data" / "metrics"
    clean, noisy = pair(96, 80)
    other = np.ascontiguousarray(clean[:, ::-1])
    used = Scorer(name, weights)
    used(other, noisy)
    used(clean, other)
    assert used(clean, noisy) == Scorer(name, weights)(clean, noisy) > 0


def test_the_two_lpips_networks_are_different_metrics(shared):
    weights = shared / "data" / "metrics"
    clean, noisy = pair(96, 96)
    alex, vgg = Scorer("lpips_alex", weights)(clean, noisy), Scorer("lpips_vgg", weights)(clean, noisy)
    assert abs(alex - vgg) > 0.02
    assert "AlexNet" in METRICS["lpips_alex"].label and "VGG" in METRICS["lpips_vgg"].label


def test_lpips_of_the_published_example_pair():
    """The pair and its scores 0.722 and 0.138 stand in the README of richzhang/PerceptualSimilarity; the
    pictures (imgs/ex_ref.png, ex_p0.png, ex_p1.png) are in that repository and not in the package."""
    folder = os.environ.get(EXAMPLE_VARIABLE)
    if not folder:
        pytest.skip(f"set {EXAMPLE_VARIABLE} to the imgs folder of richzhang/PerceptualSimilarity")
    score = Scorer("lpips_alex", metric_weights.find())
    reference = read(Path(folder) / "ex_ref.png")
    assert score(reference, read(Path(folder) / "ex_p0.png")) == pytest.approx(0.722, abs=1e-3)
    assert score(reference, read(Path(folder) / "ex_p1.png")) == pytest.approx(0.138, abs=1e-3)


def test_metric_without_weights_is_named_and_the_others_go_on(monkeypatch):
    def offline(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    good, missing = metrics.usable(("lpips_alex", "psnr"), None)
    assert good == ["psnr"]
    assert len(missing) == 1 and missing[0].startswith("lpips_alex: ") and "--metric-weights" in missing[0]


def test_named_weight_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DataError, match="--metric-weights"):
        metric_weights.find(tmp_path / "nowhere")


def test_broken_weight_file_is_named(tmp_path):
    (tmp_path / metric_weights.ALEXNET).write_bytes(b"broken")
    with pytest.raises(DataError, match=metric_weights.ALEXNET):
        Scorer("lpips_alex", tmp_path)


def test_decoded_picture_of_another_size_is_refused():
    with pytest.raises(DqError, match="4x4"):
        Scorer("psnr", None)(np.zeros((8, 8, 3), np.uint8), np.zeros((4, 4, 3), np.uint8))


@pytest.fixture(autouse=True)
def torchvision_imports():
    from dqcodec.torchvision_fix import import_torchvision

    import_torchvision()
