"""Codes that answer what the decoder makes of them.

The encoder decodes what it is about to send, looks at it, and moves each latent by a part of the difference between
what it sees in the picture and in the decoded one: the closed loop of differential coding (Cutler 1952) around a
learned transform. No network is trained for it, a file stays what it was, and a round costs a decode and an encode.
Clouds are errors that it looks at through a magnifying glass (clouds.py).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from dqcodec import clouds, networks
from dqcodec.models.dqvae import DQVAE
from dqcodec.networks import Analysis
from dqcodec.rate import tokens_at

# Rounds and the part of the difference that a round takes, and the share of it that the coarsest grain takes, whose
# codes are most of a small file: chosen on validation pictures (docs/experiments.md, section 2).
FAST, BEST = (1, 0.2), (4, 0.1)
COARSEST = 0.5


def corrected(vae: DQVAE, pixels: np.ndarray, analysis: Analysis, levels: np.ndarray, device: torch.device,
              rounds: int, gain: float, shown: np.ndarray | None = None) -> Analysis:
    """The analysis of pixels (H, W, 3) uint8 with latents and codes corrected for a file of about `levels` (rows, cols)
    uint8.

    vae: with the decoder that will show the file. shown: what it shows before the first round, if that is at hand.
    """
    found = analysis
    gains = [np.float32(gain * (1 if grain else COARSEST)) for grain in range(len(analysis.latents))]
    for _ in range(rounds):
        if shown is None:
            shown = networks.synthesise(vae, tokens_at(found, levels), device)
        seen, shown = networks.latents_of(vae, clouds.exaggerated(shown, pixels), device), None
        latents = tuple(y + part * (wanted - back) for part, y, wanted, back
                        in zip(gains, found.latents, analysis.latents, seen, strict=True))
        found = replace(found, latents=latents, codes=networks.quantise(vae, latents, device))
    return found
