"""Detail in files: rates beyond the ladder's, for any reader."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from dqcodec import bitstream, codec, networks
from dqcodec.cli import cli
from dqcodec.detail_search import Patches
from dqcodec.errors import RateError, TruncatedError, UnknownModelError
from dqcodec.models.detail import PLACE_BITS, lacking
from dqcodec.weights import detail_file

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def rich(photo) -> bytes:
    """A file of more bytes than the ladder of the default model has for the photograph."""
    return codec.compress(photo, bpp=0.9, scale=1)


def error(data_or_image, photo) -> float:
    image = codec.decompress(data_or_image) if isinstance(data_or_image, bytes) else data_or_image
    return float(np.square(np.asarray(image, float) - np.asarray(photo, float)).mean())


def test_rates_beyond_the_ladder_are_met_and_show(rich, photo):
    assert 0.98 * 0.9 <= 8 * len(rich) / (photo.width * photo.height) <= 0.9
    sections = {s.name: s.end - s.offset for s in bitstream.inspect(rich).sections}
    assert sections["detail"] > 0.2 * len(rich)
    with pytest.raises(RateError, match="out of reach"):
        codec.compress(photo, bpp=0.9, scale=1, detail=False)
    finest = codec.compress(photo, quality=100, scale=1, detail=False)
    assert error(rich, photo) < 0.75 * error(finest, photo)


def test_a_low_rate_has_the_file_that_it_would_have_without(photo):
    assert codec.compress(photo, bpp=0.1) == codec.compress(photo, bpp=0.1, detail=False)


def test_the_finest_file_has_detail_everywhere_and_more_is_out_of_reach(photo):
    data = codec.compress(photo, quality=100, scale=1)
    parsed = bitstream.read(data, lambda mark: codec.model_for(mark).entropy,
                            find_detail=lambda mark: detail_file.find(mark).table)
    assert (parsed.details.codes >= 0).all() and (parsed.tokens.levels == 2).all()
    with pytest.raises(RateError, match="largest"):
        codec.compress(photo, bpp=3, scale=1)


@pytest.fixture(scope="module")
def middling(photo) -> bytes:
    """A file of a rate at which single patches have detail."""
    return codec.compress(photo, bpp=0.6, scale=1)


def layer_of(data: bytes) -> detail_file.DetailLayer:
    parsed = bitstream.read(data, lambda mark: codec.model_for(mark).entropy,
                            find_detail=lambda mark: detail_file.find(mark).table)
    return detail_file.find(parsed.details.layer.fingerprint)


def test_between_single_patches_have_detail(middling, rich, photo):
    assert 0.98 * 0.6 <= 8 * len(middling) / (photo.width * photo.height) <= 0.6
    sections = {s.name: s.end - s.offset for s in bitstream.inspect(middling).sections}
    assert 0.03 * len(middling) < sections["detail"] < 0.4 * len(middling)
    assert layer_of(middling).table.sparse and not layer_of(rich).table.sparse
    assert bitstream.inspect(middling).header.version == (1, 4)
    plain = codec.compress(photo, bpp=0.6, scale=1, detail=False)
    assert error(middling, photo) < error(plain, photo)
    assert error(middling, photo) < error(codec.decompress(middling, upto="fine"), photo)


def test_a_quality_may_have_it_too(photo):
    files = [codec.compress(photo, quality=quality, scale=1) for quality in (70, 85, 95)]
    assert len(files[0]) < len(files[1]) < len(files[2])
    assert error(files[0], photo) > error(files[1], photo) > error(files[2], photo)
    assert any(bitstream.inspect(data).header.detail for data in files)


def test_a_plan_for_detail_that_nothing_is_worth_leaves_no_empty_section(photo, monkeypatch):
    monkeypatch.setattr(Patches, "bytes_about", lambda self, worth: 1e6)
    data = codec.compress(photo, quality=10, scale=1)
    assert [s.name for s in bitstream.inspect(data).sections if s.name == "detail"] == []
    assert codec.decompress(data).size == photo.size


def test_patches_have_codes_only_where_these_save_what_their_bits_are_worth(photo):
    layer = detail_file.named("sparse")
    pixels = np.asarray(photo.convert("RGB"))
    shown = np.asarray(codec.decompress(codec.compress(photo, bpp=0.2, scale=1, detail=False)).convert("RGB"))
    rows, cols = (-(-side // 16) * 4 for side in pixels.shape[:2])
    patches = Patches(layer, pixels, shown, np.ones((rows, cols), bool), CPU)
    book = layer.net.codebook.embedding
    x, y = (torch.tensor(image).permute(2, 0, 1)[None].float() / 127.5 - 1 for image in (pixels, shown))
    vectors = lacking(*(torch.nn.functional.pad(z, (0, -photo.width % 16, 0, -photo.height % 16), "replicate")
                        for z in (x, y)))[0]
    assert vectors.shape[:2] == (rows, cols)
    known = None
    for worth in (0.05, 0.01, 0.002):
        codes, saved = patches.best(worth)
        chosen = torch.from_numpy(codes[saved > worth].astype(np.int64))
        before = vectors[torch.from_numpy(saved > worth)]
        gain = before.square().sum(1) - (before - book[chosen]).square().sum(1)
        bits = torch.from_numpy(layer.bits)[chosen] + PLACE_BITS
        assert torch.allclose(gain / bits, torch.from_numpy(saved[saved > worth]).double(), rtol=1e-3, atol=1e-4)
        about, spent = patches.bytes_about(worth), float(bits.sum()) / 8
        assert 0.5 * spent < about < 1.5 * spent
        assert known is None or about > known
        known = about


@pytest.mark.parametrize("options", [{"upto": "fine"}, {"partial": True}])
def test_the_picture_without_detail_is_at_hand(rich, photo, options):
    data = rich if "upto" in options else rich[:-9]
    plain = codec.decode(data, **options)
    assert bool(plain.problem) == ("partial" in options)
    assert error(rich, photo) < error(plain.image, photo) < 3 * error(rich, photo)
    if "partial" in options:
        with pytest.raises(TruncatedError):
            codec.decode(data)


def test_any_decoder_shows_it(rich, photo):
    """tiny's and the plain decoder know other pictures than the one that the detail was made for."""
    for options in ({"model": "tiny"}, {"realism": 0.0}):
        shown = codec.decompress(rich, **options)
        assert error(shown, photo) < 0.9 * error(codec.decompress(rich, upto="fine", **options), photo)


