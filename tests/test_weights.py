import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import dqcodec
from dqcodec import codec
from dqcodec.cli import cli
from dqcodec.errors import UnknownModelError
from dqcodec.models.config import CodecConfig
from dqcodec.models.dqvae import DQVAE
from dqcodec.prior.config import PriorConfig
from dqcodec.prior.network import DQTransformer
from dqcodec.prior.quantised import quantised
from dqcodec.weights import available, find, load, model_file, registry
from dqcodec.weights.tensor_file import read_tensors
from tests.conftest import synthetic

SMALL = CodecConfig(factors=(16, 8), codebook_size=16, code_dim=4, encoder_channels=(16, 16, 16, 16),
                    encoder_blocks=(0, 0, 0, 0), decoder_channels=(16, 16, 16, 16, 16),
                    decoder_blocks=(0, 0, 0, 0, 0), router_hidden=8)
TABLES = [np.full(16, 4096, np.uint32)] * 2


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path))
    return tmp_path


def write(folder, name="small", seed=0, change=None):
    torch.manual_seed(seed)
    state = DQVAE(SMALL).state_dict()
    if change:
        state[change] = state[change] + 0.5
    return model_file.write(folder / f"{name}.safetensors", SMALL, state, TABLES, {})


def test_package_ships_a_default_model_with_a_card_within_40_mb():
    folder = registry.folders()[-1]
    assert available()[0] == "default"
    assert sum(p.stat().st_size for p in folder.rglob("*.safetensors*")) <= 40e6
    for name in available():
        card = (folder / f"{name}.md").read_text()
        assert load(name).fingerprint.hex() in card, f"the card of {name} is of another model"


def test_model_is_found_by_the_fingerprint_of_a_file(models):
    mark = write(models)
    assert "small" in available() and find(mark).name == "small" and load("small").fingerprint == mark
    assert find(dqcodec.load().fingerprint).name == "default"


def test_a_users_model_stands_before_one_of_its_name_in_the_package(models):
    packaged = load().fingerprint
    mark = write(models, "default")
    (models / "a.safetensors").write_bytes(b"noise")
    assert load().fingerprint == mark and find(packaged).fingerprint == packaged, "files of the package's still decode"


def test_fingerprint_covers_what_tokens_mean_and_not_the_decoder(models):
    marks = {change: write(models, change=change) for change in
             (None, "decoder.to_image.bias", "quantizer.codebooks.1.embedding", "quantizer.predictors.8.weight")}
    assert marks[None] == marks["decoder.to_image.bias"]
    assert len(set(marks.values())) == 3


def test_model_given_by_path(models, tmp_path):
    write(tmp_path, "elsewhere")
    assert load(str(tmp_path / "elsewhere.safetensors")).name == "elsewhere"


def test_unknown_broken_and_forged_models_are_named(models):
    with pytest.raises(UnknownModelError, match="there are: default"):
        load("absent")
    with pytest.raises(UnknownModelError, match="deadbeef"):
        find(bytes.fromhex("deadbeef"))
    write(models)
    path = models / "small.safetensors"
    data = bytearray(path.read_bytes())
    (models / "short.safetensors").write_bytes(data[:-30])
    with pytest.raises(UnknownModelError, match="broken model file"):
        load("short")
    (models / "forged.safetensors").write_bytes(bytes(data).replace(load("small").fingerprint.hex().encode(), b"0" * 8))
    with pytest.raises(UnknownModelError, match="differ from the fingerprint"):
        load("forged")
    (models / "noise.safetensors").write_bytes(b"noise")
    with pytest.raises(UnknownModelError, match="not a dqcodec model file"):
        load("noise")


@pytest.mark.parametrize("name, mark, commit, digest", [("first", "d1b6977f", "27df192", "f6eaed78f1fad419"),
                                                        ("second", "c7dfc949", "741fc8d", "62c7adc169f34ab0"),
                                                        ("third", "78d56b68", "a7cdd7a", "a552e96cd6011dd4"),
                                                        ("fourth", "cc2915f6", "8f60388", "e9cf3029d52b4f88"),
                                                        ("default", "06e51413", "e41c8f8", "d8ff9ad5e59ddcd3")])
def test_files_of_all_models_still_decode_to_the_same_tokens(name, mark, commit, digest):
    data = (Path(__file__).parent / "vectors" / "models" / f"{name}.dq").read_bytes()  # written by dqcodec `commit`
    assert find(bytes.fromhex(mark)).name == name
    tokens = codec.tokens_of(data)
    values = tokens.levels.tobytes() + b"".join(c.astype("<i4").tobytes() for c in tokens.codes)
    assert hashlib.sha256(values).hexdigest().startswith(digest)
    assert dqcodec.decompress(data).size == (451, 300)


