import torch

from dqcodec.models.allocation import levels_at_slope, levels_for_bits
from dqcodec.models.sampling import sample_levels

BITS = torch.tensor([10.0, 20, 30, 70, 230])


def curves(batch: int = 3) -> torch.Tensor:
    torch.manual_seed(0)
    gains = torch.rand(batch, 5, 6, 7) ** 3
    return gains.flip(1).cumsum(1).flip(1)


def test_levels_for_bits_stay_within_every_images_own_target():
    target = torch.tensor([500.0, 1500.0, 6000.0])
    used = BITS[levels_for_bits(curves(), BITS, target)].sum((1, 2))
    assert (used <= target).all() and (used > 0.9 * target).all()


def test_target_below_the_coarsest_gives_all_coarse():
    assert levels_for_bits(curves(), BITS, torch.tensor([1.0, 1.0, 1.0])).max() == 0


def test_slope_zero_takes_the_finest_and_a_huge_slope_the_coarsest():
    assert (levels_at_slope(curves(), BITS, torch.zeros(3)) == 4).all()
    assert (levels_at_slope(curves(), BITS, torch.full((3,), 1e9)) == 0).all()


def test_training_meets_both_extremes_and_everything_between():
    torch.manual_seed(1)
    levels = torch.cat([sample_levels(curves(32), BITS) for _ in range(8)])
    assert set(levels.unique().tolist()) == {0, 1, 2, 3, 4}
    constant = levels.flatten(1)
    constant = constant[(constant == constant[:, :1]).all(1), 0]
    assert {0, 4} <= set(constant.tolist())
