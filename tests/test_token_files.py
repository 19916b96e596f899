"""Tokens as .npz files: the same tokens after every way there and back, one line for what is wrong."""

import doctest
import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import dqcodec
from dqcodec import codec, token_files
from dqcodec.bitstream import Frame, Ladder, Tokens
from dqcodec.errors import DqError, FormatError, LimitError, TokenFileError, UnknownModelError
from dqcodec.token_files import TokenFile
from tests.bitstream.samples import SIZES, ladders, random_tokens, same
from tests.conftest import synthetic
from tests.test_cli import dq, fails
from tests.test_weights import SMALL

ROOT = Path(__file__).parents[1]


def default_tokens(width=130, height=90, top=2, seed=0) -> Tokens:
    return random_tokens(np.random.default_rng(seed), width, height, default_ladder(), top)


def default_ladder() -> Ladder:
    return dqcodec.load().entropy.ladder


def npz(**changes) -> bytes:
    """A good file of 130x90 pixels with some arrays changed, None to leave one out."""
    arrays = dict(np.load(io.BytesIO(packed_default())))
    arrays |= changes
    buffer = io.BytesIO()
    np.savez(buffer, **{name: value for name, value in arrays.items() if value is not None})
    return buffer.getvalue()


def packed_default() -> bytes:
    tokens = default_tokens()
    return token_files.pack(TokenFile(tokens, default_ladder(), dqcodec.load().fingerprint, Frame.of(tokens)))


@pytest.fixture
def picture(tmp_path):
    Image.fromarray(synthetic(90, 130)).save(tmp_path / "img.png")
    return tmp_path / "img.png"


@settings(max_examples=60, deadline=None)
@given(ladders(), SIZES, SIZES, st.integers(1, 256), st.integers(0, 255), st.integers(0, 5), st.integers(0, 2**32),
       st.booleans())
def test_npz_keeps_any_tokens(ladder, width, height, scale, grain, top, seed, grey):
    frame = Frame(width, height, grey, scale, grain)
    tokens = random_tokens(np.random.default_rng(seed), *frame.coded, ladder, min(top, len(ladder) - 1))
    data = token_files.pack(TokenFile(tokens, ladder, b"\0\xffab", frame))
    read = token_files.unpack(data)
    assert same(read.tokens, tokens) and (read.ladder, read.fingerprint) == (ladder, b"\0\xffab")
    assert read.frame == frame
    assert read.codebooks == () and all(grid.dtype == np.int32 for grid in read.tokens.codes)
    assert data == token_files.pack(read)


@pytest.mark.parametrize("width, height, top", [(1, 1, 0), (16, 16, 2), (130, 90, 2), (97, 31, 1), (300, 5, 2)])
@pytest.mark.parametrize("grey, scale", [(False, 256), (True, 171)])
def test_dq_to_npz_to_dq_is_the_same_file(width, height, top, grey, scale):
    frame = Frame(width, height, grey, scale)
    tokens = default_tokens(*frame.coded, top)
    contents = TokenFile(tokens, default_ladder(), dqcodec.load().fingerprint, frame)
    data = token_files.to_dq(contents)
    there = token_files.unpack(token_files.pack(token_files.from_dq(data)))
    assert same(there.tokens, contents.tokens) and there.frame == frame
    assert token_files.to_dq(there) == data
    image = dqcodec.decompress(data)
    assert image.mode == ("L" if grey else "RGB") and image.size == (width, height)


def test_command_there_and_back(photo, tmp_path):
    photo.convert("L").save(tmp_path / "cat.png")
    assert dq("compress", tmp_path / "cat.png", "--bpp", 0.2).returncode == 0
    done = dq("tokens", tmp_path / "cat.dq", "-o", tmp_path / "cat.npz", "--vectors")
    assert done.returncode == 0 and done.stderr == b""
    packed = (tmp_path / "cat.dq").read_bytes()
    arrays = np.load(tmp_path / "cat.npz")
    assert (arrays["width"], arrays["height"], arrays["grey"]) == (451, 300, True)
    assert arrays["fingerprint"].item() == dqcodec.load().fingerprint.hex()
    assert same(token_files.load(tmp_path / "cat.npz").tokens, codec.tokens_of(packed))
    books = dqcodec.load().vae.quantizer.codebooks
    for step, book in enumerate(books):
        assert np.array_equal(arrays[f"codebook_{step}"], book.embedding.numpy())
    fails(dq("tokens", tmp_path / "cat.npz"), "cat.dq", "exists already", "--force")
    assert dq("tokens", tmp_path / "cat.npz", "-o", tmp_path / "back.dq").returncode == 0
    assert (tmp_path / "back.dq").read_bytes() == packed


