"""A small DQ-VAE that learns from a large one: the same tokens, and the same pictures of them.

Hinton et al., "Distilling the knowledge in a neural network", 2015; matching hidden values as in Romero et al.,
"FitNets", ICLR 2015. Student and teacher share codebooks and predictors, so that latents near the teacher's become its
codes, and either decodes the other's files. The decoder's noise is a function of place, so that a student can learn
the teacher's texture, which no picture that went in could teach by its pixels.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dqcodec.errors import ConfigError, DataError
from dqcodec.models.decoder import random_origins
from dqcodec.models.dqvae import DQVAE
from dqcodec.models.output import AutoencoderOutput
from dqcodec.models.sampling import sample_levels
from dqcodec.training.config import DistilConfig
from dqcodec.weights.model_file import Model


def load_teacher(path: Path | None) -> DQVAE:
    """The networks of the model file `path`, its dial where it stands; raises DataError without a file."""
    if path is None:
        raise DataError("a config with a section distil needs a teacher: give --teacher MODEL.safetensors")
    loaded = Model.read(path)
    if not loaded.encodes:
        raise DataError(f"{path}: this model decodes only; a teacher must encode as well")
    return loaded.vae


class Distilled(nn.Module):
    """A training pass of `student` beside `teacher`, whose codebooks and predictors it takes over at once.

    forward: x (B, 3, H, W) in [-1, 1] -> AutoencoderOutput, the distances to the teacher in auxiliary_loss. The
    router learns from the teacher's and not by regression, so predicted_distortion is None. Raises ConfigError if
    the ladders differ.
    """

    def __init__(self, student: DQVAE, teacher: DQVAE, config: DistilConfig):
        super().__init__()
        if not isinstance(student, DQVAE) or student.ladder != teacher.ladder:
            raise ConfigError("distil: student and teacher must be codecs with the same ladder")
        if any(p.requires_grad for p in student.quantizer.parameters()):
            raise ConfigError("distil: the quantizer is the teacher's; name the networks to learn in train_only")
        self.student, self.teacher, self.config = student, teacher.requires_grad_(False).eval(), config
        student.quantizer.load_state_dict(teacher.quantizer.state_dict())

    def forward(self, x: Tensor, step: int = 0) -> AutoencoderOutput:
        student, teacher, c = self.student, self.teacher, self.config
        origins = random_origins(len(x), x.device)
        with torch.no_grad():
            wanted, codes, distortion = teacher.analyse(x)
            levels = sample_levels(distortion, student.level_bits)
            given = student.quantizer.values(codes.partial, None, levels)
            target = teacher.decoder(given, levels, origins).float().clamp(-1, 1) if c.target == "teacher" else None
        latents, q, guess = student.analyse(x)
        own = student.quantizer.values(q.partial, latents, levels)
        by_teacher = torch.rand(len(x), 1, 1, 1, device=x.device) < c.tokens
        values = {f: torch.where(by_teacher, given[f], v) for f, v in own.items()}
        gap = sum(F.mse_loss(latents[f].float(), wanted[f].float()) for f in latents)
        router = F.mse_loss(guess, distortion)
        metrics = {"latents": gap.detach(), "router": router.detach()}
        for s, (mine, its) in enumerate(zip(q.codes, codes.codes, strict=True)):
            metrics[f"same_codes_{s}"] = (mine == its).float().mean()
        return AutoencoderOutput(
            reconstruction=student.decoder(values, levels, origins),
            commitment_loss=student.quantizer.commitment(q, levels),
            auxiliary_loss=c.latents * gap + c.router * router,
            levels=levels,
            bits=student.level_bits[levels].sum((1, 2)),
            target=target,
            metrics=metrics,
        )
