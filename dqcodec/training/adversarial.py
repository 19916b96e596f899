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
from dqcodec.training.discriminator import FeatureDiscriminator, PatchDiscriminator

View = Tensor | list[Tensor]


@dataclass(frozen=True)
class AdversarialConfig:
    """The adversary and its strength.

    kind: "patch", a PatchDiscriminator on images, or "features", a FeatureDiscriminator on those of LPIPS-VGG.
    weight: factor on the generator loss, beside the adaptive one.
    start_step: first training step at which the trainer calls the adversary. push_step: first at which the
    generator follows it; until then the discriminator learns alone.
    adaptive: balance the generator's loss against the reconstruction's, at the price of a backward pass of each.
    max_adaptive_weight: the adaptive weight is clamped here.
    rate: learning rate of the discriminator over that of the generator.
    ndf, layers, norm: of the PatchDiscriminator. blocks: of the FeatureDiscriminator.

    Raises ConfigError if a value is out of range.
    """

    kind: str = "patch"
    weight: float = 1.0
    start_step: int = 0
    push_step: int = 0
    adaptive: bool = True
    max_adaptive_weight: float = 0.75
    rate: float = 1.0
    ndf: int = 64
    layers: int = 3
    norm: str = "batch"
    blocks: tuple[int, ...] = (0, 1, 2, 3)

    def __post_init__(self):
        if self.kind not in ("patch", "features"):
            raise ConfigError(f"adversarial kind is {self.kind!r}; it must be 'patch' or 'features'")
        if not self.blocks or not set(self.blocks) <= set(range(5)):
            raise ConfigError("adversarial blocks must be one or more of 0..4")
        if self.norm not in ("batch", "none"):
            raise ConfigError(f"adversarial norm is {self.norm!r}; it must be 'batch' or 'none'")
        if self.ndf < 1 or self.layers < 1:
            raise ConfigError("adversarial ndf and layers must be at least 1")
        if min(self.weight, self.start_step, self.push_step, self.max_adaptive_weight, self.rate) < 0:
            raise ConfigError("adversarial weight, rate, start_step, push_step and max_adaptive_weight must not be "
                              "negative")


class Adversary(nn.Module):
    """Discriminator with both sides of the game; its parameters are the discriminator's."""

    def __init__(self, config: AdversarialConfig):
        super().__init__()
        self.config = config
        if config.kind == "patch":
            self.discriminator = PatchDiscriminator(config.ndf, config.layers, config.norm)
        else:
            self.discriminator = FeatureDiscriminator(tuple(config.blocks))

    def view(self, image: Tensor, features: list[Tensor] | None) -> View:
        """What the discriminator looks at: the image (B, 3, H, W) or the features of a patch of it."""
        if self.config.kind == "patch":
            return image.float()
        if features is None:
            raise ConfigError("an adversary of kind 'features' looks at those of LPIPS-VGG: set loss.lpips_vgg")
        return features

    def generator_loss(
        self, fake: View, reconstruction_loss: Tensor, last_layer: nn.Parameter
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The generator's loss, weighted to pull on its last layer as the reconstruction loss does.

        fake: `view` of the generator's picture with its graph. reconstruction_loss: scalar of the same graph.
        last_layer: weight of the generator's last convolution. Returns (scalar loss, metrics).
        Leaves no gradient in the discriminator, so its own step starts clean.
        """
        self.discriminator.requires_grad_(False)
        try:
            loss = -self.discriminator(fake).mean()
        finally:
            self.discriminator.requires_grad_(True)
        metrics = {"generator": loss.detach()}
        if not self.config.adaptive:
            return self.config.weight * loss, metrics
        adaptive = self._adaptive_weight(reconstruction_loss, loss, last_layer)
        return self.config.weight * adaptive * loss, metrics | {"adaptive_weight": adaptive}

    def discriminator_loss(self, real: View, fake: View) -> tuple[Tensor, dict[str, Tensor]]:
        """Hinge loss on views of real pictures and of the generator's, which are cut from its graph.

        Returns (scalar loss, metrics).
        """
        cut = fake.detach() if isinstance(fake, Tensor) else [f.detach() for f in fake]
        on_real, on_fake = self.discriminator(real), self.discriminator(cut)
        loss = 0.5 * (F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean())
        metrics = {
            "discriminator": loss.detach(),
            "score_real": on_real.mean().detach(),
            "score_fake": on_fake.mean().detach(),
        }
        return loss, metrics

    def _adaptive_weight(self, reconstruction_loss: Tensor, loss: Tensor, last_layer: nn.Parameter) -> Tensor:
        wanted = torch.autograd.grad(reconstruction_loss, last_layer, retain_graph=True)[0].norm()
        present = torch.autograd.grad(loss, last_layer, retain_graph=True)[0].norm()
        return (wanted / (present + 1e-4)).clamp(max=self.config.max_adaptive_weight).detach()
