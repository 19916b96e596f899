"""A codebook of detail for single patches: entropy-constrained vector quantisation (Chou, Lookabaugh & Gray 1989).

A patch takes the code that saves most squared error for its bits, or none if no code is worth them. What a bit is worth
follows the rate, as in files (rate.py), so that codes are for what few bits can mend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dqcodec.bitstream.frequencies import quantise_counts
from dqcodec.errors import DataError
from dqcodec.models.detail import best_codes, lacking
from dqcodec.training import detail_config
from dqcodec.training.config import DataConfig
from dqcodec.training.data import Batches, Pictures
from dqcodec.training.detail_trainer import FrozenModels, bit_worth, levels_for_patches
from dqcodec.weights import detail_file

ROUNDS, SETTLED = 24, 6  # of clustering, and the last of them in which no code starts again
CROP, BATCH = 256, 8
LEAST_BITS = 6.0  # a patch with less error than this many bits are worth is never coded


@dataclass(frozen=True)
class Lacking:
    """What decoded pictures lack in patches that may have detail: vectors (N, 48), worth (N,) of a bit there."""

    vectors: Tensor
    worth: Tensor


@torch.no_grad()
def collect(frozen: FrozenModels, data: Sequence[Path], crops: int, seed: int) -> Lacking:
    """Patches of random crops as the frozen models decode them at random rates, as far as they may be worth coding."""
    batches = Batches(Pictures(list(data)), DataConfig(crop=CROP, batch=BATCH, grey=0.0), seed=seed)
    vectors, worths = [], []
    for step in range(-(-crops // BATCH)):
        share = torch.rand(BATCH)
        base = frozen(batches(step), step, sample=lambda *what, share=share: levels_for_patches(*what, share))
        found = lacking(base.x, base.shown)  # (B, h, w, 48)
        worth = bit_worth(share)[:, None, None].expand(found.shape[:3])
        kept = (base.present[:, 0] > 0) & (found.square().sum(-1) > LEAST_BITS * worth)
        vectors.append(found[kept])
        worths.append(worth[kept])
    batches.close()
    return Lacking(torch.cat(vectors), torch.cat(worths))


@torch.no_grad()
def cluster(found: Lacking, size: int) -> Tensor:
    """Codebook (size, 48). Raises DataError if there are too few patches."""
    if len(found.vectors) < 8 * size:
        raise DataError(f"{len(found.vectors)} patches are too few for {size} codes: give more crops")
    book = found.vectors[torch.randperm(len(found.vectors))[:size]].clone()
    bits = torch.full((size,), float(np.log2(size)))
    draw = np.random.default_rng(0)  # torch.multinomial takes 2**24 at most
    for turn in range(ROUNDS):
        codes, saved = best_codes(found.vectors, book, bits, found.worth)
        left = (found.vectors - torch.where((saved > 0)[:, None], book[codes], 0)).square().sum(1)  # (N,)
        vectors, codes = found.vectors[saved > 0], codes[saved > 0]
        count = torch.bincount(codes, minlength=size)
        mean = torch.zeros_like(book).index_add_(0, codes, vectors) / count.clamp_min(1)[:, None]
        # Codes that nothing takes start again where much is left, but for the last rounds, in which all settle.
        if turn < ROUNDS - SETTLED:
            start = torch.from_numpy(draw.choice(len(left), size, p=_shares(left).numpy()))
            book = found.vectors[start]
        book = torch.where(count[:, None] > 0, mean, book)
        bits = -_shares(count + 1).log2().float()
    return book


def _shares(amounts: Tensor) -> Tensor:
    amounts = amounts.double()
    return amounts / amounts.sum()


@torch.no_grad()
def make(network: Path, models: Sequence[Path], data: Sequence[Path], output: Path, size: int, crops: int) -> bytes:
    """Write `output`, a file of detail for single patches that the network of the layer file `network` shows; returns
    its fingerprint. models: whose pictures it adds to. Its table is counted on a quarter as many other crops."""
    lender = detail_file.read(network)
    frozen = FrozenModels(models, detail_config.DetailTrainConfig().realism, torch.device("cpu"))
    torch.manual_seed(0)
    book = cluster(collect(frozen, data, crops, seed=2), size).half().float()  # as the file has it
    other = collect(frozen, data, -(-crops // 4), seed=3)
    bits, counts = torch.full((size,), float(np.log2(size))), np.ones(size, np.int64)
    for _ in range(3):  # which code a patch takes depends on the bits, and these on the counts
        codes, saved = best_codes(other.vectors, book, bits, other.worth)
        counts = 1 + np.bincount(codes[saved > 0].numpy(), minlength=size)
        bits = torch.from_numpy(-np.log2(counts / counts.sum())).float()
    config = replace(lender.net.config, codes=size)
    return detail_file.write_book(output, config, book.numpy(), quantise_counts(counts), lender.fingerprint,
                                  {"crops": str(crops)})
