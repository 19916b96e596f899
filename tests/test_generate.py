"""`dqcodec generate`, dqcodec.generate and `decompress --partial --complete`, with a tiny untrained model."""

import io
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dqcodec
from dqcodec import bitstream, cli, codec, files, token_files
from dqcodec.errors import FormatError, GenerateError
from dqcodec.models.config import CodecConfig
from dqcodec.models.dqvae import DQVAE
from dqcodec.prior.config import PriorConfig
from dqcodec.weights import model_file, registry
from tests.conftest import synthetic
from tests.prior.samples import NARROW
from tests.vectors.make_prior import make_tensors

ROOT = Path(__file__).parents[1]
LAYERS = dict(code_dim=4, encoder_channels=(8, 8, 8, 8), encoder_blocks=(0, 0, 0, 0),
              decoder_channels=(8, 8, 8, 8, 8), decoder_blocks=(0, 0, 0, 0, 0), router_hidden=8)  # fmt: skip
VAE = CodecConfig(factors=(16, 8, 4), codebook_size=16, **LAYERS)
PRIOR = PriorConfig(codebook_sizes=(16, 16, 16), tile=2, **NARROW)
TABLES = [np.full(16, 4096, np.uint32)] * 3


def make_model(path, prior: PriorConfig | None, seed: int = 1) -> None:
    torch.manual_seed(0)
    state = DQVAE(VAE).state_dict()
    model_file.write(path, VAE, state, TABLES, {}, prior and (prior, make_tensors(prior, seed)))


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    make_model(folder / "toy.safetensors", PRIOR)
    make_model(folder / "other.safetensors", PRIOR, 2)
    make_model(folder / "pets.safetensors", PriorConfig(**{**PRIOR.to_dict(), "classes": ("cat", "dog")}))
    make_model(folder / "plain.safetensors", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(registry.VARIABLE, str(folder))
        yield folder


@pytest.fixture(scope="module")
def packed() -> bytes:
    """A grey file with alpha, of the model "toy", with all three steps and no detail."""
    rgba = Image.fromarray(synthetic(70, 90)).convert("L")
    rgba.putalpha(Image.fromarray(np.full((70, 90), 99, np.uint8)))
    return codec.compress(rgba, quality=95, model="toy", detail=False)


def generate(num=1, **options):
    return dqcodec.generate(num, **{"model": "toy", "device": "cpu", **options})


def same(a, b) -> bool:
    return np.array_equal(a.levels, b.levels) and all(map(np.array_equal, a.codes, b.codes))


def run(capsys, *words) -> tuple[int, str]:
    """Exit code and stderr of the command line."""
    before = sys.argv
    sys.argv = ["dqcodec", *map(str, words)]
    try:
        code = cli._run()
    finally:
        sys.argv = before
    return code, capsys.readouterr().err


def fails(found: tuple[int, str], *parts: str) -> None:
    code, text = found
    assert code == 1 and len(text.strip().splitlines()) == 1 and "Traceback" not in text, text
    assert all(part in text for part in parts), text


# -- from nothing


def test_a_seed_gives_the_same_pictures_and_a_file_like_any_other():
    made = generate(3, size=(50, 40), seed=5)
    again = generate(2, size=(50, 40), seed=5)
    assert same(made[1].tokens, again[1].tokens) and not same(made[0].tokens, made[1].tokens)
    assert not same(made[0].tokens, generate(size=(50, 40), seed=6)[0].tokens)
    for one in made:
        assert one.image.size == (50, 40) and one.image.mode == "RGB"
        assert same(codec.tokens_of(one.to_dq()), one.tokens)
        assert np.array_equal(np.asarray(dqcodec.decompress(one.to_dq(), device="cpu")), np.asarray(one.image))
        assert token_files.to_dq(token_files.unpack(one.to_npz())) == one.to_dq()


def test_classes_are_drawn_and_unknown_ones_named():
    def pets(**options):
        return generate(model="pets", **options)[0].tokens

    assert not same(pets(class_name="cat"), pets(class_name="dog"))
    assert not same(pets(class_name="cat"), pets(class_name="cat", guidance=3.0))
    with pytest.raises(GenerateError, match="no class 'bird'; this model knows: cat, dog"):
        pets(class_name="bird")
    with pytest.raises(GenerateError, match="without classes"):
        generate(class_name="cat")
    with pytest.raises(GenerateError, match="guidance needs a class"):
        pets(guidance=2.0)


def test_a_model_without_prior_says_so():
    with pytest.raises(GenerateError, match="model plain .* has no prior"):
        generate(model="plain")


@pytest.mark.parametrize("wrong, words", [
    ({"num": 0}, "number"), ({"seed": -1}, "seed -1"), ({"seed": 2**64}, "seed"), ({"size": (0, 5)}, "0x5 is empty"),
    ({"size": (10**6, 10**6)}, "limit"), ({"keep": 0.5}, "need a file"), ({"temperature": 0}, "temperature"),
])  # fmt: skip
def test_wrong_requests_are_named(wrong, words):
    with pytest.raises(GenerateError, match=words):
        generate(**wrong)


def test_example_of_the_page_runs(models, packed, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_files", lambda: {"default": models / "toy.safetensors"})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.dq").write_bytes(packed)
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "generation.md").read_text(), re.S)
    found: dict = {}
    exec(block, found)
    assert (tmp_path / "picture.png").exists() and len(found["variants"]) == 9


