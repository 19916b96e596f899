"""Rules in the router's place."""

import pytest
import torch

from dqcodec.errors import ConfigError
from dqcodec.models.paper import PaperConfig
from dqcodec.models.paper.dqvae import PaperDQVAE
from dqcodec.models.paper.policy import logits_of, region_scores

SMALL = dict(base_channels=8, channel_multipliers=(1, 1, 1, 1, 2), res_blocks=1, attention_factors=(),
             decoder_multipliers=(1, 1, 1, 1), decoder_attention_factors=(), latent_channels=8, codebook_size=16,
             router_hidden=8, norm_groups=4, position_grid=4)  # fmt: skip


def half_busy() -> torch.Tensor:
    """(2, 3, 64, 64): the left half flat, the right half noise."""
    x = torch.zeros(2, 3, 64, 64)
    x[..., 32:] = torch.rand(2, 3, 64, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return x


def test_entropy_rule_prefers_busy_regions():
    scores = region_scores("entropy", half_busy(), 16)
    assert scores.shape == (2, 4, 4)
    assert scores[..., :2].max() < 1e-5 < 1 < scores[..., 2:].min()


def test_fixed_rule_is_the_same_for_every_picture_and_spread_evenly():
    scores = region_scores("fixed", half_busy(), 16)
    assert torch.equal(scores[0], scores[1]) and len(scores[0].unique()) == 16
    assert torch.equal(scores, region_scores("fixed", torch.rand(2, 3, 64, 64), 16))


def test_random_rule_draws_anew():
    torch.manual_seed(0)
    first, second = (region_scores("random", half_busy(), 16) for _ in range(2))
    assert not torch.equal(first, second) and not torch.equal(first[0], first[1])


@pytest.mark.parametrize("routing", ["random", "entropy", "fixed"])
def test_shares_are_exact_in_training_and_in_use(routing):
    torch.manual_seed(0)
    model = PaperDQVAE(PaperConfig(routing=routing, budget_ratios=(0.25,), **SMALL))
    out = model(half_busy(), step=0)
    assert out.levels.sum((1, 2)).tolist() == [4, 4] and out.auxiliary_loss == 0
    codes = model.eval().encode(half_busy())
    assert codes.levels.sum((1, 2)).tolist() == [4, 4]
    if routing == "entropy":
        assert (codes.levels[..., :2] == 0).all()
    assert model.decode(codes).shape == (2, 3, 64, 64)


def test_scores_become_logits_in_whose_order_grains_are_given():
    logits = logits_of(torch.tensor([[[0.5, 2.0]]]), 3)
    assert logits.shape == (1, 3, 1, 2)
    assert logits[0, :, 0, 1].tolist() == [0, 2, 4]


def test_unknown_rule_is_named():
    with pytest.raises(ConfigError, match="routing 'guess' is none of learned, random"):
        PaperConfig(routing="guess")