def test_pipes(picture):
    there = dq("tokens", "-", "--quality", 70, stdin=picture.read_bytes())
    back = dq("tokens", "-", stdin=there.stdout)
    assert back.stdout == dqcodec.compress(Image.open(picture), quality=70, scale=1, detail=False)
    assert dq("tokens", "-", stdin=back.stdout).stdout == there.stdout


def test_what_tokens_do_not_carry_is_said(picture, tmp_path):
    image = Image.open(picture)
    rgba = image.copy()
    rgba.putalpha(image.convert("L"))
    rgba.save(tmp_path / "a.png")
    data = dqcodec.compress(rgba, quality=30, scale=1)
    (tmp_path / "b.dq").write_bytes(data)
    for name in ("a.png", "b.dq"):
        done = dq("tokens", tmp_path / name, "--quality", 30) if name == "a.png" else dq("tokens", tmp_path / name)
        assert done.returncode == 0 and b"do not carry alpha" in done.stderr
    first, second = (token_files.load(tmp_path / name) for name in ("a.npz", "b.npz"))
    assert same(first.tokens, second.tokens)
    assert token_files.to_dq(second) == dqcodec.compress(image, quality=30, scale=1)


BAD = {
    "missing": ({"codes_1": None}, "codes_1 is missing"),
    "levels_dtype": ({"levels": np.zeros((6, 9))}, "levels is float64"),
    "levels_shape": ({"levels": np.zeros((9, 6), np.uint8)}, r"must be uint8 \(6, 9\)"),
    "codes_dtype": ({"codes_0": np.zeros((6, 9), np.int64)}, "codes_0 is int64"),
    "high_code": ({"codes_0": np.full((6, 9), 1024, np.int32)}, "outside 0..1023"),
    "no_code": ({"codes_0": np.full((6, 9), -1, np.int32)}, "outside 0..1023"),
    "high_level": ({"levels": np.full((6, 9), 3, np.uint8)}, "beyond the ladder"),
    "pickle": ({"codes_0": np.full((6, 9), None)}, "codes_0 is object"),
    "time_span": ({"width": np.timedelta64(130)}, "width is timedelta64"),
    "size": ({"width": np.int64(0)}, "0x90"),
    "huge": ({"width": np.int64(2**31 - 1), "height": np.int64(2**31 - 1)}, "limit"),
    "thin": ({"width": np.int64(1), "height": np.int64(2**28)}, "limit"),
    "no_steps": ({"factors": np.empty(0, np.int64), "codebook_sizes": np.empty(0, np.int64)}, "1..15 steps"),
    "zero_factor": ({"factors": np.array([16, 8, 0])}, "positive"),
    "large_factor": ({"factors": np.array([2**40, 2, 1])}, "limit"),
    "rising": ({"factors": np.array([16, 4, 8])}, "coarse to fine"),
    "steps": ({"factors": np.array([16, 8])}, "one codebook size for each"),
    "books": ({"codebook_sizes": np.array([2**40, 4, 4])}, "65536"),
    "hex": ({"fingerprint": np.array("xyz")}, "hex digits"),
    "book_shape": ({"codebook_0": np.zeros((4, 4), np.float32)}, r"must be float32 \(1024, n\)"),
    "grey": ({"grey": np.int64(1)}, "must be bool"),
    "scale": ({"scale": np.int64(257), "delivered": np.array([130, 90])}, "outside 1..256"),
    "grain": ({"grain": np.int64(256)}, "outside 0..255"),
    "scale_alone": ({"scale": np.int64(171)}, "delivered is missing"),
    "delivered": ({"scale": np.int64(171), "delivered": np.array([130, 90])}, "are 87x60, not 130x90"),
    "delivered_huge": ({"scale": np.int64(1), "delivered": np.array([33280, 23040])}, "limit"),
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_arrays_are_named(name):
    changes, message = BAD[name]
    with pytest.raises((TokenFileError, LimitError), match=message):
        token_files.unpack(npz(**changes))


def test_what_a_reader_may_leave_open():
    levels = np.asfortranarray(default_tokens().levels)
    data = npz(grey=None, width=np.array(130, ">u2"), mine=np.zeros(3), levels=levels)
    assert same(token_files.unpack(data).tokens, default_tokens())


def test_tokens_of_another_model_are_refused():
    with pytest.raises(UnknownModelError, match="deadbeef"):
        token_files.to_dq(token_files.unpack(npz(fingerprint=np.array("deadbeef"))))
    with pytest.raises(FormatError, match="deadbeef; default is"):
        token_files.to_dq(token_files.unpack(npz(fingerprint=np.array("deadbeef"))), model="default")
    with pytest.raises(TokenFileError, match=r"codebook_sizes are not those .* \[1024, 1024, 1024\]"):
        token_files.to_dq(token_files.unpack(npz(codebook_sizes=np.array([1024, 1024, 2048]))))
    with pytest.raises(ValueError, match="level map"):
        token_files.save(Tokens(500, 90, *(getattr(default_tokens(), f) for f in ("levels", "codes"))), "never.npz")


def test_bad_files_through_the_command(tmp_path):
    cases = {"text": (b"hello", "not a .npz"), "empty": (b"", "not a .npz"), "cut": (npz()[:-30], "not a .npz"),
             "unknown": (npz(fingerprint=np.array("deadbeef")), "deadbeef"), "missing": (npz(levels=None), "levels")}
    for name, (data, word) in cases.items():
        (tmp_path / f"{name}.npz").write_bytes(data)
        fails(dq("tokens", tmp_path / f"{name}.npz"), f"{name}.npz", word)
    fails(dq("tokens", tmp_path / "absent.dq"), "absent.dq", "cannot be read")
    assert not list(tmp_path.glob("*.dq")) and len(list(tmp_path.iterdir())) == len(cases)


def test_bombs_cost_nothing(tmp_path):
    def forged(shape: str, values: bytes) -> bytes:
        header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}\n".encode()
        buffer = io.BytesIO(npz(levels=None))
        with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("levels.npy", b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + values)
        return buffer.getvalue()

    for shape, values, message in (("(1000000, 1000000)", b"", "must be uint8"), ("(-6, -9)", b"", "must be uint8"),
                                   ("(6, 9)", bytes(10**8), "54 bytes"), ("(6, 9)", bytes(53), "54 bytes"),
                                   ("(6, 9", b"", "cannot be read")):
        with pytest.raises(TokenFileError, match=message):
            token_files.unpack(forged(shape, values))


