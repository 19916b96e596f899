import math

import pytest
from PIL import Image

from dqcodec.eval.codecs.base import Codec, Knob
from dqcodec.eval.search import nearest_setting


class Analytic(Codec):
    """Rate is an exponential of the knob, between 0.05 and 3 bpp."""

    name = family = label = "analytic"
    suffix, sweep = ".bin", (0,)

    def __init__(self, rising: bool):
        self.knob = Knob("q", 0, 100, rising=rising)
        self.calls = 0

    def check(self):
        pass

    def version(self):
        return "1"

    def encode(self, image, value):
        self.calls += 1
        position = value if self.knob.rising else 100 - value
        return bytes(int(image.width * image.height / 8 * 0.05 * math.exp(math.log(60) * (position / 100) ** 1.5)))

    def decode(self, data):
        raise AssertionError("the search looks at sizes and decodes nothing")


@pytest.mark.parametrize("rising", [True, False])
@pytest.mark.parametrize("bpp", [0.06, 0.2, 0.9, 2.5])
def test_setting_is_the_nearest_that_the_knob_has(rising, bpp):
    image, codec = Image.new("RGB", (400, 400)), Analytic(rising)
    value = nearest_setting(codec, image, bpp)
    assert codec.calls <= 9
    assert 8 * len(codec.encode(image, value)) / 160_000 == pytest.approx(bpp, rel=0.05)


@pytest.mark.parametrize("bpp, value", [(0.001, 0), (50, 100)])
def test_rate_out_of_reach_gives_the_nearest_end(bpp, value):
    assert nearest_setting(Analytic(True), Image.new("RGB", (400, 400)), bpp) == value


def test_known_rates_save_encodings():
    image, codec = Image.new("RGB", (400, 400)), Analytic(True)
    known = {q: 8 * len(codec.encode(image, q)) / 160_000 for q in (20, 60)}
    codec.calls = 0
    assert nearest_setting(codec, image, known[60], known) == 60
    assert codec.calls == 0


def test_codec_steered_by_rate_needs_no_search():
    codec = Analytic(True)
    codec.knob = Knob("bpp", 0.01, 2, 0.001, is_rate=True)
    assert nearest_setting(codec, Image.new("RGB", (9, 9)), 0.137) == 0.137
    assert codec.calls == 0
