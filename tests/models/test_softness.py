"""A decoder adapted to soft pictures, and what tells a soft picture."""

import numpy as np
import pytest
import torch
from PIL import Image

from dqcodec.models.config import CodecConfig
from dqcodec.models.decoder import Decoder
from dqcodec.models.softness import STATISTICS, Softness, amount_of, statistics

SMALL = CodecConfig(factors=(16, 8), codebook_size=16, code_dim=4, encoder_channels=(16, 16, 16, 16),
                    encoder_blocks=(0, 0, 0, 0), decoder_channels=(16, 16, 16, 16, 16),
                    decoder_blocks=(1, 0, 0, 0, 0), noise_factors=(4,), router_hidden=8)


@pytest.fixture
def decoder() -> Decoder:
    torch.manual_seed(0)
    found = Decoder(SMALL).eval()
    for value in found.parameters():  # some start at zero and let no gradient through
        torch.nn.init.normal_(value, std=0.2)
    return found


@pytest.fixture
def trained(decoder) -> Softness:
    """A softness as if it had been trained."""
    found = Softness(decoder, 2)
    with torch.no_grad():
        for value in found.add.values():
            value += 0.1 * torch.randn_like(value)
    return found


def picture(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def test_nothing_is_added_before_training(decoder):
    added = Softness(decoder, 2).parameters_of(decoder, 1.0)
    assert all(torch.equal(added[name], value) for name, value in decoder.named_parameters())


def test_an_addition_to_a_kernel_has_the_rank_that_was_asked_for(decoder, trained):
    added = trained.parameters_of(decoder, 1.0)
    for name, value in decoder.named_parameters():
        gap = (added[name] - value).detach()
        assert gap.abs().max() > 0
        if value.ndim == 4:
            assert torch.linalg.matrix_rank(gap.flatten(1), rtol=1e-4) <= 2


def test_amounts_add_up_and_can_be_taken_back(decoder, trained):
    half, whole = trained.adapted(decoder, 0.5), trained.adapted(decoder, 1.0)
    for name, value in decoder.named_parameters():
        one, two = dict(half.named_parameters())[name], dict(whole.named_parameters())[name]
        assert torch.allclose(two - one, one - value, atol=1e-5)
        assert torch.allclose(dict(trained.adapted(whole, -1.0).named_parameters())[name], value, atol=1e-5)


def test_gradients_reach_what_is_added_and_nothing_else(decoder):
    softness = Softness(decoder.requires_grad_(False), 2)
    values = {16: torch.randn(1, 4, 2, 2), 8: torch.randn(1, 4, 4, 4)}
    softness.decode(decoder, 0.5, values, torch.ones(1, 2, 2, dtype=torch.long), (0, 0)).square().mean().backward()
    moved = {name for name, value in softness.add.named_parameters() if value.grad is not None and value.grad.any()}
    assert {name for name in dict(softness.add.named_parameters()) if not name.endswith("/a")} == moved
    assert all(value.grad is None for value in decoder.parameters())


@pytest.mark.parametrize("enlargement, amount", [(1, 0), (1.3, 0.5), (1.6, 1), (3, 1)])
def test_amount_of_an_enlargement(enlargement, amount):
    assert amount_of(enlargement) == pytest.approx(amount)


def test_statistics_tell_enlarged_pictures_by_the_finest_octave(photo):
    large = photo.resize((2 * photo.width, 2 * photo.height), Image.Resampling.BICUBIC)
    before, after = statistics(picture(photo)), statistics(picture(large))
    assert before.shape == (STATISTICS,) and before[0] == 1
    fine = slice(1, 1 + (STATISTICS - 1) // 4)
    assert (after[fine] <= before[fine]).all() and after[fine].mean() < before[fine].mean() - 0.3
    # An octave further the enlarged picture is what the picture was.
    rest = slice(1 + (STATISTICS - 1) // 4, None)
    assert (after[rest] - before[1 : 1 + 3 * (STATISTICS - 1) // 4]).abs().mean() < 0.2


def test_amounts_stay_in_range_and_tiny_pictures_have_none(decoder):
    softness = Softness(decoder, 1)
    softness.reading[0] = 7.0
    assert softness.amount(torch.zeros(3, 16, 40, dtype=torch.uint8)) == 1.0
    assert softness.amount(torch.zeros(3, 15, 400, dtype=torch.uint8)) == 0.0
    softness.reading[0] = -7.0
    assert softness.amount(torch.zeros(3, 16, 40, dtype=torch.uint8)) == 0.0


def test_large_pictures_are_judged_by_their_middle(decoder):
    softness = Softness(decoder, 1)
    softness.reading[5] = 0.1
    noise = torch.randint(0, 255, (3, 64, 2048), dtype=torch.uint8)
    wide = torch.zeros(3, 64, 4096, dtype=torch.uint8)
    wide[..., 1024:3072] = noise
    assert softness.amount(wide) == softness.amount(noise) > 0
