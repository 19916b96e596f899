"""The loss of one autoencoder step: L1, LPIPS-VGG, commitment, router regression, budget, adversary."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dqcodec.models.output import AutoencoderOutput
from dqcodec.models.perceptual import LpipsVgg
from dqcodec.training.config import LossConfig

REGION = 16


@dataclass(frozen=True)
class Losses:
    """What a step minimises. reconstruction: the terms that an adversary balances itself against. rest: the others.
    metrics: for the log. decoded, real: VGG16's features of the patch on which LPIPS was computed, if it was."""

    reconstruction: Tensor
    rest: Tensor
    metrics: dict[str, Tensor | float]
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
        metrics = {"l1": l1.mean().detach(), "mse": F.mse_loss(rec, x).detach()}
        rest = c.commitment * out.commitment_loss + out.auxiliary_loss
        region = F.avg_pool2d(l1.detach().mean(1, keepdim=True), REGION)[:, 0]  # (B, Hr, Wr)
        guess = out.predicted_distortion
        if guess is not None:
            guess = guess.gather(1, out.levels[:, None])[:, 0]  # (B, Hr, Wr)
        decoded = real = None
        if self.lpips is not None and c.lpips_vgg:
            side = min(c.lpips_crop, x.shape[2], x.shape[3])
            patch = Patch(x, side)
            with torch.no_grad():
                real = self.lpips.features(patch.pixels(x))
            decoded = self.lpips.features(patch.pixels(rec))
            distance = self.lpips.distance(decoded, real)  # (B, side/16, side/16)
            reconstruction = reconstruction + c.lpips_vgg * distance.mean()
            metrics["lpips_vgg"] = distance.mean().detach()
            region = patch.regions(region) + distance.detach()
            guess = None if guess is None else patch.regions(guess)
        if guess is not None:
            router = F.mse_loss(guess, region)
            rest = rest + c.router * router
            metrics["router"] = router.detach()
        pixels = x.shape[2] * x.shape[3]
        metrics |= {
            "commitment": out.commitment_loss.detach(),
            "raw_bpp": out.bits.mean() / pixels,
            **out.metrics,
        }
        return Losses(reconstruction, rest, metrics, decoded, real)


class Patch:
    """A random square of `side` pixels, a multiple of 16, at one place of all pictures x (B, C, H, W), and the regions
    that it covers. The place is drawn on the device of x, so that no step waits for it.

    The pixels are shifted at random by -4..3 within the image. Without the shift VGG's pooling always meets the codec's
    grid in the same phase, and the decoder learns a 4-pixel pattern that pleases it. A quarter of a region hardly blurs
    the router's targets.
    """

    def __init__(self, x: Tensor, side: int):
        count = side // REGION
        self._regions, self._pixels = [], []
        for size in x.shape[2:]:
            start = torch.randint(size // REGION - count + 1, (1,), device=x.device)
            shift = torch.randint(-4, 4, (1,), device=x.device)
            self._regions.append(start + torch.arange(count, device=x.device))
            self._pixels.append((start * REGION + shift).clamp(0, size - side) + torch.arange(side, device=x.device))

    def pixels(self, picture: Tensor) -> Tensor:
        """The patch (B, C, side, side) of pictures (B, C, H, W)."""
        patch = picture.index_select(2, self._pixels[0]).index_select(3, self._pixels[1])
        return patch.contiguous(memory_format=torch.channels_last)

    def regions(self, values: Tensor) -> Tensor:
        """The patch's part (B, side/16, side/16) of a map (B, H/16, W/16)."""
        return values.index_select(1, self._regions[0]).index_select(2, self._regions[1])
