"""The dial between two decoders of the same tokens: before adversarial training and after it.

A straight line between the weights of a network and of its fine-tuned copy runs through networks that trade
distortion for realism (Wang et al., "Deep Network Interpolation", CVPR 2019; Blau and Michaeli, "The
Perception-Distortion Tradeoff", CVPR 2018). A model file holds the first decoder and, in 4 bits, what the second adds.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dqcodec.errors import DqError
from dqcodec.models.dqvae import DQVAE
from dqcodec.weights.few_bits import packed_small, unpacked

DECODER = "decoder."
REALISM = "realism."


def dial_tensors(plain: dict[str, Tensor], real: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Tensors of a model file that lead from one decoder to the other.

    plain, real: states of a DQVAE. The difference of their decoders, as few_bits.py packs it.
    """
    deltas = {name: (value.float() - plain[name].float()).cpu().numpy() for name, value in real.items()
              if name.startswith(DECODER)}
    return packed_small(deltas, REALISM)


@dataclass(frozen=True, eq=False)
class Dial:
    """plain: weights of the decoder at 0, by name without "decoder.". delta: what is added to reach 1.
    default: where the dial stands unless it is turned, 0..1."""

    plain: dict[str, Tensor]
    delta: dict[str, Tensor]
    default: float

    @classmethod
    def read(cls, tensors: dict[str, np.ndarray], plain: dict[str, Tensor], default: float) -> Dial:
        """From what `dial_tensors` gave and the state `plain` of a DQVAE; raises ValueError, KeyError if unfit."""
        if not 0 <= default <= 1:
            raise ValueError(f"realism {default} is outside 0..1")
        before = {k.removeprefix(DECODER): v for k, v in plain.items() if k.startswith(DECODER)}
        found = unpacked(tensors, REALISM + DECODER)
        return cls(before, {name: torch.from_numpy(found[name]).view(v.shape) for name, v in before.items()}, default)

    def turn(self, vae: DQVAE, realism: float) -> DQVAE:
        """`vae` with the decoder at `realism`, 0..1; the rest is shared. Raises DqError outside of 0..1."""
        if not 0 <= realism <= 1:
            raise DqError(f"realism {realism} is outside 0..1")
        turned = copy.copy(vae)
        turned._modules = dict(vae._modules)
        turned.decoder = copy.deepcopy(vae.decoder)
        turned.decoder.load_state_dict({k: v + realism * self.delta[k] for k, v in self.plain.items()})
        return turned
