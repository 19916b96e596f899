"""Hinge GAN loss whose weight follows the reconstruction loss, for both modes of the DQ-VAE.

Lim and Ye, "Geometric GAN", 2017, for the hinge; Esser et al., "Taming transformers", CVPR 2021,
equation 7, for the adaptive weight; the DQ-VAE release clamps that weight at 0.75.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dqcodec.errors import ConfigError
from dqcodec.training.discriminator import PatchDiscriminator


@dataclass(frozen=True)
class AdversarialConfig:
    """The adversary and its strength.

    weight: factor on the adaptively weighted generator loss.
    start_step: first training step at which the trainer calls the adversary.
    max_adaptive_weight: the adaptive weight is clamped here.
    ndf, layers, norm: of the PatchDiscriminator.

    Raises ConfigError if a value is out of range.
    """

    weight: float = 1.0
    start_step: int = 0
    max_adaptive_weight: float = 0.75
    ndf: int = 64
    layers: int = 3
    norm: str = "batch"

    def __post_init__(self):
        if self.norm not in ("batch", "none"):
            raise ConfigError(f"adversarial norm is {self.norm!r}; it must be 'batch' or 'none'")
        if self.ndf < 1 or self.layers < 1:
            raise ConfigError("adversarial ndf and layers must be at least 1")
        if min(self.weight, self.start_step, self.max_adaptive_weight) < 0:
            raise ConfigError("adversarial weight, start_step and max_adaptive_weight must not be negative")


class Adversary(nn.Module):
    """Discriminator with both sides of the game; its parameters are the discriminator's."""

    def __init__(self, config: AdversarialConfig):
        super().__init__()
        self.config = config
        self.discriminator = PatchDiscriminator(config.ndf, config.layers, config.norm)

    def generator_loss(
        self, reconstruction: Tensor, reconstruction_loss: Tensor, last_layer: nn.Parameter
    ) -> tuple[Tensor, dict[str, float]]:
        """The generator's loss, weighted to pull on its last layer as the reconstruction loss does.

        reconstruction: (B, 3, H, W) with its graph. reconstruction_loss: scalar of the same graph.
        last_layer: weight of the generator's last convolution. Returns (scalar loss, metrics).
        Leaves no gradient in the discriminator, so its own step starts clean.
        """
        self.discriminator.requires_grad_(False)
        try:
            loss = -self.discriminator(reconstruction).mean()
        finally:
            self.discriminator.requires_grad_(True)
        adaptive = self._adaptive_weight(reconstruction_loss, loss, last_layer)
        metrics = {"generator": loss.item(), "adaptive_weight": adaptive.item()}
        return self.config.weight * adaptive * loss, metrics

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Hinge loss on real and fake (B, 3, H, W); fake is cut from the generator's graph.

        Returns (scalar loss, metrics).
        """
        on_real, on_fake = self.discriminator(real), self.discriminator(fake.detach())
        loss = 0.5 * (F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean())
        metrics = {
            "discriminator": loss.item(),
            "score_real": on_real.mean().item(),
            "score_fake": on_fake.mean().item(),
        }
        return loss, metrics

    def _adaptive_weight(self, reconstruction_loss: Tensor, loss: Tensor, last_layer: nn.Parameter) -> Tensor:
        wanted = torch.autograd.grad(reconstruction_loss, last_layer, retain_graph=True)[0].norm()
        present = torch.autograd.grad(loss, last_layer, retain_graph=True)[0].norm()
        return (wanted / (present + 1e-4)).clamp(max=self.config.max_adaptive_weight).detach()