def test_tiny_writes_it_too(photo):
    data = codec.compress(photo, bpp=0.9, scale=1, model="tiny")
    assert bitstream.inspect(data).header.detail
    assert error(data, photo) < error(codec.decompress(data, upto="fine"), photo)


def test_best_effort_meets_such_a_rate(photo):
    data = codec.compress(photo, bpp=0.7, scale=1, effort="best")
    assert 0.98 * 0.7 <= 8 * len(data) / (photo.width * photo.height) <= 0.7 and bitstream.inspect(data).header.detail


def test_tiles_of_a_picture_are_as_the_whole():
    layer = detail_file.named("default")
    rng = np.random.default_rng(0)
    shown, pixels = rng.integers(0, 255, (2, 300, 410, 3)).astype(np.uint8)
    codes = networks.detail_codes(layer.net, pixels, shown, CPU)
    assert codes.shape == (19 * 4, 26 * 4)
    assert np.array_equal(codes, networks.detail_codes(layer.net, pixels, shown, CPU, whole=0, tile=96))
    codes[:, 40:60] = bitstream.ABSENT
    whole = networks.with_detail(layer.net, shown, codes, CPU).astype(int)
    tiled = networks.with_detail(layer.net, shown, codes, CPU, whole=0, tile=96).astype(int)
    assert np.abs(whole - tiled).max() <= 2
    assert np.array_equal(whole[:, 160:240], shown[:, 160:240])


def test_a_missing_layer_is_named_and_the_rest_decodes(rich, photo, monkeypatch):
    monkeypatch.setattr(detail_file, "_files", lambda: [])
    with pytest.raises(UnknownModelError, match="--upto fine"):
        codec.decode(rich)
    assert codec.decompress(rich, upto="fine").size == photo.size


