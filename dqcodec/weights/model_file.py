"""A model as a file: networks in 8 bits, codebooks, tables and prior exact, all in one safetensors."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from dqcodec.bitstream.code_model import CodeModel
from dqcodec.bitstream.static_tables import StaticTables
from dqcodec.errors import DqError, UnknownModelError
from dqcodec.models.config import CodecConfig
from dqcodec.models.dqvae import DQVAE
from dqcodec.models.softness import Softness
from dqcodec.prior.code_model import PriorModel
from dqcodec.prior.config import PriorConfig
from dqcodec.prior.integer_network import IntegerNetwork
from dqcodec.weights import soft_file
from dqcodec.weights.fingerprint import PRIOR, TABLES, fingerprint
from dqcodec.weights.loans import decoder_of, read_whole
from dqcodec.weights.realism import REALISM, Dial
from dqcodec.weights.registry import name_of, read_header
from dqcodec.weights.tensor_file import ENCODING, TRAINING_ONLY, write_tensors


@dataclass(frozen=True, eq=False)
class Model:
    """A model ready to use.

    vae: in evaluation mode, float32. tables: frequencies of the codes by themselves, the entropy model of
    models without a prior and a quick estimate of costs in all. prior: the DQ-Transformer, or None.
    cost_ratio: per step, bits of a code under the prior in the mean over bits under its table. dial: between two
    decoders, or None where the model has one. encodes: False for a superseded model without its encoder (slim.retire).
    softness: what adapts the decoder to soft pictures, or None; amount: by how much `vae` is adapted, 0..1.
    """

    name: str
    config: CodecConfig
    vae: DQVAE
    tables: StaticTables
    prior: IntegerNetwork | None = None
    cost_ratio: tuple[float, ...] = ()
    dial: Dial | None = None
    encodes: bool = True
    softness: Softness | None = None
    amount: float = 0.0

    @property
    def entropy(self) -> CodeModel:
        """The entropy model of this model's files."""
        return self.tables if self.prior is None else PriorModel(self.prior, self.fingerprint)

    @property
    def fingerprint(self) -> bytes:
        return self.tables.fingerprint

    def at(self, realism: float | None) -> Model:
        """The same model with its decoder at `realism`, 0 (least distortion) .. 1 (most realistic); None leaves it.

        Raises DqError if the model has one decoder only, or outside of 0..1.
        """
        if realism is None:
            return self
        if self.dial is None:
            raise DqError(f"model {self.name} has one decoder and no realism to choose")
        return replace(self, vae=self.dial.turn(self.vae, realism), amount=0.0).softened(self.amount)

    def softened(self, amount: float) -> Model:
        """The same model with its decoder adapted by `amount`, 0..1, to soft pictures; as it is where it cannot be."""
        if self.softness is None or amount == self.amount:
            return self
        vae = copy.copy(self.vae)
        vae._modules = dict(vae._modules)
        vae.decoder = self.softness.adapted(self.vae.decoder, amount - self.amount)
        return replace(self, vae=vae, amount=amount)

    def share_of_grain(self, realism: float | None) -> float:
        """The part, 0..1, of a file's grain that belongs to `realism`: all of it where the dial stands by itself."""
        if realism is None or self.dial is None or not self.dial.default:
            return 1.0
        return min(1.0, realism / self.dial.default)

    @property
    def plain(self) -> Model:
        """The same model with the decoder of the least distortion."""
        return self if self.dial is None else self.at(0.0)

    @classmethod
    def read(cls, path: Path) -> Model:
        """Read a model file; raises UnknownModelError if it is broken or not what it says it is."""
        header = read_header(path)
        try:
            tensors, header = read_whole(path)
            config = CodecConfig.from_dict(json.loads(header["config"]))
            prior_text = header.get("prior", "")
            computed = fingerprint(_ladder_text(config), tensors, prior_text)
            tables = tuple(tensors.pop(f"{TABLES}{s}") for s in range(len(config.factors)))
            integers = {k.removeprefix(PRIOR): tensors.pop(k) for k in list(tensors) if k.startswith(PRIOR)}
            prior = IntegerNetwork(PriorConfig.from_dict(json.loads(prior_text)), integers) if prior_text else None
            if prior is not None and prior.config.ladder != config.ladder:
                raise ValueError("the prior is of another ladder than the codebooks")
            dial = {k: tensors.pop(k) for k in list(tensors) if k.startswith(REALISM)}
            with torch.random.fork_rng(devices=()):  # loading must not move the caller's random numbers
                vae = DQVAE(config)
            state = {k: torch.from_numpy(v.astype(np.float32)) for k, v in tensors.items()}
            dial = Dial.read(dial, state, float(header["realism"])) if dial else None
            encodes = any(name.startswith(ENCODING) for name in state)
            _fill(vae, state, () if encodes else ENCODING)
            vae.eval()
            if not encodes:
                vae.encoder = vae.router = None  # random weights must not pass for an encoder
            soft = soft_file.path_for(decoder_of(path))
            softness = soft_file.read(soft, vae) if soft.exists() else None
        except UnknownModelError:
            raise
        except Exception as error:
            raise UnknownModelError(f"{path}: broken model file ({str(error).splitlines()[0]})") from error
        if computed.hex() != header["fingerprint"]:
            raise UnknownModelError(f"{path}: codebooks, tables or prior differ from the fingerprint in its header")
        model = cls(name_of(path), config, vae, StaticTables(config.ladder, computed, tables), prior,
                    tuple(json.loads(header.get("cost_ratio", "[]"))), dial, encodes, softness)
        return model.at(dial.default if dial else None)


