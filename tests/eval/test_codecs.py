import io
import sys
import time

import numpy as np
import pytest
from PIL import Image

from dqcodec.errors import DataError, RateError
from dqcodec.eval import cell, codecs
from dqcodec.eval.codecs.base import Knob
from dqcodec.eval.codecs.dq import DqCodec
from dqcodec.eval.codecs.pillow_codecs import Jpeg
from dqcodec.eval.image_set import describe

from .conftest import cat_photo

FINE = {"avif": 70, "heic": 70, "jxl": 1, "webp": 85, "jpeg": 85, "jpeg2000": 10, "vvc": 26}
COARSE = {"avif": 10, "heic": 10, "jxl": 20, "webp": 5, "jpeg": 8, "jpeg2000": 80, "vvc": 50}


def psnr(a, b) -> float:
    return 10 * np.log10(255**2 / np.mean((np.asarray(a, float) - np.asarray(b, float)) ** 2))


@pytest.mark.parametrize("name", codecs.CLASSICAL)
def test_odd_sized_picture_comes_back_with_its_size_and_nearly_its_pixels(name):
    chosen, skipped = codecs.select((name,))
    if skipped:
        pytest.skip(skipped[0].reason)
    image = cat_photo(75, 61)
    fine = chosen[0].encode(image, FINE[name])
    coarse = chosen[0].encode(image, COARSE[name])
    decoded = chosen[0].decode(fine)
    assert decoded.size == image.size and decoded.mode == "RGB"
    assert psnr(decoded, image) > 33
    assert psnr(chosen[0].decode(coarse), image) < psnr(decoded, image) - 3
    assert len(coarse) < len(fine)


def test_jpeg_is_progressive_with_halved_chroma():
    image = Image.open(io.BytesIO(Jpeg().encode(cat_photo(64, 64), 50)))
    assert image.info["progressive"]
    assert [(c[1], c[2]) for c in image.layer] == [(2, 2), (1, 1), (1, 1)]


def test_codec_without_its_library_is_skipped_with_the_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    chosen, skipped = codecs.select(("heic", "jpeg"))
    assert [c.name for c in chosen] == ["jpeg"]
    assert [s.name for s in skipped] == ["heic"]
    assert "pip install pillow-heif" in skipped[0].reason


def test_compressai_without_weights_is_skipped_with_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    chosen, skipped = codecs.select(("compressai",), tmp_path)
    assert not chosen and "--compressai-weights" in skipped[0].reason


def test_compressai_model_with_weights_at_hand_is_a_codec(monkeypatch, tmp_path):
    from dqcodec.torchvision_fix import import_torchvision

    import_torchvision()
    import torch
    zoo = pytest.importorskip("compressai.zoo")
    from compressai.zoo.image import model_urls

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    torch.manual_seed(0)
    network = zoo.bmshj2018_factorized(quality=1, metric="mse", pretrained=False)
    network.update()
    name = model_urls["bmshj2018-factorized"]["mse"][1].rsplit("/", 1)[-1]
    torch.save(network.state_dict(), tmp_path / name)
    chosen, skipped = codecs.select(("compressai",), tmp_path)
    assert not skipped
    codec = chosen[0]
    assert codec.name == "compressai-bmshj2018-factorized" and codec.sweep == (1.0,)
    image = cat_photo(75, 61)
    decoded = codec.decode(codec.encode(image, 1))
    x = torch.nn.functional.pad(torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255, (0, 53, 0, 3),
                                mode="replicate")
    with torch.inference_mode():
        expected = network.eval()(x)["x_hat"][0, :, :61, :75].clamp(0, 1).mul(255).round().byte()
    assert decoded.size == image.size
    difference = np.asarray(decoded).astype(int) - expected.permute(1, 2, 0).numpy()
    assert abs(difference).max() <= 1


def test_unknown_codec_is_named_with_the_known_ones():
    with pytest.raises(DataError, match="no codec 'bpg'; there are: dqcodec, avif"):
        codecs.select(("bpg",))


def test_dqcodec_uses_the_nearest_end_of_its_range_where_a_rate_is_out_of_reach(monkeypatch):
    import dqcodec

    sizes = {100: 600, 1: 50}

    def compress(image, *, bpp=None, quality=None, model, effort, metric_weights):
        assert (model, effort, metric_weights) == ("default", "best", None)
        if quality is None:
            raise RateError("out of range")
        return bytes(sizes[quality])

    monkeypatch.setattr(dqcodec, "compress", compress, raising=False)
    image = Image.new("RGB", (64, 64))
    codec = DqCodec("default", effort="best")
    assert len(codec.encode(image, 2.0)) == 600
    assert len(codec.encode(image, 0.01)) == 50


def test_labels_of_settings_are_short_and_distinct():
    assert Knob("d", 0.2, 25).label(4.6) == "d4.6"
    assert Knob("q", 0, 100).label(12) == "q12"


class SlowToLoad(Jpeg):
    name = "slow"
    loaded = False

    def load(self, value):
        if not self.loaded:
            time.sleep(0.5)
            self.loaded = True

    def encode(self, image, value):
        self.load(value)
        return super().encode(image, value)


def test_loading_a_network_is_not_counted_as_encoding(tmp_path, monkeypatch):
    monkeypatch.setattr(cell, "SLOW_S", 0.4)  # else the warm-up call would hide the loading
    cat_photo(32, 32).save(tmp_path / "x.png")
    task = cell.Task(describe(tmp_path / "x.png"), SlowToLoad(), 50, "id", (), None, tmp_path / "cells")
    assert cell.measure(task, {}).enc_s < 0.4
    assert cell.finished(task) is not None