# -- from a file


def test_what_a_file_starts_with_stays(packed):
    tokens = codec.tokens_of(packed)
    for one in generate(2, source=packed, keep=1.0):
        assert same(one.tokens, tokens) and one.to_dq() == packed
        assert one.image.mode == "LA" and one.image.getextrema()[1] == (99, 99)
    ladder = VAE.ladder
    coarse, medium = (generate(2, source=packed, upto=grain) for grain in ("coarse", "medium"))
    for step, found in enumerate((coarse, medium)):
        assert not same(found[0].tokens, found[1].tokens)
        for one in found:
            assert same(one.tokens.upto(ladder, step), tokens.upto(ladder, step))
    (other,) = generate(source=packed, mask=(0, 0, 16, 16), seed=3)
    assert np.array_equal(other.tokens.levels[1:], tokens.levels[1:])
    assert np.array_equal(other.tokens.codes[2][:, 4:], tokens.codes[2][:, 4:])
    assert not same(other.tokens, tokens)
    kept = generate(source=packed, keep=0.01, seed=4)[0].tokens
    assert kept.codes[0].size != (kept.codes[0] == tokens.codes[0]).sum()


@pytest.mark.parametrize("wrong, words", [
    ({"keep": 1.2}, "keep 1.2 is outside 0..1"), ({"keep": -0.1}, "outside 0..1"), ({"upto": "fine"}, "upto"),
    ({"mask": (80, 0, 20, 10)}, "80,0,20,10 .* 90x70"), ({"mask": (0, 0, 0, 5)}, "inside"),
    ({"mask": (-1, 0, 9, 9)}, "inside"), ({}, "exactly one"), ({"keep": 0.5, "upto": "coarse"}, "exactly one"),
    ({"keep": 0.5, "size": (9, 9)}, "its own size"),
])  # fmt: skip
def test_wrong_ways_to_start_are_named(packed, wrong, words):
    with pytest.raises(GenerateError, match=words):
        generate(source=packed, **wrong)


def test_a_file_of_another_model_is_refused(packed):
    with pytest.raises(FormatError, match="made with model .*; other is"):
        generate(source=packed, keep=0.5, model="other")
    plain = codec.compress(Image.fromarray(synthetic(30, 30)), model="plain")
    with pytest.raises(GenerateError, match="no prior"):
        generate(source=plain, keep=0.5, model=None)


# -- a damaged file


def cut(packed: bytes, step: int) -> bytes:
    """The file without the end of a step's section."""
    (section,) = (s for s in bitstream.inspect(packed).sections if s.step == step)
    return packed[: section.end - 5]


@pytest.mark.parametrize("step", [1, 2])
def test_the_prior_fills_in_what_is_missing(packed, step):
    whole = np.asarray(dqcodec.decompress(packed, device="cpu"))
    done = codec.decode(cut(packed, step), complete=True, device="cpu")
    assert done.invented == tuple(range(step, 3)) and "bytes more" in done.problem
    assert done.image.size == (90, 70) and done.image.mode == "LA"
    assert not np.array_equal(np.asarray(done.image), whole)
    again = codec.decode(cut(packed, step), complete=True, device="cpu")
    assert np.array_equal(np.asarray(again.image), np.asarray(done.image))
    coarser = codec.decode(cut(packed, step), partial=True, upto="coarse", complete=True, device="cpu")
    assert coarser.invented == () and coarser.problem is None


def test_no_step_is_added_that_the_file_never_had(packed):
    from dqcodec.completion import fill_in

    model = registry.load("toy")
    tokens = codec.tokens_of(packed).upto(VAE.ladder, 1)
    shallow = bitstream.write(tokens, model.entropy)
    assert bitstream.inspect(shallow).header.steps == 2
    done = codec.decode(cut(shallow, 1), complete=True, device="cpu")
    assert done.invented == (1,)
    assert fill_in(model, tokens.upto(VAE.ladder, 0), (1,)).levels.max() == 1
    assert codec.decode(shallow, complete=True, device="cpu").invented == ()


def test_completion_needs_a_prior_only_if_something_is_missing():
    plain = codec.compress(Image.fromarray(synthetic(60, 60)), quality=95, model="plain", detail=False)
    assert codec.decode(plain, complete=True, device="cpu").problem is None
    with pytest.raises(GenerateError, match="no prior"):
        codec.decode(plain[:-3], complete=True, device="cpu")