def retired(models, *how, output="old.safetensors"):
    return CliRunner().invoke(cli, ["train", "retire", str(models / "small.safetensors"), "--output",
                                    str(models / output), *map(str, how)])


def test_a_retired_model_decodes_as_before_and_refuses_to_encode(models):
    write(models)
    picture = Image.fromarray(synthetic(64, 48))
    data = dqcodec.compress(picture, quality=70, model="small")
    before = np.asarray(dqcodec.decompress(data)).astype(int)
    done = retired(models)
    assert done.exit_code == 0 and load("small").fingerprint.hex() in done.output
    assert (models / "old.safetensors").stat().st_size < 0.7 * (models / "small.safetensors").stat().st_size
    assert np.abs(np.asarray(dqcodec.decompress(data, model="old")) - before).max() <= 4  # weights in 7 bits
    with pytest.raises(UnknownModelError, match="old is kept for its old files"):
        dqcodec.compress(picture, quality=70, model="old")


def test_a_packed_model_is_smaller_and_the_same(models):
    mark = write(models)
    plain, packed = retired(models), retired(models, output="packed.safetensors.xz")
    assert plain.exit_code == packed.exit_code == 0, packed.output
    old, new = models / "old.safetensors", models / "packed.safetensors.xz"
    assert new.stat().st_size < old.stat().st_size
    assert registry.read_header(new)["fingerprint"] == mark.hex() and "packed" in available()
    a, b = read_tensors(old), read_tensors(new)
    assert a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)
    new.write_bytes(new.read_bytes()[:-40])
    with pytest.raises(UnknownModelError, match="packed"):
        load("packed")


def test_a_retired_model_may_borrow_the_decoder_of_a_newer_one_with_its_codebooks(models):
    write(models)
    data = dqcodec.compress(Image.fromarray(synthetic(64, 48)), quality=70, model="small")
    write(models, "newer", change="decoder.to_image.bias")
    done = retired(models, "--decoder-of", models / "newer.safetensors")
    assert done.exit_code == 0, done.output
    ours, newer = (np.asarray(dqcodec.decompress(data, model=name)) for name in ("old", "newer"))
    assert np.array_equal(ours, newer) and not np.array_equal(ours, np.asarray(dqcodec.decompress(data, model="small")))
    assert not any(k.startswith(("quantizer.", "decoder.")) for k in read_tensors(models / "old.safetensors"))
    (models / "newer.safetensors").unlink()
    registry._load.cache_clear()
    with pytest.raises(UnknownModelError, match="newer.safetensors"):
        load("old")
    write(models, "other", change="quantizer.codebooks.0.embedding")
    done = retired(models, "--decoder-of", models / "other.safetensors")
    assert done.exit_code == 1 and "its codebooks are not those of other.safetensors" in str(done.exception)
    done = retired(models, "--decoder-of", models.parent / "other.safetensors")
    assert done.exit_code == 2 and "must lie in the folder of --output" in done.output


