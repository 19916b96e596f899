"""The small model in the package: it shares the default's codes, so that each reads the other's files."""

import numpy as np
import pytest
from PIL import Image

import dqcodec
from dqcodec.weights import load
from dqcodec.weights.registry import path_of
from dqcodec.weights.slim import make_whole
from tests.test_cli import dq


def psnr(a, b):
    return -10 * np.log10(np.mean((np.asarray(a, float) / 255 - np.asarray(b, float) / 255) ** 2))


def test_it_is_small_also_with_all_that_it_borrows(tmp_path):
    tiny, large = load("tiny"), load()
    assert tiny.fingerprint == large.fingerprint and tiny.cost_ratio == large.cost_ratio
    whole = tmp_path / "alone.safetensors.xz"
    make_whole(path_of("tiny"), whole)
    assert path_of("tiny").stat().st_size < 2e6 and whole.stat().st_size <= 6e6
    assert load(str(whole)).fingerprint == large.fingerprint
    sizes = [sum(p.numel() for p in model.vae.parameters()) for model in (tiny, large)]
    assert sizes[0] < sizes[1] / 5


@pytest.mark.parametrize("encoder, decoder", [("tiny", "tiny"), ("tiny", "default"), ("default", "tiny")])
def test_each_reads_the_others_files(photo, encoder, decoder):
    data = dqcodec.compress(photo, bpp=0.2, model=encoder)
    assert 0.98 * 0.2 <= 8 * len(data) / (photo.width * photo.height) <= 0.2
    best = psnr(photo, dqcodec.decompress(dqcodec.compress(photo, bpp=0.2)))
    assert psnr(photo, dqcodec.decompress(data, model=decoder)) > best - 3


def test_without_a_name_the_default_shows_its_files(photo, tmp_path):
    photo.save(tmp_path / "cat.png")
    assert dq("compress", tmp_path / "cat.png", "--bpp", 0.2, "--model", "tiny").returncode == 0
    for name, how in (("large", []), ("small", ["--model", "tiny"])):
        assert dq("decompress", tmp_path / "cat.dq", "-o", tmp_path / f"{name}.png", *how).returncode == 0
    small, large = (np.asarray(dqcodec.decompress((tmp_path / "cat.dq").read_bytes(), model=m)) for m in ("tiny", None))
    assert not np.array_equal(small, large)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "small.png")), small)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "large.png")), large)
    refused = dq("decompress", tmp_path / "cat.dq", "-o", tmp_path / "x.png", "--model", "tiny", "--realism", 1)
    assert refused.returncode == 1 and b"no realism to choose" in refused.stderr