def test_a_broken_layer_is_named(tmp_path):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(b"noise")
    with pytest.raises(UnknownModelError, match="bad.safetensors"):
        detail_file.read(path)
    good = detail_file.named("default")
    state = good.net.state_dict()
    detail_file.write(path, good.net.config, state, good.table.table, {})
    assert detail_file.read(path).fingerprint == good.fingerprint
    state["codebook.embedding"][0] += 1
    moved = tmp_path / "moved.safetensors"
    assert detail_file.write(moved, good.net.config, state, good.table.table, {}) != good.fingerprint


def test_a_layer_for_patches_borrows_the_network_of_one_for_regions(tmp_path, monkeypatch):
    lender, sparse = detail_file.named("default"), detail_file.named("sparse")
    path = tmp_path / "mine.safetensors"
    book = sparse.net.codebook.embedding.numpy()
    assert detail_file.write_book(path, sparse.net.config, book, sparse.table.table, lender.fingerprint,
                                  {}) == sparse.fingerprint
    read = detail_file.read(path)
    assert read.table.sparse and torch.equal(read.net.trunk[0].weight, lender.net.trunk[0].weight)
    monkeypatch.setattr(detail_file, "_files", lambda: [])
    detail_file.read.cache_clear()
    with pytest.raises(UnknownModelError, match=lender.fingerprint.hex()):
        detail_file.read(path)
    assert detail_file.fingerprint(book, sparse.table.table) != sparse.fingerprint


@pytest.mark.parametrize("name", ["default", "sparse"])
def test_the_packaged_layers_have_a_card(name):
    path = next(p for p in detail_file._files() if p.name.startswith(name))
    assert detail_file.named(name).fingerprint.hex() in (path.parent / f"{name}.md").read_text()


def test_the_command_shows_the_section_and_tokens_leave_it_out(rich, photo, tmp_path):
    path = tmp_path / "rich.dq"
    path.write_bytes(rich)
    text = CliRunner().invoke(cli, ["info", str(path)]).output
    assert "detail" in text and "format 1.2" in text and "problem" not in text
    tokens, back = tmp_path / "rich.npz", tmp_path / "back.dq"
    for args in (["tokens", str(path), "-o", str(tokens)], ["tokens", str(tokens), "-o", str(back)]):
        result = CliRunner().invoke(cli, args)
        assert result.exit_code == 0, result.output
    assert not bitstream.inspect(back.read_bytes()).header.detail


def test_the_command_leaves_it_out_when_told_so(photo, tmp_path):
    photo.save(tmp_path / "photo.png")
    for more in ([], ["--no-detail"]):
        result = CliRunner().invoke(cli, ["compress", str(tmp_path / "photo.png"), "--quality", "95", "--force", *more])
        assert result.exit_code == 0, result.output
        assert bitstream.inspect((tmp_path / "photo.dq").read_bytes()).header.detail == (not more)


@pytest.mark.parametrize(("name", "layer", "expected"), [
    ("detail", "f76da87c", ["1febe723b3140673", "62133f2fd74feabe"]),
    ("sparse", "e1eac800", ["f17a330db2c686c1", "1baf55038dbbe7d4"]),
])
def test_files_of_the_first_layers_go_on_decoding_to_the_same_codes(name, layer, expected):
    data = (Path(__file__).parent / "vectors" / "models" / f"{name}.dq").read_bytes()
    parsed = bitstream.read(data, lambda mark: codec.model_for(mark).entropy,
                            find_detail=lambda mark: detail_file.find(mark).table)
    tokens, details = parsed.tokens, parsed.details
    assert (parsed.header.fingerprint.hex(), details.layer.fingerprint.hex()) == ("06e51413", layer)
    digests = [hashlib.sha256(b"".join(grid.astype("<i4").tobytes() for grid in grids)).hexdigest()[:16]
               for grids in ((tokens.levels, *tokens.codes), (details.codes,))]
    assert digests == expected
    assert codec.decompress(data).size == (96, 80)