def test_damage_is_named_or_harmless():
    good = packed_default()
    rng = np.random.default_rng(1)
    for _ in range(400):
        data = bytearray(good)
        for place in rng.integers(len(good), size=3):
            data[place] = rng.integers(256)
        try:
            token_files.unpack(bytes(data))
        except DqError as error:
            assert "\n" not in str(error)


def test_codebooks_of_exclusive_grains():
    from dataclasses import replace

    from dqcodec.models.exclusive import ExclusiveQuantizer

    books = token_files._codebooks_of(ExclusiveQuantizer(replace(SMALL, exclusive=True)), 2)
    assert len(books) == 2 and books[0].shape == (16, 4) and np.array_equal(*books)


def test_usage_errors_exit_2(picture, tmp_path):
    (tmp_path / "a.npz").write_bytes(npz())
    for args in ([picture, "-o", "x.dq"], [tmp_path / "a.npz", "-o", "x.npz"], [tmp_path], [tmp_path, "-o", "out.tar"],
                 [tmp_path, "-o", "%d/out.tar"], [tmp_path, "-o", "o-%d.tar", "--vectors"],
                 [picture, "--per-shard", 2], [picture, "--bpp", 1, "--quality", 3],
                 [tmp_path / "a.npz", "--bpp", 1], [tmp_path / "a.npz", "--vectors"]):
        done = dq("tokens", *args)
        assert done.returncode == 2 and b"Traceback" not in done.stderr, args
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "img.png"]


def test_examples_in_documentation_run(picture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = doctest.testmod(token_files)
    assert done.failed == 0 and done.attempted >= 8
    contents = token_files.from_dq(dqcodec.compress(Image.open(picture), quality=60), vectors=True)
    (tmp_path / "photo.npz").write_bytes(token_files.pack(contents))
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "tokens.md").read_text(), re.S)
    assert len(blocks) == 2
    names = {}
    for block in blocks:
        exec(block, names)
    assert names["vectors"].shape == (12, 18, 16) and names["image"].size == (130, 90)
