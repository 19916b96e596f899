"""The loss of a step: where LPIPS looks."""

import torch
from torch import Tensor, nn

from dqcodec.models.output import AutoencoderOutput
from dqcodec.training.config import LossConfig
from dqcodec.training.objective import Objective


class Differences(nn.Module):
    """A stand-in for LpipsVgg: mean absolute differences of regions of 16 pixels."""

    def features(self, x: Tensor) -> list[Tensor]:
        return [x]

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        return nn.functional.avg_pool2d((a[0] - b[0]).abs().mean(1, keepdim=True), 16)[:, 0]


def slope(x: Tensor, shown: Tensor, patch: int) -> Tensor:
    """Gradient of the reconstruction's loss, LPIPS alone on a patch of that side, at `shown` (B, 3, H, W)."""
    shown = shown.clone().requires_grad_()
    zero = torch.zeros(())
    levels = torch.zeros(len(x), x.shape[2] // 16, x.shape[3] // 16, dtype=torch.int64)
    out = AutoencoderOutput(reconstruction=shown, commitment_loss=zero, auxiliary_loss=zero, levels=levels,
                            bits=torch.zeros(len(x)))
    found = Objective(LossConfig(l1=0.0, lpips_crop=patch), Differences())(x, out)
    found.reconstruction.backward()
    return shown.grad


def test_lpips_pulls_on_one_patch_at_the_same_place_of_every_picture():
    torch.manual_seed(0)
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    pulled = slope(x, x + 0.1, 32)[:, 0] != 0
    assert int(pulled[0].sum()) == 32 * 32 and torch.equal(*pulled)
    firsts = [divmod(int(slope(x, x + 0.1, 32)[0, 0].ne(0).flatten().int().argmax()), 64) for _ in range(20)]
    assert len(set(firsts)) > 5 and any(row % 16 or col % 16 for row, col in firsts), "drawn anew, also off the grid"


def test_a_patch_larger_than_the_picture_is_all_of_it():
    x = torch.zeros(1, 3, 48, 64)
    assert int((slope(x, x + 0.1, 96)[0, 0] != 0).sum()) == 48 * 48
