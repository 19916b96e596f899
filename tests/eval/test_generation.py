"""`dqcodec eval-gen`: what its distances must do, and a whole run on few small pictures."""

import json
import shutil
import sys
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

import dqcodec
from dqcodec import bitstream, cli, codec
from dqcodec.bitstream import Ladder, Tokens
from dqcodec.errors import DataError, DqError
from dqcodec.eval import gen_distances, gen_neighbours, gen_sheets, gen_tokens
from dqcodec.eval.gen_features import Features
from dqcodec.eval.gen_pictures import PictureSet, fitted
from dqcodec.eval.metrics import MetricMissing, Scorer
from dqcodec.models.config import CodecConfig
from dqcodec.models.dqvae import DQVAE
from dqcodec.prior.config import PriorConfig
from dqcodec.weights import model_file, registry
from tests.conftest import synthetic
from tests.prior.samples import NARROW
from tests.vectors.make_prior import make_tensors

from .conftest import cat_photo

LAYERS = dict(code_dim=4, encoder_channels=(8, 8, 8, 8), encoder_blocks=(0, 0, 0, 0),
              decoder_channels=(8, 8, 8, 8, 8), decoder_blocks=(0, 0, 0, 0, 0), router_hidden=8)  # fmt: skip
VAE = CodecConfig(factors=(16, 8, 4), codebook_size=16, **LAYERS)
PRIOR = PriorConfig(codebook_sizes=(16, 16, 16), tile=2, **NARROW)
SIZE = 48


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory):
    """Untrained models "tiny", with a prior, and "plain", without."""
    folder = tmp_path_factory.mktemp("models")
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        state = DQVAE(VAE).state_dict()
    for name, prior in (("tiny", (PRIOR, make_tensors(PRIOR, 1))), ("plain", None)):
        model_file.write(folder / f"{name}.safetensors", VAE, state, [np.full(16, 4096, np.uint32)] * 3, {}, prior)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(registry.VARIABLE, str(folder))
        yield


