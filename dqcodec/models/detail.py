"""Detail: what a decoded picture still lacks, as one code for each patch of 4x4 pixels, on top of any decoder.

Residual vector quantisation in the pixels (Gray 1984; the base and enhancement layers of scalable video, Schwarz et al.
2007, section IV): a code is the vector of its codebook that is nearest to the difference between picture and decoded
picture, and a small network turns codes and decoded picture into the picture that is shown. It does not see the
networks that decoded, so any decoder's picture will do.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dqcodec.models.blocks import ResidualBlock
from dqcodec.models.codebook import ROWS, Codebook

PATCH = 4  # pixels along a side; the networks' two shuffles by 2 make it
RAW = 0.7  # share of a code's own vector that is added; the network adds the rest
SCALE = 4.0  # residuals are a few hundredths; networks want about 1
VALUES = 3 * PATCH**2
PLACE_BITS = 3.0  # of saying on the map that a patch has a code, beyond saying that it has none; a rough mean
REGION = 16  # pixels along a side of the regions that have detail or none, as of the packaged ladders


@dataclass(frozen=True)
class DetailConfig:
    """codes: size of the codebook. width: channels at f4; blocks: residual blocks there. half: channels at f2."""

    codes: int = 1024
    width: int = 64
    blocks: int = 2
    half: int = 32

    def __post_init__(self):
        if not 2 <= self.codes <= 4096 or min(self.width, self.half) < 1:
            raise ValueError("a detail has 2..4096 codes and at least one channel")
        if self.blocks < 0:
            raise ValueError("blocks must not be negative")

    def to_dict(self) -> dict:
        return asdict(self)


def lacking(x: Tensor, shown: Tensor) -> Tensor:
    """What `shown` lacks of x, both (B, 3, H, W), as vectors (B, H/4, W/4, 48) of its patches."""
    return F.pixel_unshuffle((x - shown).float(), PATCH).permute(0, 2, 3, 1)


@torch.no_grad()
def best_codes(vectors: Tensor, book: Tensor, bits: Tensor, worth: Tensor) -> tuple[Tensor, Tensor]:
    """The code of each patch that saves most squared error for its bits, and what it saves beyond them.

    vectors (N, 48); book (K, 48); bits (K,) of the codes; worth (N,), squared error that a bit has to save. Returns
    codes (N,) int64 and (N,) float32, above 0 where a code is better than none, its place on the map paid for.
    """
    energy = book.square().sum(-1)  # (K,)
    codes, saved = [], []
    for part, w in zip(vectors.split(ROWS), worth.split(ROWS), strict=True):
        score = torch.addmm(-energy, part, book.t(), alpha=2)  # (n, K) squared error saved
        best = score.addcmul_(w[:, None], bits, value=-1).max(-1)
        codes.append(best.indices)
        saved.append(best.values - PLACE_BITS * w)
    if not codes:
        return torch.empty(0, dtype=torch.int64), torch.empty(0)
    return torch.cat(codes), torch.cat(saved)


class Detail(nn.Module):
    """Codebook and network of the detail. Pictures are (B, 3, H, W) in [-1, 1], H and W multiples of 4."""

    def __init__(self, config: DetailConfig):
        super().__init__()
        self.config = config
        self.codebook = Codebook(config.codes, VALUES)
        blocks = [ResidualBlock(config.width) for _ in range(config.blocks)]
        self.trunk = nn.Sequential(nn.Conv2d(2 * VALUES, config.width, 3, padding=1), *blocks, nn.LeakyReLU(0.1))
        self.up = nn.Conv2d(config.width, 4 * config.half, 1)
        self.refine = ResidualBlock(config.half)
        self.to_image = nn.Conv2d(config.half, 12, 3, padding=1)
        # At the start plain residual quantisation, which is worth something: from random networks no code comes to mean
        # anything (docs/experiments.md, section 2).
        nn.init.zeros_(self.to_image.weight)
        nn.init.zeros_(self.to_image.bias)

    @property
    def radius(self) -> int:
        """Pixels beyond a patch that its pixels depend on."""
        return PATCH * (1 + 2 * self.config.blocks) + 2 * 3

    def quantise(self, x: Tensor, shown: Tensor) -> Tensor:
        """Codes (B, H/4, W/4) int64 of what `shown` lacks of x."""
        vectors = lacking(x, shown)
        return self.codebook.nearest(vectors.reshape(-1, VALUES)).view(vectors.shape[:3])

    def lookup(self, codes: Tensor) -> Tensor:
        """Vectors (B, 48, h, w) of codes (B, h, w) int64, of negative ones any."""
        return self.codebook.lookup(codes.clamp_min(0)).permute(0, 3, 1, 2)

    def add(self, shown: Tensor, vectors: Tensor, present: Tensor) -> Tensor:
        """`shown` with detail, not clamped: vectors (B, 48, h, w) where `present` (B, 1, h, w), 0 or 1, says so.

        Where it is 0 everywhere in a patch, the patch stays as it is.
        """
        vectors = vectors * present
        h = self.trunk(torch.cat([SCALE * vectors, F.pixel_unshuffle(shown, PATCH)], 1))  # (B, width, H/4, W/4)
        h = self.refine(F.pixel_shuffle(self.up(h), 2))  # (B, half, H/2, W/2)
        more = F.pixel_shuffle(self.to_image(F.leaky_relu(h, 0.1)).float(), 2)  # (B, 3, H, W)
        return shown + RAW * F.pixel_shuffle(vectors, PATCH) + more * F.interpolate(present, scale_factor=PATCH)
