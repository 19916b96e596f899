"""`dqcodec eval-gen`: token statistics, and whole runs on few small pictures."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import dqcodec
from dqcodec import bitstream, cli, codec
from dqcodec.bitstream import Ladder, Tokens
from dqcodec.eval import gen_tokens
from dqcodec.eval.gen_pictures import PictureSet, fitted
from dqcodec.models.config import CodecConfig
from dqcodec.models.dqvae import DQVAE
from dqcodec.prior.config import PriorConfig
from dqcodec.weights import model_file, registry
from tests.conftest import synthetic
from tests.prior.samples import NARROW
from tests.vectors.make_prior import make_tensors

from .test_gen_measures import SIZE, photo

LAYERS = dict(code_dim=4, encoder_channels=(8, 8, 8, 8), encoder_blocks=(0, 0, 0, 0),
              decoder_channels=(8, 8, 8, 8, 8), decoder_blocks=(0, 0, 0, 0, 0), router_hidden=8)  # fmt: skip
VAE = CodecConfig(factors=(16, 8, 4), codebook_size=16, **LAYERS)
PRIOR = PriorConfig(codebook_sizes=(16, 16, 16), tile=2, **NARROW)


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory):
    """Untrained models "toy", with a prior, and "plain", without."""
    folder = tmp_path_factory.mktemp("models")
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        state = DQVAE(VAE).state_dict()
    for name, prior in (("toy", (PRIOR, make_tensors(PRIOR, 1))), ("plain", None)):
        model_file.write(folder / f"{name}.safetensors", VAE, state, [np.full(16, 4096, np.uint32)] * 3, {}, prior)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(registry.VARIABLE, str(folder))
        yield


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


# -- tokens


def test_bits_of_tokens_are_those_of_the_file():
    model = registry.load("toy")
    tokens = codec.tokens_of(codec.compress(photo(0), quality=95, model="toy"))
    bits = gen_tokens.cost(tokens, model.entropy)
    sections = bitstream.inspect(bitstream.write(tokens, model.entropy)).sections
    assert bits.shape == (2, 3) and bits[0, 0] == 0
    for section in sections:
        assert abs(8 * len(section.payload) - bits[:, section.step].sum()) < 40


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


# -- the command


def test_run_writes_everything_and_finds_the_copy(shared, folders, tmp_path, capsys):
    samples, reference = folders
    for i, one in enumerate(dqcodec.generate(9, model="toy", size=(SIZE, SIZE), device="cpu")):
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
    assert nearest["samples"][0] == pytest.approx(0, abs=1e-6) and nearest["reference"][0] > 0.05
    assert all(len(three) == 3 for three in nearest["of_each_sample"].values())

    tokens = found["tokens"]
    assert (tokens["pictures"], tokens["model"], tokens["entropy_model"]) == (9, "toy", "prior")
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
        (samples / "a.dq").write_bytes(codec.compress(photo(0), model="toy"))
    names = {"EMPTY": tmp_path / "empty", "SAMPLES/out": samples / "out"}
    code, text = run(capsys, samples, "--reference", reference, "--out", tmp_path / "out",
                     *(names.get(word, word) for word in words))
    assert code == 1 and len(text.strip().splitlines()) == 1, text
    assert all(part in text for part in parts), text
    assert not (tmp_path / "out").exists() and not (samples / "out").exists()
