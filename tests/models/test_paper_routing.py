"""Paper mode: grain choice, budget and the layout of mixed grains."""

import pytest
import torch

from dqcodec.errors import RateError
from dqcodec.models.paper import PaperConfig
from dqcodec.models.paper.budget import budget_loss, levels_for_ratios, ratios_for_codes
from dqcodec.models.paper.grains import code_slots, merge, replicate
from dqcodec.models.paper.router import hard_gumbel, one_hot

TRIPLE = PaperConfig(
    grains=(32, 16, 8), channel_multipliers=(1, 1, 2, 2, 4, 4), budget_ratios=(0.3, 0.3), router_hidden=768
)


def test_gates_are_exactly_one_hot_and_differentiable():
    logits = torch.randn(2, 3, 5, 7, requires_grad=True)
    gates = hard_gumbel(logits, 1.0)
    assert set(gates.unique().tolist()) == {0.0, 1.0}
    assert (gates.sum(dim=1) == 1).all()
    (gates[:, 1] * torch.randn(2, 5, 7)).sum().backward()
    assert logits.grad.abs().sum() > 0


def test_sampled_grains_follow_the_softmax():
    logits = torch.tensor([1.0, 0.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, 200, 200)
    shares = hard_gumbel(logits, 1.0).mean(dim=(0, 2, 3))
    assert torch.allclose(shares, torch.tensor([1.0, 0.0, -1.0]).softmax(0), atol=0.02)


def test_budget_loss_holds_each_image_to_its_budget_not_the_batch_mean():
    extreme = torch.stack((torch.zeros(4, 4), torch.ones(4, 4))).long()  # mean share 0.5, no image at 0.5
    assert budget_loss(one_hot(extreme, 2).float(), (0.5,), 10.0).item() == pytest.approx(2.5)
    met = torch.tensor([[0, 1], [1, 0]]).repeat(2, 2, 2)
    assert budget_loss(one_hot(met, 2).float(), (0.5,), 10.0).item() == 0


def test_budget_loss_of_three_grains_sums_both_deviations():
    levels = torch.tensor([[[0, 1, 2, 2]]])
    loss = budget_loss(one_hot(levels, 3).float(), (0.3, 0.3), 2.0)
    assert loss.item() == pytest.approx(2 * (0.05**2 + 0.2**2))


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.37, 0.5, 1.0])
def test_every_image_has_exactly_its_share_of_fine_regions(ratio):
    logits = torch.randn(5, 2, 6, 9)
    logits[0, 1] += 100  # an image that arg max would code all fine
    levels = levels_for_ratios(logits, (ratio,))
    assert (levels.sum(dim=(1, 2)) == round(ratio * 54)).all()


def test_fine_regions_are_those_with_the_largest_margin():
    logits = torch.randn(1, 2, 4, 4)
    margin = (logits[:, 1] - logits[:, 0])[0]
    levels = levels_for_ratios(logits, (0.25,))[0]
    assert margin[levels == 1].min() > margin[levels == 0].max()


def test_three_grains_meet_both_shares_in_each_image():
    levels = levels_for_ratios(torch.randn(4, 3, 10, 10), (0.3, 0.2))
    assert [(levels == g).sum(dim=(1, 2)).tolist() for g in range(3)] == [[50] * 4, [30] * 4, [20] * 4]


def test_ties_go_to_the_first_regions_in_raster_order():
    levels = levels_for_ratios(torch.zeros(1, 2, 2, 3), (0.5,))
    assert levels.tolist() == [[[1, 1, 1], [0, 0, 0]]]


@pytest.mark.parametrize("ratios", [(0.5, 0.5), (-0.1,), (1.1,)])
def test_impossible_ratios_are_refused(ratios):
    with pytest.raises(RateError):
        levels_for_ratios(torch.zeros(1, 2, 2, 2), ratios)


@pytest.mark.parametrize("config", [PaperConfig(), TRIPLE])
@pytest.mark.parametrize("codes", [0.5, 1.0, 1.7, 2.5, 3.1, 4.0, 9.0])
def test_ratios_give_the_codes_asked_for(config, codes):
    ratios = ratios_for_codes(codes, config)
    counts = config.codes_per_region
    got = 1 + sum(r * (c - 1) for r, c in zip(ratios, counts[1:], strict=True))
    assert got == pytest.approx(min(max(codes, 1), counts[-1]))
    assert min(ratios) >= 0 and sum(ratios) <= 1 + 1e-6


def test_merge_takes_each_region_from_its_grain():
    levels = torch.tensor([[[0, 1], [2, 0]]])
    maps = [torch.full((1, 1, 2 * n, 2 * n), float(value)) for n, value in ((1, 10), (2, 20), (4, 30))]
    merged = merge(maps, levels, (4, 2, 1))
    assert torch.equal(merged[:, 0], replicate((levels + 1) * 10.0, 4))


def test_replicated_code_is_numbered_once():
    levels = torch.tensor([[[0, 1]], [[1, 2]]])
    first, slot = code_slots(levels, (4, 2, 1))
    assert first.sum().item() == (1 + 4) + (4 + 16)
    assert torch.equal(slot[first], torch.arange(25))
    assert slot[0, :, :4].unique().numel() == 1  # all copies of a coarse code share its number
    assert torch.equal(slot.unique(), torch.arange(25))
    cells = torch.bincount(slot.flatten())
    assert sorted(cells.tolist()) == sorted([16] + [4] * 8 + [1] * 16)
