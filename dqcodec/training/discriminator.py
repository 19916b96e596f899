"""PatchGAN discriminator (Isola et al., "Image-to-image translation", CVPR 2017)."""

from __future__ import annotations

from torch import Tensor, nn


class PatchDiscriminator(nn.Module):
    """Scores overlapping patches of an image; at 3 layers each score sees 70x70 pixels.

    ndf: channels of the first layer; they double each layer up to eight times.
    layers: convolutions of stride 2; two more of stride 1 follow.
    norm: "batch" as in the paper, or "none" for small or uneven batches.
    """

    def __init__(self, ndf: int = 64, layers: int = 3, norm: str = "batch"):
        super().__init__()
        body: list[nn.Module] = [nn.Conv2d(3, ndf, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        before = ndf
        for layer in range(1, layers + 1):
            width = ndf * min(2**layer, 8)
            # BatchNorm brings its own bias.
            stride, bias = (2 if layer < layers else 1), norm == "none"
            body.append(nn.Conv2d(before, width, 4, stride=stride, padding=1, bias=bias))
            if norm == "batch":
                body.append(nn.BatchNorm2d(width))
            body.append(nn.LeakyReLU(0.2))
            before = width
        self.body = nn.Sequential(*body, nn.Conv2d(before, 1, 4, padding=1))
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> float32 logits (B, 1, h, w), positive where a patch looks real."""
        return self.body(x).float()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
