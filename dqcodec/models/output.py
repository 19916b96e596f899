"""What every autoencoder of this package returns to the trainer."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class AutoencoderOutput:
    """One forward pass in training.

    reconstruction: (B, 3, H, W) in about [-1, 1].
    commitment_loss: scalar, unweighted.
    auxiliary_loss: scalar, already weighted (budget loss of the paper's router).
    levels: (B, Hr, Wr) int64, level (or grain) of each region, 0 = coarse.
    bits: (B,) raw bits of the codes, log2 K each, map not counted.
    predicted_distortion: (B, L, Hr, Wr) or None, the gain router's estimate for every level.
    target: (B, 3, H, W), what the reconstruction should be; None for the picture that went in.
    metrics: figures worth logging, e.g. codebook perplexity.
    """

    reconstruction: Tensor
    commitment_loss: Tensor
    auxiliary_loss: Tensor
    levels: Tensor
    bits: Tensor
    predicted_distortion: Tensor | None = None
    target: Tensor | None = None
    metrics: dict[str, Tensor | float] = field(default_factory=dict)
