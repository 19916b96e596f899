"""The prior as the entropy model of the bitstream."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from dqcodec.bitstream.code_model import Known
from dqcodec.bitstream.tokens import Ladder
from dqcodec.prior.integer_network import IntegerNetwork
from dqcodec.prior.probabilities import code_frequencies, map_frequencies
from dqcodec.prior.state import ImageState


class PriorModel:
    """CodeModel of a DQ-Transformer. fingerprint: 4 bytes, of codebooks and prior."""

    def __init__(self, network: IntegerNetwork, fingerprint: bytes):
        self.network, self.fingerprint = network, fingerprint

    @property
    def ladder(self) -> Ladder:
        return self.network.config.ladder

    def state(self, known: Known) -> ImageState:
        """The state of the image that `known` is about, made at the first call."""
        if known.scratch is None:
            known.scratch = ImageState(self.network, known)
        return known.scratch

    def map_model(self) -> PriorMap:
        return PriorMap(self)

    def groups(self, step: int, known: Known) -> list[np.ndarray]:
        state = self.state(known)
        with torch.inference_mode():
            found = state.begin_step(step)
        state.adaptation = self.network.code_adaptation(step)
        return found

    def frequencies(self, step: int, group: int, known: Known) -> np.ndarray:
        """Frequencies of a group; the groups of a step must be asked for one after another."""
        state = self.state(known)
        with torch.inference_mode():
            z = state.logits(group)
            if state.adaptation is None:
                return code_frequencies(z, self.network.exp_table)
            if group:
                before = state.groups()[group - 1]
                state.adaptation.count(known.codes[step].reshape(-1)[before])
            bias = torch.from_numpy(state.adaptation.next_bias()).to(z.device, z.dtype)
            f = code_frequencies(z + bias, self.network.exp_table)
        state.adaptation.expect(f)
        return f


class PriorMap:
    """MapModel of a DQ-Transformer: four turns, each seeing the bits of those before it."""

    def __init__(self, model: PriorModel):
        self.model = model

    def batches(self, step: int, known: Known) -> Iterable[np.ndarray]:
        self.adaptation = self.model.network.map_adaptation()
        with torch.inference_mode():
            return self.model.state(known).map_turns(step)

    def frequencies(self, step: int, regions: np.ndarray, known: Known) -> np.ndarray:
        table = self.model.network.map_table
        with torch.inference_mode():
            z = self.model.state(known).map_logits(step, regions)
            if self.adaptation is None:
                return map_frequencies(z, table)
            bias = self.adaptation.bias()
            self.adaptation.expect(map_frequencies(z, table))
            return map_frequencies(z + bias, table)

    def update(self, step: int, regions: np.ndarray, bits: np.ndarray) -> None:
        if self.adaptation is not None:
            self.adaptation.count(bits)
