"""How soft a picture is, and what a decoder that learned from sharp pictures lacks for it.

Photographs for training are reduced, and so sharp at their size; those of a camera at its own size are not. A decoder
adapts to such a picture by an addition of low rank to its kernels (Hu et al. 2022, "LoRA"), scaled by an amount between
0 and 1 that the encoder reads from statistics of the pixels and the file says in a byte.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from dqcodec.models.decoder import Decoder

FULL = 1.6  # enlargement of a sharp picture that stands for an amount of 1
BANDS = 4  # octaves of the picture that are looked at
QUANTILES = (0.25, 0.5, 0.75, 0.9, 0.97, 0.995)
MIDDLE, WINDOW = 2048, 128  # pixels along a side that are looked at, and of a window
SHARPER = 0.35  # share of the windows that are sharper than what counts
STATISTICS = 1 + BANDS * len(QUANTILES)
_LUMA = (0.299, 0.587, 0.114)
_BINOMIAL = (0.0625, 0.25, 0.375, 0.25, 0.0625)
_FINE, _MOST = 8, 1024  # steps of a level, and their number, of the histograms that give quantiles


def amount_of(enlargement: float) -> float:
    """The amount, 0..1, for a picture that is `enlargement` >= 1 times as large as where it would be sharp."""
    return min(1.0, (enlargement - 1) / (FULL - 1))


def statistics(picture: Tensor) -> Tensor:
    """Statistics (STATISTICS,) float32 of a picture (3, H, W) in 0..255, both sides at least 16: a 1, and for each
    octave of its luma (a Laplacian pyramid, Burt and Adelson 1983) the logarithms of quantiles of its magnitudes."""
    luma = picture.float().movedim(0, 2) @ picture.new_tensor(_LUMA, dtype=torch.float32)  # (H, W)
    taps = luma.new_tensor(_BINOMIAL)
    kernel = torch.outer(taps, taps)[None, None]
    found, y = [luma.new_ones(1)], luma[None, None]
    for _ in range(BANDS):
        blurred = F.conv2d(F.pad(y, (2, 2, 2, 2), mode="replicate"), kernel)
        steps = ((y - blurred).abs() * _FINE).round().clamp(max=_MOST - 1).flatten().long()
        share = torch.bincount(steps, minlength=_MOST).cumsum(0) / steps.numel()
        levels = torch.searchsorted(share, share.new_tensor(QUANTILES)) / _FINE
        found.append(torch.log(levels + 0.25))
        y = blurred[..., ::2, ::2]
    return torch.cat(found)


class Softness(nn.Module):
    """Additions to the parameters of `decoder`, and the weights that an amount is read with.

    rank: of the additions to kernels; those to all other parameters are whole.
    Kernels (O, I, h, w) get b (O, r) times a (r, I h w); b starts at zero.
    """

    def __init__(self, decoder: Decoder, rank: int):
        super().__init__()
        self.rank = rank
        self.add = nn.ParameterDict()
        for name, value in decoder.named_parameters():
            if value.ndim < 4:
                self.add[_key(name)] = torch.zeros_like(value)
                continue
            rows, columns = len(value), value[0].numel()
            r = min(rank, rows, columns)
            self.add[_key(name) + "/a"] = torch.randn(r, columns) / math.sqrt(columns)
            self.add[_key(name) + "/b"] = torch.zeros(rows, r)
        self.register_buffer("reading", torch.zeros(STATISTICS))

    def parameters_of(self, decoder: Decoder, amount: float) -> dict[str, Tensor]:
        """The parameters of `decoder` with `amount` of what is added."""
        return {name: value + amount * self._addition(name, value) for name, value in decoder.named_parameters()}

    def _addition(self, name: str, value: Tensor) -> Tensor:
        key = _key(name)
        if value.ndim < 4:
            return self.add[key]
        return (self.add[key + "/b"] @ self.add[key + "/a"]).view(value.shape)

    def decode(self, decoder: Decoder, amount: float, *inputs) -> Tensor:
        """What `decoder` adapted by `amount` makes of its inputs, with gradients for what is added."""
        return functional_call(decoder, self.parameters_of(decoder, amount), inputs)

    @torch.no_grad()
    def adapted(self, decoder: Decoder, amount: float) -> Decoder:
        """A decoder of its own, `decoder` adapted by `amount`; a negative amount takes back what was added."""
        self.to(next(decoder.parameters()).device)
        found = copy.deepcopy(decoder)
        found.load_state_dict(self.parameters_of(decoder, amount))
        return found

    @torch.no_grad()
    def amount(self, picture: Tensor) -> float:
        """The amount, 0..1, for a picture (3, H, W) in 0..255, of large ones by their middle; pictures with a side
        below 16 pixels get 0.

        It is that of a window which a third of the windows are sharper than: what is blurred in a sharp picture, a
        sky or what lies out of focus, does not make it soft.
        """
        if min(picture.shape[1:]) < 16:
            return 0.0
        top, left = (max(0, side - MIDDLE) // 2 for side in picture.shape[1:])
        picture = picture[:, top : top + MIDDLE, left : left + MIDDLE]
        tops, lefts = (_starts(side) for side in picture.shape[1:])
        windows = [picture[:, y : y + WINDOW, x : x + WINDOW] for y in tops for x in lefts]
        read = torch.stack([statistics(window) for window in windows]) @ self.reading.to(picture.device)  # (windows,)
        return float(read.quantile(SHARPER).clamp(0, 1))


def _starts(side: int) -> list[int]:
    """Where windows along a side of `side` pixels start, from edge to edge."""
    count = max(1, round(side / WINDOW))
    return [i * max(0, side - WINDOW) // max(1, count - 1) for i in range(count)]


def _key(name: str) -> str:
    return name.replace(".", "-")  # a ParameterDict has no names with dots
