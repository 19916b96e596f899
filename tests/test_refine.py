"""--effort search: codes moved by the gradient of a loss through the decoder."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import dqcodec
from dqcodec import networks, rate, refine
from dqcodec.errors import DataError
from dqcodec.eval import codecs, metric_weights
from dqcodec.models.perceptual import LpipsVgg
from dqcodec.tiles import tiles
from dqcodec.weights import load

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def metric(metric_folder):
    return LpipsVgg(metric_folder)


def seen(pixels):
    """Pixels (H, W, 3) uint8 as the metric wants them, less what is no whole region."""
    height, width = (side // 16 * 16 for side in pixels.shape[:2])
    return torch.from_numpy(pixels[:height, :width].astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]


def loss(metric, analysis, pixels, levels):
    a, b = (seen(p) for p in (networks.synthesise(load().vae, rate.tokens_at(analysis, levels), CPU), pixels))
    with torch.no_grad():
        return float((a - b).abs().mean() + metric(a, b).mean())


@pytest.mark.parametrize("how", [{}, {"whole": 0, "tile": 64}])
def test_what_is_shown_comes_nearer_in_one_piece_and_in_tiles(analysed, metric, how):
    pixels, analysis, levels = analysed
    moved = refine.refined(load().vae, refine.Search(metric, 3), pixels, analysis, levels, CPU, **how)
    assert loss(metric, moved, pixels, levels) < 0.97 * loss(metric, analysis, pixels, levels)
    assert all(a.shape == b.shape and a.dtype == b.dtype for a, b in zip(moved.codes, analysis.codes, strict=True))


def test_codes_that_the_file_has_not_stay_as_they_were(analysed, metric):
    pixels, analysis, _ = analysed
    levels = np.zeros(analysis.distortion.shape[1:], np.uint8)
    levels[:, -2:] = 1
    moved = refine.refined(load().vae, refine.Search(metric, 2), pixels, analysis, levels, CPU)
    coarse, medium, fine = (np.any(a != b, 0) for a, b in zip(moved.latents, analysis.latents, strict=True))
    assert coarse.any() and medium[:, -4:].any()
    assert not medium[:, :-4].any() and not fine.any()


def test_without_a_step_nothing_changes(analysed, metric):
    pixels, analysis, levels = analysed
    same = refine.refined(load().vae, refine.Search(metric, 0), pixels, analysis, levels, CPU)
    assert all(np.array_equal(a, b) for a, b in zip(same.codes, analysis.codes, strict=True))


@pytest.mark.parametrize("how", [{}, {"whole": 0, "tile": 64}])
def test_a_search_says_how_far_it_is(analysed, metric, how):
    pixels, analysis, levels = analysed
    shares = []
    refine.refined(load().vae, refine.Search(metric, 1, shares.append), pixels, analysis, levels, CPU, **how)
    assert len(shares) == 2 * (len(list(tiles(*levels.shape, 16, refine.HALO, **how))) if how else 1)
    assert shares == sorted(set(shares)) and shares[0] > 0 and shares[-1] == 1


def test_more_steps_are_shorter_and_come_nearer(analysed, metric):
    pixels, analysis, levels = analysed
    losses = []
    for steps in (1, 12):
        moved = refine.refined(load().vae, refine.Search(metric, steps), pixels, analysis, levels, CPU)
        losses.append(loss(metric, moved, pixels, levels))
    assert losses[1] < 0.97 * losses[0]
    assert refine.length(refine.STEPS) == refine.FIRST > refine.length(12) > refine.FIRST / 2


def test_cells_go_as_far_as_their_gradients_tell_but_less_than_in_proportion():
    slope = torch.zeros(1, 4, 1, 3)
    slope[..., 0], slope[..., 1] = 1e-9, -4e-9
    way = refine._way(slope)
    assert torch.allclose(way[0, :, 0, 1], -2 * way[0, :, 0, 0]) and (way[0, :, 0, 0] > 0).all()
    assert not way[..., 2].any()
    assert float(way[..., :2].square().mean()) == pytest.approx(1)
    assert not refine._way(torch.zeros(1, 4, 2, 2)).any()


def test_the_half_picture_is_seen_where_vgg_can_pool_it(metric):
    for side, views in ((16, 1), (32, 2), (48, 2)):
        seen = refine._views(torch.zeros(1, 3, side, 32))
        assert len(seen) == views and all(metric.features(view)[-1].numel() for view in seen)


def test_files_meet_their_size_are_nearer_and_need_no_metric_to_be_read(photo, metric, metric_folder):
    image = photo.crop((90, 60, 282, 220))
    gaps = {}
    for effort in ("fast", "search"):
        data = dqcodec.compress(image, size=1200, effort=effort, metric_weights=metric_folder, device="cpu")
        assert 0.98 * 1200 <= len(data) <= 1200
        decoded = np.asarray(dqcodec.decompress(data, device="cpu"))
        gaps[effort] = metric(seen(decoded), seen(np.asarray(image))).mean().item()
    assert gaps["search"] < 0.97 * gaps["fast"]


def test_grey_and_one_pixel_pictures(metric_folder):
    for image in (Image.fromarray(np.arange(40 * 30, dtype=np.uint8).reshape(40, 30)), Image.new("RGB", (1, 1), "red")):
        data = dqcodec.compress(image, quality=30, effort="search", metric_weights=metric_folder, device="cpu")
        decoded = dqcodec.decompress(data, device="cpu")
        assert (decoded.size, decoded.mode) == (image.size, image.mode)


def run(*arguments, **environment):
    command = [sys.executable, "-m", "dqcodec", "compress", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment or None, timeout=300)


def test_command_line_searches_and_names_weights_that_are_missing(photo, metric_folder, tmp_path):
    photo.crop((100, 60, 196, 124)).save(tmp_path / "a.png")
    arguments = (tmp_path / "a.png", "-o", tmp_path / "a.dq", "--bpp", "0.3", "--device", "cpu")
    (tmp_path / "none").mkdir()
    for wrong, said in ((("--effort", "search", "--metric-weights", tmp_path / "none"), "missing"),
                        (("--effort", "search", "--metric-weights", tmp_path / "gone"), "no such folder"),
                        (("--metric-weights", metric_folder), "--effort search")):
        failed = run(*arguments, *wrong)
        assert failed.returncode and said in failed.stderr and "Traceback" not in failed.stderr
        assert not (tmp_path / "a.dq").exists()
    assert "--effort search" in run(*arguments, "--search-steps", "4").stderr
    done = run(*arguments, "--effort", "search", "--metric-weights", metric_folder, "--search-steps", "2")
    assert done.returncode == 0, done.stderr
    assert not done.stderr  # the bar is for terminals
    assert dqcodec.decompress((tmp_path / "a.dq").read_bytes(), device="cpu").size == (96, 64)


def test_the_benchmark_names_efforts(photo, metric_folder):
    (codec,), _ = codecs.select(("dqcodec+search",), metric_weights=metric_folder)
    assert codec.name == "dqcodec+search" and codec.effort == "search" and "search" in codec.label
    image = photo.crop((100, 60, 196, 124))
    assert codec.encode(image, 0.3) != codecs.select(("dqcodec",))[0][0].encode(image, 0.3)
    with pytest.raises(DataError, match="is no effort"):
        codecs.select(("dqcodec+most",))


def test_weights_of_the_loss_and_of_the_metrics_have_the_same_names():
    from dqcodec.models import perceptual

    assert metric_weights.VGG16 == perceptual.VGG_FILE
    assert metric_weights.LPIPS_LINEAR.format(net="vgg") == perceptual.LINEAR_FILE