def test_complete_says_so_on_stderr_and_in_the_exit_code(packed, tmp_path, capsys):
    (tmp_path / "cut.dq").write_bytes(cut(packed, 1))
    (tmp_path / "good.dq").write_bytes(packed)
    code, text = run(capsys, "decompress", tmp_path / "cut.dq", "--partial", "--complete", "--device", "cpu")
    assert code == cli.INVENTED == 3 and "cut.dq: steps 1, 2 invented by the prior" in text
    assert Image.open(tmp_path / "cut.png").size == (90, 70)
    assert run(capsys, "decompress", tmp_path / "good.dq", "--partial", "--complete")[0] == 0
    code, text = run(capsys, "decompress", tmp_path / "cut.dq", "--partial", "--force")
    assert code == 0 and "only a coarser picture" in text
    assert run(capsys, "decompress", tmp_path / "good.dq", "--complete", "--force")[0] == 2
    (tmp_path / "bad.dq").write_bytes(packed[:20])
    assert run(capsys, "decompress", tmp_path, "-o", tmp_path / "out", "--partial", "--complete")[0] == 1


# -- the command


def test_folder_of_pictures_with_their_tokens(tmp_path, capsys):
    words = ["generate", "-o", tmp_path / "new", "--num", 3, "--model", "toy", "--size", "40x30", "--seed", 2]
    assert run(capsys, *words, "--tokens", "dq") == (0, "")
    names = sorted(p.name for p in (tmp_path / "new").iterdir())
    assert names == [f"000{i}.{kind}" for i in range(3) for kind in ("dq", "png")]
    expected = generate(3, size=(40, 30), seed=2)
    for i, one in enumerate(expected):
        assert (tmp_path / "new" / f"000{i}.dq").read_bytes() == one.to_dq()
        assert Image.open(tmp_path / "new" / f"000{i}.png").size == (40, 30)
    fails(run(capsys, *words), "0000.png", "exists already", "--force")
    assert run(capsys, *words, "--force", "--tokens", "npz")[0] == 0
    assert token_files.to_dq(token_files.load(tmp_path / "new" / "0001.npz")) == expected[1].to_dq()


def test_contact_sheet_and_single_picture(packed, tmp_path, capsys):
    (tmp_path / "in.dq").write_bytes(packed)
    words = ["generate", "--from", tmp_path / "in.dq", "--upto", "coarse", "--tokens", "dq"]
    assert run(capsys, *words, "-o", tmp_path / "sheet.png", "--num", 5) == (0, "")
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.size == (3 * 92 - 2, 2 * 72 - 2) and sheet.mode == "LA"
    assert sheet.getpixel((91, 3)) == (255, 255) and sheet.getpixel((93, 3))[1] == 99
    assert sorted(p.name for p in tmp_path.glob("sheet-*")) == [f"sheet-000{i}.dq" for i in range(5)]
    assert run(capsys, *words, "-o", tmp_path / "one.webp")[0] == 0
    assert Image.open(tmp_path / "one.webp").size == (90, 70) and (tmp_path / "one.dq").exists()


def test_standard_output(capsysbinary, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["dqcodec", "generate", "-o", "-", "--model", "toy"])
    assert cli._run() == 0
    assert Image.open(io.BytesIO(capsysbinary.readouterr().out)).size == (32, 32)


@pytest.mark.parametrize("words, parts", [
    (["--model", "pets", "--class", "bird"], ["bird", "cat, dog"]), (["--num", "0"], ["--num 0"]),
    (["--size", "40"], ["'40'", "WxH"]), (["--from", "IN", "--keep", "7"], ["keep 7.0"]),
    (["--from", "IN", "--mask", "0,0,400,4"], ["0,0,400,4", "90x70"]), (["--from", "IN", "--mask", "1,2"], ["X,Y,W,H"]),
    (["--from", "IN", "--keep", "1", "--model", "other"], ["in.dq", "made with model"]),
    (["--from", "CUT", "--keep", "1"], ["cut.dq", "more"]), (["--from", "no.dq", "--keep", "1"], ["no.dq", "read"]),
    (["--model", "plain"], ["plain", "no prior"]), (["--top-p", "0"], ["top-p"]), (["--upto", "coarse"], ["file"]),
    (["-o", "x.xyz"], ["x.xyz", "no image format"]), (["-o", "-", "--tokens", "dq"], ["--tokens"]),
])  # fmt: skip
def test_bad_input_is_one_clear_line(packed, tmp_path, capsys, monkeypatch, words, parts):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.dq").write_bytes(packed)
    (tmp_path / "cut.dq").write_bytes(packed[:-9])
    names = {"IN": "in.dq", "CUT": "cut.dq"}
    words = ["--model", "toy", "-o", "out", *(names.get(word, word) for word in words)]
    fails(run(capsys, "generate", *words), *parts)
    assert sorted(os.listdir()) == ["cut.dq", "in.dq"]


def test_an_unwritable_place_leaves_nothing_behind(tmp_path, capsys):
    (tmp_path / "file").touch()
    fails(run(capsys, "generate", "-o", tmp_path / "file" / "a.png", "--model", "toy"), "cannot be written")
    assert os.listdir(tmp_path) == ["file"]


def test_a_sheet_that_is_too_large_is_refused_at_once(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(codec, "MAX_PIXELS", 3000)
    asked = []
    monkeypatch.setattr(files, "put_bytes", lambda *_: asked.append(1))
    words = ["generate", "-o", tmp_path / "a.png", "--num", 9, "--model", "toy", "--size", "30x30"]
    fails(run(capsys, *words), "contact sheet", "folder")
    assert not asked
