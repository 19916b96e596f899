"""Discriminators: of patches of pixels, and of the features of a frozen network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dqcodec.models.perceptual import Lengths, lengths


class PatchDiscriminator(nn.Module):
    """PatchGAN (Isola et al., "Image-to-image translation", CVPR 2017): scores overlapping patches of an image; at
    3 layers each score sees 70x70 pixels.

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


class FeatureDiscriminator(nn.Module):
    """Scores places of VGG16's feature maps, block by block, with a small head for each.

    After Sauer et al., "Projected GANs Converge Faster", NeurIPS 2021: a discriminator on the features of a frozen
    network has little left to learn. LPIPS has computed them already. Features are of unit length, as LPIPS compares
    them, times the root of their number.

    blocks: which of the five; without the first the heads do not see a mesh of 4 pixels, the last says little about
    texture. A score sees 7x7 places of its map.
    """

    CHANNELS = (64, 128, 256, 512, 512)

    def __init__(self, blocks: tuple[int, ...] = (0, 1, 2, 3), width: int = 32):
        super().__init__()
        self.blocks = blocks
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Conv2d(self.CHANNELS[b], width, 1), nn.LeakyReLU(0.2),
                          nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(0.2),
                          nn.Conv2d(width, width, 3, padding=2, dilation=2), nn.LeakyReLU(0.2), nn.Conv2d(width, 1, 1))
            for b in blocks)
        self._lengths = Lengths.apply

    def fuse(self) -> None:
        """Compile all heads together, to a few kernels between their convolutions."""
        self._lengths = lengths
        self.compile(dynamic=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Features of five blocks (B, C, h, w) -> float32 logits (B, places of all blocks).

        Logits of coarser blocks are repeated, so that each block has the same weight in a mean.
        """
        scores = [self._score(features[b], head) for b, head in zip(self.blocks, self.heads, strict=True)]
        most = max(score.shape[1] for score in scores)
        return torch.cat([score.repeat(1, most // score.shape[1]) for score in scores], 1)

    def _score(self, f: Tensor, head: nn.Sequential) -> Tensor:
        """Logits (B, h w) of features (B, C, h, w). Their length is divided out after the first convolution has
        made them few."""
        first, rest = head[0], head[1:]
        h = F.conv2d(f, first.weight) * (f.shape[1] ** 0.5 / self._lengths(f))
        return rest(h + first.bias.view(-1, 1, 1)).float().flatten(1)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