def write(path: Path, config: CodecConfig, state: dict[str, torch.Tensor], tables: list[np.ndarray],
          notes: dict[str, str], prior: tuple[PriorConfig, dict[str, np.ndarray]] | None = None,
          dial: tuple[float, dict[str, np.ndarray]] | None = None) -> bytes:
    """Write a model file; returns its fingerprint.

    state: of a DQVAE. tables: frequencies (K,) of each step. prior: settings and integers
    (dqcodec.prior.quantised) of a DQ-Transformer on the same ladder. dial: default realism, and the tensors
    (dqcodec.weights.realism) that lead from the decoder of `state` to the other one.
    """
    tensors: dict[str, np.ndarray] = {}
    for name, value in state.items():
        if name.endswith(TRAINING_ONLY):
            continue
        tensors[name] = value.float().cpu().numpy()
    tensors |= {f"{TABLES}{s}": t.astype(np.uint32) for s, t in enumerate(tables)}
    metadata = {"config": json.dumps(config.to_dict()), **notes}
    if prior is not None:
        metadata["prior"] = json.dumps(prior[0].to_dict(), sort_keys=True)
        tensors |= {PRIOR + name: value for name, value in prior[1].items()}
    if dial is not None:
        metadata["realism"] = str(dial[0])
        tensors |= dial[1]
    mark = fingerprint(_ladder_text(config), tensors, metadata.get("prior", ""))
    metadata["fingerprint"] = mark.hex()
    write_tensors(path, tensors, metadata)
    return mark


def _ladder_text(config: CodecConfig) -> str:
    ladder = config.ladder
    return f"{ladder.region}:{','.join(map(str, ladder.factors))}:{','.join(map(str, ladder.codebook_sizes))}"


def _fill(vae: DQVAE, state: dict[str, torch.Tensor], without: tuple[str, ...]) -> None:
    """Load weights; raises ValueError if one is missing that is not only for training nor begins with `without`."""
    missing, unexpected = vae.load_state_dict(state, strict=False)
    lost = [name for name in missing if not name.endswith(TRAINING_ONLY) and not name.startswith(without)]
    if lost or unexpected:
        raise ValueError(f"tensor {(lost + list(unexpected))[0]} missing or unknown")
