"""The loss of a step: where LPIPS looks."""

import pytest
import torch
from torch import Tensor, nn

from dqcodec.errors import ConfigError
from dqcodec.models.output import AutoencoderOutput
from dqcodec.training.config import LossConfig, from_dict
from dqcodec.training.objective import Objective


class Differences(nn.Module):
    """A stand-in for LpipsVgg: mean absolute differences of regions of 16 pixels."""

    def features(self, x: Tensor) -> list[Tensor]:
        return [x]

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        return nn.functional.avg_pool2d((a[0] - b[0]).abs().mean(1, keepdim=True), 16)[:, 0]

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.distance(self.features(a), self.features(b))


def losses_and_slope(x: Tensor, shown: Tensor, **loss):
    """Losses of `shown` (B, 3, H, W) against x, and the gradient of the reconstruction's part."""
    shown = shown.clone().requires_grad_()
    zero = torch.zeros(())
    levels = torch.zeros(len(x), x.shape[2] // 16, x.shape[3] // 16, dtype=torch.int64)
    out = AutoencoderOutput(reconstruction=shown, commitment_loss=zero, auxiliary_loss=zero, levels=levels,
                            bits=torch.zeros(len(x)))
    found = Objective(LossConfig(l1=0.0, lpips_crop=32, **loss), Differences())(x, out)
    found.reconstruction.backward()
    return found, shown.grad


def test_lpips_of_a_patch_pulls_on_the_patch_and_that_of_the_half_picture_on_all_of_it():
    torch.manual_seed(0)
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    _, patch = losses_and_slope(x, x + 0.1)
    _, both = losses_and_slope(x, x + 0.1, lpips_half=0.5)
    assert int((patch[0, 0] != 0).sum()) == 32 * 32
    assert bool((both != 0).all())


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_the_half_pictures_share_is_taken_from_the_patchs(share):
    x = torch.zeros(1, 3, 64, 64)
    checks = 0.25 * (-1.0) ** (torch.arange(64)[:, None] + torch.arange(64)) + 0.0625  # at half the size .0625 is left
    found, _ = losses_and_slope(x, checks.expand(1, 3, 64, 64), lpips_half=share, lpips_vgg=2.0)
    assert float(found.metrics["lpips_vgg"]) == pytest.approx(0.25)
    assert float(found.metrics["lpips_half"]) == pytest.approx(0.0625)
    assert float(found.reconstruction.detach()) == pytest.approx(2 * ((1 - share) * 0.25 + share * 0.0625))


def test_a_share_out_of_range_or_a_crop_without_a_half_is_named():
    for loss, crop in (({"lpips_half": 1.5}, 64), ({"lpips_half": 0.5}, 48)):
        with pytest.raises(ConfigError, match="lpips_half must lie in 0..1, and above 0 crop must be a multiple of 32"):
            from_dict({"loss": loss, "data": {"crop": crop}})
