import torch

from dqcodec.models.config import CodecConfig
from dqcodec.models.decoder import Decoder
from dqcodec.models.noise import noise


def field(top, left, height, width, salt=4):
    return noise(torch.arange(top, top + height)[None], torch.arange(left, left + width)[None], salt)[0, 0]


def test_noise_is_pinned():
    # These numbers are part of what a file decodes to.
    assert [round(float(v), 4) for v in field(0, 0, 1, 4)[0]] == [-0.2996, -1.2794, -0.0429, 0.1366]


def test_noise_is_white_and_of_unit_variance():
    n = field(0, 0, 512, 512)
    assert abs(n.mean()) < 0.01 and abs(n.var() - 1) < 0.01
    for a, b in ((n[1:], n[:-1]), (n[:, 1:], n[:, :-1]), (n[4:], n[:-4]), (n, field(0, 0, 512, 512, salt=2))):
        assert abs((a * b).mean()) < 0.01


def test_a_tile_gets_the_noise_of_its_place():
    whole = field(0, 0, 64, 64)
    assert torch.equal(whole[16:48, 32:40], field(16, 32, 32, 8))


def test_decoder_uses_it_and_decodes_the_same_picture_twice():
    torch.manual_seed(0)
    config = CodecConfig(factors=(16, 8), noise_factors=(4, 2), decoder_channels=(8,) * 5, decoder_blocks=(0,) * 5)
    decoder = Decoder(config).eval()
    values = {16: torch.randn(1, 16, 4, 4), 8: torch.randn(1, 16, 8, 8)}
    levels = torch.zeros(1, 4, 4, dtype=torch.long)
    with torch.no_grad():
        here, again, there = (decoder(values, levels, o) for o in ((0, 0), (0, 0), (3, 1)))
    assert torch.equal(here, again) and not torch.allclose(here, there)