def photo(i: int, side: int = 64) -> Image.Image:
    """One of some different pieces of a photograph."""
    return cat_photo(side, side, 35 * (i % 11), 45 * (i // 11))


@pytest.fixture
def folders(tmp_path):
    """Folders of 9 samples in two classes, one of them a mirrored copy, and of 18 reference pictures."""
    samples, reference = tmp_path / "samples", tmp_path / "reference"
    for i in range(9):
        path = samples / ("cat" if i < 8 else "dog") / f"{i:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(synthetic(SIZE, SIZE, i)).save(path)
    (reference / "cat").mkdir(parents=True)
    for i in range(17):
        photo(i).save(reference / "cat" / f"{i:02}.png")
    photo(17).save(reference / "17.png")
    copy = fitted(np.asarray(photo(3)), (SIZE, SIZE), "scale")
    Image.fromarray(np.ascontiguousarray(copy[:, ::-1])).save(samples / "cat" / "0005.png")
    return samples, reference


def run(capsys, *words) -> tuple[int, str]:
    """Exit code and stderr of the command line."""
    before = sys.argv
    sys.argv = ["dqcodec", "eval-gen", *map(str, words)]
    try:
        code = cli._run()
    finally:
        sys.argv = before
    return code, capsys.readouterr().err


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
    assert (fitted(pixels, (20, 20), "scale") >= 199).all()
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


def test_copy_and_mirrored_copy_are_found_and_a_picture_is_not_its_own_neighbour(shared, folders):
    weights = shared / "data" / "metrics"
    reference = PictureSet(folders[1], 99, 1, np.random.default_rng(0), (SIZE, SIZE))
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


# -- tokens


def test_bits_of_tokens_are_those_of_the_file():
    model = registry.load("tiny")
    tokens = codec.tokens_of(codec.compress(photo(0), quality=95, model="tiny"))
    bits = gen_tokens.cost(tokens, model.entropy)
    sections = bitstream.inspect(bitstream.write(tokens, model.entropy)).sections
    assert bits.shape == (2, 3) and bits[0, 0] == 0
    for section in sections:
        assert 0 <= 8 * len(section.payload) - bits[:, section.step].sum() < 40


def test_use_of_codes_in_numbers():
    ladder = Ladder((16, 8), (4, 4))
    tokens = Tokens(32, 16, np.array([[0, 1]], np.uint8), (
        np.array([[2, 2]], np.int32), np.array([[-1, -1, 0, 1], [-1, -1, 2, 3]], np.int32)))
    assert gen_tokens.histogram([tokens, tokens], 1, ladder).tolist() == [2, 2, 2, 2]
    assert gen_tokens.perplexity(np.array([2, 2, 2, 2])) == pytest.approx(4)
    assert gen_tokens.perplexity(np.array([0, 8, 0, 0])) == pytest.approx(1)
    assert gen_tokens.perplexity(np.zeros(4, int)) is None
    assert gen_tokens.codes_per_region([tokens], ladder) == 3
    assert gen_tokens.divergence(np.array([3, 1]), np.array([3, 1])) == 0
    assert gen_tokens.divergence(np.array([3, 1]), np.array([0, 0])) is None


def test_reference_is_compressed_to_as_many_codes_as_the_samples_have():
    model = registry.load("plain")
    plans = [gen_tokens._plan(model, np.asarray(photo(i)), torch.device("cpu"), lambda: None) for i in range(4)]
    ladder = model.config.ladder
    for quality in (1, 40, 100):
        wanted = gen_tokens.codes_per_region([gen_tokens._at(plan, quality) for plan in plans], ladder)
        found = gen_tokens.nearest_quality(plans, wanted, ladder)
        assert gen_tokens.codes_per_region([gen_tokens._at(plan, found) for plan in plans], ladder) == wanted


# -- sheets


def test_sheets_of_large_pictures_and_of_many_classes_stay_small(tmp_path):
    for i in range(30):
        (tmp_path / f"in/{i:02}").mkdir(parents=True)
        photo(i % 7, 200).resize((500, 300)).save(tmp_path / f"in/{i:02}/a.png")
    pictures = PictureSet(tmp_path / "in", 99, 1, np.random.default_rng(0))
    path = gen_sheets.overview(pictures, np.random.default_rng(0), tmp_path / "sheet.png")
    width, height = Image.open(path).size
    assert width == 8 * (192 + 3) + 16 and height == 20 * (115 + 3 + 15) + 16


# -- the command


def test_run_writes_everything_and_finds_the_copy(shared, folders, tmp_path, capsys):
    samples, reference = folders
    for i, one in enumerate(dqcodec.generate(9, model="tiny", size=(SIZE, SIZE), device="cpu")):
        (samples / "cat" / f"{i:04}.dq").write_bytes(one.to_dq())
    out = tmp_path / "out"
    words = [samples, "--reference", reference, "--out", out, "--pairs", 12, "--device", "cpu",
             "--metric-weights", shared / "data" / "metrics"]
    code, text = run(capsys, *words)
    assert code == 0, text
    assert sorted(p.name for p in out.iterdir()) == [
        "generation.json", "generation.md", "nearest.png", "reference.png", "samples.png"]
    found = json.loads((out / "generation.json").read_text())
    assert set(found) == {"about", "samples", "reference", "distances", "diversity", "nearest", "tokens", "classes",
                          "notes"}
    assert found["samples"] == {"folder": "samples", "found": 9, "used": 9, "refitted": 0, "enlarged": 0}
    assert found["reference"]["refitted"] == 18 and found["about"]["size"] == [SIZE, SIZE]

    distances = found["distances"]
    assert distances["frechet_name"] == "Frechet distance (VGG16 conv5 features)"
    assert [distances[k]["counts"] for k in ("all", "equal", "floor")] == [[9, 18], [9, 9], [9, 9]]
    assert distances["floor"]["frechet"] < distances["equal"]["frechet"]
    assert distances["floor"]["kernel"]["mean"] < distances["equal"]["kernel"]["mean"]
    assert found["diversity"]["samples"]["pairs"] == found["diversity"]["reference"]["pairs"] == 12

    nearest = found["nearest"]
    assert nearest["of_each_sample"]["cat/0005.png"][0] == {
        "name": "cat/03.png", "lpips": pytest.approx(0, abs=1e-6), "mirrored": True}
    assert nearest["samples"][0] == pytest.approx(0, abs=1e-6) < nearest["reference"][0]
    assert all(len(three) == 3 for three in nearest["of_each_sample"].values())

    tokens = found["tokens"]
    assert (tokens["pictures"], tokens["model"], tokens["entropy_model"]) == (9, "tiny", "prior")
    assert tokens["samples_from"] == "9 of 9 .dq files" and len(tokens["steps"]) == 3
    assert sum(tokens["levels"]["samples"]) == pytest.approx(1)
    assert tokens["steps"][0]["bits_per_code"]["samples"] > 0
    assert 0 <= tokens["steps"][0]["divergence"] <= 1

    assert {k: (v["samples"], v["reference"]) for k, v in found["classes"].items()} == {"cat": (8, 17), "dog": (1, 0)}
    assert found["classes"]["cat"]["kernel"] and found["classes"]["dog"]["diversity"] is None
    report = (out / "generation.md").read_text()
    assert "FID" not in report.replace("no FID or KID", "") and "cat/0005.png (0.000 to cat/03.png)" in report
    assert str(tmp_path) not in report + json.dumps(found)
    assert Image.open(out / "nearest.png").width > 8 * SIZE

    assert run(capsys, *words)[0] == 0
    assert json.loads((out / "generation.json").read_text()) == found


def test_samples_without_dq_files_are_compressed_like_the_reference(folders):
    rng = np.random.default_rng(0)
    samples, reference = (PictureSet(folder, 99, 1, rng, (SIZE, SIZE)) for folder in folders)
    source = gen_tokens.Source.find(folders[0], "plain")
    found = gen_tokens.statistics(source, samples, reference, rng, torch.device("cpu"), lambda *_: cli.progress(1))
    assert found["entropy_model"] == "tables" and found["pictures"] == 9
    assert found["samples_from"] == "samples compressed at quality 50"
    assert found["reference_from"] == "reference pictures compressed at quality 50"
    assert found["steps"][0]["bits_per_code"]["samples"] == pytest.approx(4)


@pytest.mark.parametrize("change, words, parts", [
    ("no samples", [], ["samples", "no images", "at least 8"]),
    ("few samples", [], ["only 7 images", "at least 8"]),
    ("few reference", [], ["reference", "only 15 images", "at least 16"]),
    ("", ["--reference", "nowhere"], ["nowhere", "no such folder"]),
    ("", ["--tokens-model", "nowhere"], ["no model 'nowhere'"]),
    ("", ["--metric-weights", "nowhere"], ["nowhere", "--metric-weights"]),
    ("", ["--metric-weights", "EMPTY"], ["vgg16", "--metric-weights"]),
    ("", ["--out", "SAMPLES/out"], ["--out another folder"]),
    ("small samples", [], ["16x16", "too small"]),
    ("broken sample", [], ["0000.png", "not readable"]),
    ("broken tokens", [], ["a.dq"]),
    ("other tokens", ["--tokens-model", "plain"], ["a.dq", "made with model"]),
])  # fmt: skip
def test_bad_input_is_one_clear_line_and_writes_nothing(folders, tmp_path, capsys, change, words, parts):
    samples, reference = folders
    (tmp_path / "empty").mkdir()
    if change == "no samples":
        shutil.rmtree(samples)
        samples.mkdir()
    elif change == "few samples":
        (samples / "cat" / "0005.png").unlink()
        (samples / "cat" / "0006.png").unlink()
    elif change == "few reference":
        for i in range(3):
            (reference / "cat" / f"{i:02}.png").unlink()
    elif change == "small samples":
        photo(0, 16).save(samples / "0.png")
    elif change == "broken sample":
        (samples / "cat" / "0000.png").write_bytes(b"broken")
    elif change == "broken tokens":
        (samples / "a.dq").write_bytes(b"broken")
    elif change == "other tokens":
        (samples / "a.dq").write_bytes(codec.compress(photo(0), model="tiny"))
    names = {"EMPTY": tmp_path / "empty", "SAMPLES/out": samples / "out"}
    code, text = run(capsys, samples, "--reference", reference, "--out", tmp_path / "out",
                     *(names.get(word, word) for word in words))
    assert code == 1 and len(text.strip().splitlines()) == 1, text
    assert all(part in text for part in parts), text
    assert not (tmp_path / "out").exists() and not (samples / "out").exists()


def test_weights_that_can_not_be_loaded_are_named(tmp_path):
    (tmp_path / "vgg16_features_fp16.safetensors").write_bytes(b"broken")
    with pytest.raises(DqError, match="vgg16_features_fp16"):
        Features(tmp_path, torch.device("cpu"))
    with pytest.raises(MetricMissing, match="neither"):
        Features(tmp_path / "..", torch.device("cpu"))