def test_a_small_model_may_borrow_what_the_fingerprint_covers(models):
    mark = write(models)
    torch.manual_seed(1)
    narrow = replace(SMALL, decoder_channels=(8, 8, 8, 8, 8))
    state = {k: v for k, v in DQVAE(narrow).state_dict().items() if not k.startswith("quantizer.")}
    state |= {k: v for k, v in load("small").vae.state_dict().items() if k.startswith("quantizer.")}
    tables = [np.full(16, 4096, np.uint32)] * 2
    assert model_file.write(models / "tinier.safetensors", narrow, state, tables, {}) == mark
    picture = Image.fromarray(synthetic(64, 48))
    data = dqcodec.compress(picture, quality=70, model="tinier")
    before = np.asarray(dqcodec.decompress(data, model="tinier")).astype(int)
    lender = str(models / "small.safetensors")
    words = ["train", "share", str(models / "tinier.safetensors"), "--output", str(models / "tinier.safetensors.xz"),
             "--codes-of", lender]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0 and mark.hex() in done.output, done.output
    whole = (models / "tinier.safetensors").stat().st_size
    assert (models / "tinier.safetensors.xz").stat().st_size < 0.7 * whole
    (models / "tinier.safetensors").unlink()
    registry._load.cache_clear()
    assert find(mark).name == "small", "files of both are the default's or the first's by name"
    assert np.abs(np.asarray(dqcodec.decompress(data, model="tinier")) - before).max() <= 4  # weights in 8 bits
    codec.tokens_of(dqcodec.compress(picture, quality=70, model="tinier"))
    done = CliRunner().invoke(cli, ["train", "whole", "tinier", "--output", str(models / "alone.safetensors")])
    assert done.exit_code == 0, done.output
    (models / "small.safetensors").unlink()
    registry._load.cache_clear()
    assert load("alone").fingerprint == mark
    with pytest.raises(UnknownModelError, match="small.safetensors"):
        load("tinier")
    write(models, change="quantizer.codebooks.0.embedding")
    with pytest.raises(UnknownModelError, match="are not those of small.safetensors"):
        load("tinier")
    words[2:4] = [str(models / "alone.safetensors"), "--output"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 1 and "are not those of small.safetensors" in str(done.exception)


PRIOR = PriorConfig(dim=16, heads=2, position_layers=1, content_layers=1, hidden=32, groups=(4, 4), factors=(16, 8),
                    codebook_sizes=(16, 16))


def write_with_prior(folder, name, trained=0.0):
    """A model with a prior, all its weights moved by up to `trained`."""
    torch.manual_seed(0)
    state, prior = DQVAE(SMALL).state_dict(), DQTransformer(PRIOR)
    torch.manual_seed(1)
    with torch.no_grad():
        for p in prior.parameters():
            p += trained * (2 * torch.rand_like(p) - 1)
    return model_file.write(folder / f"{name}.safetensors", SMALL, state, TABLES, {}, (PRIOR, quantised(prior)))


def difference(models, model, base, output):
    return CliRunner().invoke(cli, ["train", "difference", str(models / model), "--output", str(models / output),
                                    "--prior-on", str(models / base)])


def test_a_superseded_prior_may_be_kept_as_its_difference_from_the_next(models):
    mark = write_with_prior(models, "old")
    assert write_with_prior(models, "new", trained=0.01) != mark
    data = dqcodec.compress(Image.fromarray(synthetic(64, 48)), quality=70, model="old")
    before = codec.tokens_of(data, "old")
    words = ["train", "retire", models / "old.safetensors", "--output", models / "old.safetensors.xz",
             "--decoder-of", models / "new.safetensors"]
    done = CliRunner().invoke(cli, [str(w) for w in words])
    assert done.exit_code == 0, done.output
    (models / "old.safetensors").unlink()
    whole = (models / "old.safetensors.xz").stat().st_size
    done = difference(models, "old.safetensors.xz", "new.safetensors", "old.safetensors.xz")
    assert done.exit_code == 0 and mark.hex() in done.output, done.output
    assert (models / "old.safetensors.xz").stat().st_size < 0.8 * whole
    registry._load.cache_clear()
    after = codec.tokens_of(data)
    assert find(mark).name == "old" and all(map(np.array_equal, before.codes, after.codes))
    # A chain: one older still, on this one; and a whole file made of it stands alone.
    oldest = write_with_prior(models, "oldest", trained=-0.01)
    done = difference(models, "oldest.safetensors", "old.safetensors.xz", "oldest.safetensors.xz")
    assert done.exit_code == 0 and oldest.hex() in done.output, done.output
    (models / "oldest.safetensors").unlink()
    assert load("oldest").fingerprint == oldest
    done = CliRunner().invoke(cli, ["train", "whole", "oldest", "--output", str(models / "alone.safetensors")])
    assert done.exit_code == 0, done.output
    write_with_prior(models, "new", trained=0.02)
    registry._load.cache_clear()
    assert load("alone").fingerprint == oldest
    with pytest.raises(UnknownModelError, match="differ from the fingerprint"):
        load("old")


def test_a_difference_from_oneself_or_from_nothing_is_refused(models):
    write_with_prior(models, "new", trained=0.01)
    write_with_prior(models, "old")
    write(models)
    assert difference(models, "old.safetensors", "new.safetensors", "old.safetensors").exit_code == 0
    done = difference(models, "new.safetensors", "old.safetensors", "new.safetensors")
    assert done.exit_code == 1 and "builds on new itself" in str(done.exception)
    done = difference(models, "new.safetensors", "small.safetensors", "newer.safetensors")
    assert done.exit_code == 1 and "small.safetensors: has no prior" in str(done.exception)
    assert not (models / "newer.safetensors").exists()


@pytest.mark.parametrize("command", ["whole", "share", "retire"])
@pytest.mark.parametrize("broken", ["noise", "cut"])
def test_broken_files_are_named_by_what_makes_model_files(models, command, broken):
    write(models)
    path = models / "broken.safetensors"
    path.write_bytes(b"noise" * 9 if broken == "noise" else (models / "small.safetensors").read_bytes()[:-40])
    more = ["--codes-of", str(models / "small.safetensors")] if command == "share" else []
    done = CliRunner().invoke(cli, ["train", command, str(path), "--output", str(models / "new.safetensors"), *more])
    assert isinstance(done.exception, UnknownModelError) and "broken.safetensors" in str(done.exception)
    assert not (models / "new.safetensors").exists()
