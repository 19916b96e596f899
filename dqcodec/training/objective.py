"""The loss of one autoencoder step: L1, LPIPS-VGG, commitment, router regression, budget, adversary."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dqcodec.models.output import AutoencoderOutput
from dqcodec.training.config import LossConfig
from dqcodec.training.perceptual import LpipsVgg

REGION = 16


@dataclass(frozen=True)
class Losses:
    """What a step minimises. reconstruction: the terms that an adversary balances itself against. rest: the others.
    metrics: for the log. decoded, real: VGG16's features of the patch on which LPIPS was computed, if it was."""

    reconstruction: Tensor
    rest: Tensor
    metrics: dict[str, float]
    decoded: list[Tensor] | None = None
    real: list[Tensor] | None = None


class Objective(nn.Module):
    """Loss terms of an AutoencoderOutput against what it should be, x (B, 3, H, W) in [-1, 1]."""

    def __init__(self, config: LossConfig, lpips: LpipsVgg | None):
        super().__init__()
        self.config, self.lpips = config, lpips

    def forward(self, x: Tensor, out: AutoencoderOutput) -> Losses:
        c = self.config
        rec = out.reconstruction.float()
        l1 = (rec - x).abs()
        reconstruction = c.l1 * l1.mean()
        metrics = {"l1": l1.mean().item(), "mse": F.mse_loss(rec, x).item()}
        rest = c.commitment * out.commitment_loss + out.auxiliary_loss
        region = F.avg_pool2d(l1.detach().mean(1, keepdim=True), REGION)[:, 0]  # (B, Hr, Wr)
        rows, cols = slice(None), slice(None)
        decoded = real = None
        if self.lpips is not None and c.lpips_vgg:
            side = min(c.lpips_crop, x.shape[2], x.shape[3])
            rows, cols = _random_patch(region.shape[1], side), _random_patch(region.shape[2], side)
            place = (slice(None), slice(None), _pixels(rows, x.shape[2]), _pixels(cols, x.shape[3]))
            with torch.no_grad():
                real = self.lpips.features(x[place])
            decoded = self.lpips.features(rec[place])
            distance = self.lpips.distance(decoded, real)  # (B, side/16, side/16)
            reconstruction = reconstruction + c.lpips_vgg * distance.mean()
            metrics["lpips_vgg"] = distance.mean().item()
            region = region[:, rows, cols] + distance.detach()
        if out.predicted_distortion is not None:
            guess = out.predicted_distortion.gather(1, out.levels[:, None])[:, 0]
            router = F.mse_loss(guess[:, rows, cols], region)
            rest = rest + c.router * router
            metrics["router"] = router.item()
        pixels = x.shape[2] * x.shape[3]
        metrics |= {
            "commitment": out.commitment_loss.item(),
            "raw_bpp": out.bits.mean().item() / pixels,
            **out.metrics,
        }
        return Losses(reconstruction, rest, metrics, decoded, real)


def _random_patch(regions: int, side: int) -> slice:
    count = side // REGION
    start = int(torch.randint(regions - count + 1, ()))
    return slice(start, start + count)


def _pixels(regions: slice, size: int) -> slice:
    """Pixels of a run of regions, shifted at random by -4..3 within the image.

    Without the shift VGG's pooling always meets the codec's grid in the same phase, and the decoder
    learns a 4-pixel pattern that pleases it. A quarter of a region hardly blurs the router's targets.
    """
    side = (regions.stop - regions.start) * REGION
    start = regions.start * REGION + int(torch.randint(-4, 4, ()))
    start = min(max(start, 0), size - side)
    return slice(start, start + side)
