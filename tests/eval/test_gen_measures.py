"""The parts of `dqcodec eval-gen` that know nothing of tokens: distances, pictures, neighbours, sheets."""

import shutil
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from dqcodec.errors import DataError, DqError
from dqcodec.eval import gen_distances, gen_neighbours, gen_sheets
from dqcodec.eval.gen_features import Features
from dqcodec.eval.gen_pictures import PictureSet, fitted
from dqcodec.eval.metrics import MetricMissing, Scorer

from .conftest import cat_photo

SIZE = 48


def photo(i: int, side: int = 64) -> Image.Image:
    """One of some different pieces of a photograph."""
    return cat_photo(side, side, 35 * (i % 11), 45 * (i // 11))


# -- distances


def normal(count: int, seed: int, shift: float = 0.0, width: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, width))


def test_frechet_distance_is_that_of_the_matrix_square_root():
    from scipy.linalg import sqrtm

    a, b = normal(60, 1), normal(40, 2, 0.3) @ np.diag(np.linspace(0.5, 2, 12))
    covariances = np.cov(a.T), np.cov(b.T)
    expected = (np.square(a.mean(0) - b.mean(0)).sum() + np.trace(covariances[0] + covariances[1])
                - 2 * np.trace(sqrtm(covariances[0] @ covariances[1]).real))
    assert gen_distances.frechet(a, b) == pytest.approx(expected)
    assert gen_distances.frechet(a, b) == pytest.approx(gen_distances.frechet(b, a))


@pytest.mark.parametrize("count", [5, 200])  # fewer and more pictures than features
def test_frechet_distance_of_a_set_to_itself_is_zero(count):
    a = normal(count, 3)
    assert gen_distances.frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert gen_distances.frechet(a, a[::-1] + 2.0) == pytest.approx(12 * 4)


def test_kernel_distance_of_two_halves_is_zero_in_the_mean_and_not_by_clipping():
    rng = np.random.default_rng(0)
    values = [gen_distances.mmd(normal(30, seed), normal(30, 1000 + seed)) for seed in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    assert min(values) < 0
    found = gen_distances.kernel(normal(30, 1), normal(40, 2), rng)
    assert found["subset_size"] == 15 and abs(found["mean"]) < 3 * found["std"]


def test_kernel_distance_is_its_definition():
    a, b = normal(4, 1, width=3), normal(5, 2, width=3)

    def k(x, y):
        return (x @ y / 3 + 1) ** 3

    within = [np.mean([k(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j]) for x in (a, b)]
    between = np.mean([k(x, y) for x in a for y in b])
    assert gen_distances.mmd(a, b) == pytest.approx(sum(within) - 2 * between)


def test_both_distances_grow_with_the_gap():
    for measure in (gen_distances.frechet, gen_distances.mmd):
        assert 0 < measure(normal(99, 1), normal(99, 2, 0.5)) < measure(normal(99, 1), normal(99, 2, 1.0))


def test_distances_of_features_grow_with_blur_and_noise(shared):
    network = Features(shared / "data" / "metrics", torch.device("cpu"))
    assert network.label == "VGG16 conv5 features"
    clean = [photo(i, SIZE) for i in range(8)]
    noise = np.random.default_rng(0).normal(0, 40, (8, SIZE, SIZE, 3))

    def features(pictures):
        return network(np.stack([np.asarray(p, np.uint8) for p in pictures]))

    base = features(clean)
    assert base.shape == (8, 1024)
    for harm in (lambda p, i, s: p.filter(ImageFilter.GaussianBlur(2 * s)),
                 lambda p, i, s: (np.asarray(p) + s * noise[i]).clip(0, 255).astype(np.uint8)):
        some, more = (features([harm(p, i, s) for i, p in enumerate(clean)]) for s in (0.5, 1.5))
        for measure in (gen_distances.frechet, gen_distances.mmd):
            assert measure(base, some) < measure(base, more)


def test_features_come_from_the_network_at_hand_and_say_which(shared, tmp_path):
    shutil.copy(shared / "data" / "metrics" / "alexnet_features.safetensors", tmp_path)
    network = Features(tmp_path, torch.device("cpu"))
    assert network.label == "AlexNet conv5 features"
    assert network(np.zeros((2, 32, 40, 3), np.uint8)).shape == (2, 512)


# -- pictures


def test_pictures_are_cut_from_the_centre_and_scaled_or_not():
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 20:60] = 200
    assert (fitted(pixels, (20, 20), "scale")[:, 1:-1] > 195).all()
    assert (fitted(pixels, (40, 30), "crop") == pixels[5:35, 20:60]).all()
    assert fitted(pixels, (100, 50), "crop").shape == (50, 100, 3)


def test_classes_come_from_folders_and_from_names_in_shards(tmp_path):
    (tmp_path / "dog").mkdir()
    photo(0).save(tmp_path / "dog" / "a.png")
    photo(1).save(tmp_path / "01_00004.png")
    (tmp_path / ".01_00004.tmp.png").write_bytes(b"half written")
    with tarfile.open(tmp_path / "x.tar", "w") as shard:
        shard.add(tmp_path / "01_00004.png", "00_00001.png")
    (tmp_path / "classes.json").write_text('["cat", "bird"]')
    pictures = PictureSet(tmp_path, 99, 3, np.random.default_rng(0), (SIZE, SIZE))
    assert dict(zip(pictures.names, pictures.classes, strict=True)) == {
        "01_00004.png": "bird", "00_00001.png": "cat", "dog/a.png": "dog"}
    assert pictures[0].shape == (SIZE, SIZE, 3) and pictures.refitted == {0} and not pictures.enlarged
    assert len(PictureSet(tmp_path, 2, 1, np.random.default_rng(0))) == 2
    (tmp_path / "classes.json").write_text("broken")
    with pytest.raises(DataError, match="classes.json"):
        PictureSet(tmp_path, 99, 3, np.random.default_rng(0))


# -- pairs and neighbours


def test_pairs_are_different_and_all_if_there_are_few():
    rng = np.random.default_rng(0)
    assert gen_neighbours.random_pairs([4, 7, 9], 10, rng) == [(4, 7), (4, 9), (7, 9)]
    for n in (50, 3000):
        pairs = gen_neighbours.random_pairs(range(n), 30, rng)
        assert len(set(pairs)) == 30 and all(i < j for i, j in pairs) and pairs == sorted(pairs)


def test_copy_and_mirrored_copy_are_found_and_a_picture_is_not_its_own_neighbour(shared, tmp_path):
    for i in range(18):
        photo(i).save(tmp_path / f"{i:02}.png")
    weights = shared / "data" / "metrics"
    reference = PictureSet(tmp_path, 99, 1, np.random.default_rng(0), (SIZE, SIZE))
    network = Features(weights, torch.device("cpu"))
    features = network.of(reference, lambda: None)
    finder = gen_neighbours.Finder(reference, features, Scorer("lpips_alex", weights))
    for copy, mirrored in ((reference[3], False), (np.ascontiguousarray(reference[3][:, ::-1]), True)):
        found = finder.nearest(copy, network(copy[None])[0])
        assert found[0].index == 3 and found[0].lpips == pytest.approx(0, abs=1e-6) and found[0].mirrored is mirrored
        assert [n.lpips for n in found] == sorted(n.lpips for n in found) and len(found) == 3
    others = finder.nearest(reference[3], features[3], leave_out=3)
    assert others[0].index != 3 and others[0].lpips > 0.05


def test_share_of_near_samples_is_five_percent_for_new_pictures_and_more_for_copies():
    own = np.linspace(0.3, 0.7, 101)
    assert gen_neighbours.compare(list(own), list(own))["share_below_5_percent"] == pytest.approx(0.05, abs=0.011)
    assert gen_neighbours.compare([0.0] * 3 + [0.6], list(own))["share_below_5_percent"] == 0.75


# -- sheets


def test_sheets_of_large_pictures_and_of_many_classes_stay_small(tmp_path):
    for i in range(21):
        (tmp_path / f"in/{i:02}").mkdir(parents=True)
        photo(i % 7, 200).resize((500, 300)).save(tmp_path / f"in/{i:02}/a.png")
    pictures = PictureSet(tmp_path / "in", 99, 1, np.random.default_rng(0))
    path = gen_sheets.overview(pictures, np.random.default_rng(0), tmp_path / "sheet.png")
    width, height = Image.open(path).size
    assert width == 8 * (192 + 3) + 16 and height == 20 * (115 + 3 + 15) + 16


def test_weights_that_can_not_be_loaded_are_named(tmp_path):
    (tmp_path / "vgg16_features_fp16.safetensors").write_bytes(b"broken")
    with pytest.raises(DqError, match="vgg16_features_fp16"):
        Features(tmp_path, torch.device("cpu"))
    with pytest.raises(MetricMissing, match="neither"):
        Features(tmp_path / "..", torch.device("cpu"))
