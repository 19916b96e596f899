"""Training of what a frozen decoder lacks for soft pictures.

Imports only torch, numpy, pillow and safetensors. A run is a pure function of its config, data and model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dqcodec.errors import ConfigError, DataError
from dqcodec.models.decoder import random_origins
from dqcodec.models.dqvae import DQVAE
from dqcodec.models.sampling import sample_levels
from dqcodec.models.softness import Softness, amount_of
from dqcodec.training.picture_trainer import PictureTrainer
from dqcodec.training.soft_config import SoftTrainConfig
from dqcodec.training.soft_views import soft_view
from dqcodec.weights import soft_file
from dqcodec.weights.model_file import Model

VALID_ENLARGEMENT = 1.5


@dataclass(frozen=True)
class SoftFolders:
    """Where a run reads and writes. model: model file whose decoder of the least distortion is adapted; init: file of
    the softness of an earlier state of that decoder, to go on from; valid may be None."""

    model: Path
    data: tuple[Path, ...]
    out: Path
    valid: Path | None = None
    metric_weights: Path | None = None
    init: Path | None = None


def plain_vae(path: Path) -> DQVAE:
    """The networks of a model file, its dial at the least distortion, frozen. Raises DataError if it decodes only."""
    loaded = Model.read(path)
    if not loaded.encodes:
        raise DataError(f"{path}: this model decodes only; softness is trained on what a model encodes itself")
    return loaded.plain.vae.requires_grad_(False)


class SoftTrainer(PictureTrainer):
    """A run of what a decoder lacks for soft pictures."""

    KIND = "softness"

    def __init__(self, config: SoftTrainConfig, folders: SoftFolders, device: str = "cpu", resume: bool = False):
        super().__init__(config, folders, device, resume)
        self.vae = plain_vae(folders.model).to(self.device, memory_format=torch.channels_last)
        softness = Softness(self.vae.decoder, config.rank)
        if folders.init is not None and not resume:
            softness = soft_file.read_for_any(folders.init, self.vae)
            if softness.rank != config.rank:
                raise ConfigError(f"{folders.init}: of rank {softness.rank}, but the config says {config.rank}")
        self._begin(softness.to(self.device), config.rank, resume)

    def _decode(self, x: Tensor) -> tuple[Tensor, Tensor, dict[str, float]]:
        least, most = self.config.enlargements
        enlargement = least + (most - least) * float(torch.rand(()))
        x = self._soft(x, enlargement)
        decoded = self.model.decode(self.vae.decoder, amount_of(enlargement), *self._tokens(x),
                                    random_origins(len(x), x.device))
        return x, decoded, {}

    def _soft(self, x: Tensor, enlargement: float) -> Tensor:
        return soft_view(x.to(self.device), enlargement).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def _tokens(self, x: Tensor) -> tuple[dict[int, Tensor], Tensor]:
        """What the decoder gets of x (B, 3, H, W), at random levels."""
        _, q, distortion = self.vae.analyse(x)
        levels = sample_levels(distortion, self.vae.level_bits)
        return self.vae.quantizer.values(q.partial, None, levels), levels

    def _shown(self, model: Softness, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Soft views at random levels, without and with what is added."""
        x = self._soft(x, VALID_ENLARGEMENT)
        values, levels = self._tokens(x)
        amounts = {"base": 0.0, "soft": amount_of(VALID_ENLARGEMENT)}
        return x, {name: model.decode(self.vae.decoder, amount, values, levels, (0, 0))
                   for name, amount in amounts.items()}
