"""Training of what a frozen decoder lacks for soft pictures.

Imports only torch, numpy, pillow and safetensors. A run is a pure function of its config, data and model.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dqcodec.errors import DataError
from dqcodec.models.decoder import random_origins
from dqcodec.models.dqvae import DQVAE
from dqcodec.models.sampling import sample_levels
from dqcodec.models.softness import Softness, amount_of
from dqcodec.training import checkpoint
from dqcodec.training.data import Batches, Pictures
from dqcodec.training.ema import WeightAverage
from dqcodec.training.log import CsvLog
from dqcodec.training.loop import Loop
from dqcodec.training.optimisers import Optimiser
from dqcodec.training.perceptual import LpipsVgg, random_patch
from dqcodec.training.resident import ResidentBatches
from dqcodec.training.schedule import learning_rate
from dqcodec.training.soft_config import SoftTrainConfig
from dqcodec.training.soft_views import soft_view
from dqcodec.training.validate import load_crops
from dqcodec.weights.model_file import Model

VALID_SEED, VALID_ENLARGEMENT = 20_000_003, 1.5


@dataclass(frozen=True)
class SoftFolders:
    """Where a run reads and writes. model: model file whose decoder of the least distortion is adapted; valid may be
    None."""

    model: Path
    data: tuple[Path, ...]
    out: Path
    valid: Path | None = None
    metric_weights: Path | None = None


def plain_vae(path: Path) -> DQVAE:
    """The networks of a model file, its dial at the least distortion, frozen. Raises DataError if it decodes only."""
    loaded = Model.read(path)
    if not loaded.encodes:
        raise DataError(f"{path}: this model decodes only; softness is trained on what a model encodes itself")
    return loaded.plain.vae.requires_grad_(False)


class SoftTrainer(Loop):
    """One run in one process. `run()` trains to the end or until `should_stop()`."""

    def __init__(self, config: SoftTrainConfig, folders: SoftFolders, device: str = "cpu", resume: bool = False):
        self.config, self.folders, self.device = config, folders, torch.device(device)
        if not resume and (folders.out / checkpoint.NAME).exists():
            raise DataError(f"{folders.out}: already holds a run; add --resume to go on, or choose another --out")
        if config.loss.lpips_vgg and folders.metric_weights is None:
            raise DataError("LPIPS-VGG needs its weights: give --metric-weights DIR or set loss.lpips_vgg to 0")
        torch.manual_seed(config.seed)
        self.vae = plain_vae(folders.model).to(self.device, memory_format=torch.channels_last)
        self.model = Softness(self.vae.decoder, config.rank).to(self.device)
        self.lpips = None
        if config.loss.lpips_vgg:
            self.lpips = LpipsVgg(folders.metric_weights).to(self.device, memory_format=torch.channels_last)
        pictures = Pictures(list(folders.data))
        kind = ResidentBatches if self.device.type == "cuda" else Batches
        extra = (self.device,) if self.device.type == "cuda" else ()
        self.batches = kind(pictures, config.data, config.seed, 0, 1, *extra)
        self.optimiser = Optimiser(self.model.add.named_parameters(), config.optim)
        self.average = WeightAverage(self.model, config.optim.ema_decay)
        self.step, self.elapsed = 0, 0.0
        if resume:
            state = checkpoint.load(folders.out, self.device)
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.average.state, self.average.updates = state["ema"], state["ema_updates"]
            self.step, self.elapsed = state["step"], state["elapsed"]
        self.crops = load_crops(folders.valid) if folders.valid is not None else None
        self.log = CsvLog(folders.out / "log.csv", self.step if resume else None)
        self.valid_log = CsvLog(folders.out / "valid.csv", self.step + 1 if resume else None)

    def save(self) -> None:
        """Write the checkpoint of the state after `self.step` steps."""
        checkpoint.save(self.folders.out, {
            "config": self.config.to_dict(),
            "softness": self.config.rank,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "ema": self.average.state,
            "ema_updates": self.average.updates,
            "step": self.step,
            "elapsed": self.elapsed,
        })

    def _one_step(self) -> dict:
        start = time.monotonic()
        c = self.config
        torch.manual_seed(c.seed * 1_000_003 + self.step)
        rate = learning_rate(c.optim, self.step, self.progress)
        self.optimiser.set_rate(rate)
        least, most = c.enlargements
        enlargement = least + (most - least) * float(torch.rand(()))
        x = self._soft(self.batches(self.step), enlargement)
        values, levels = self._tokens(x)
        with torch.autocast(self.device.type, torch.bfloat16):
            decoded = self.model.decode(self.vae.decoder, amount_of(enlargement), values, levels,
                                        random_origins(len(x), x.device))
            l1 = (decoded - x).abs().mean()
            loss, figures = c.loss.l1 * l1, {"l1": l1.item()}
            if self.lpips is not None:
                place = random_patch(x, c.loss.lpips_crop)
                distance = self.lpips(decoded[place], x[place]).mean()
                loss, figures["lpips_vgg"] = loss + c.loss.lpips_vgg * distance, distance.item()
        self.optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.add.parameters(), c.optim.grad_clip)
        if torch.isfinite(norm):  # one bad batch must not poison the weights
            self.optimiser.step()
        self.average.update(self.model)
        images = c.data.batch / max(1e-9, time.monotonic() - start)
        return {"img_s": round(images, 2), "lr": rate, "loss": loss.item(), **figures, "grad_norm": float(norm)}

    def _soft(self, x: Tensor, enlargement: float) -> Tensor:
        return soft_view(x.to(self.device), enlargement).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def _tokens(self, x: Tensor) -> tuple[dict[int, Tensor], Tensor]:
        """What the decoder gets of x (B, 3, H, W), at random levels."""
        with torch.autocast(self.device.type, torch.bfloat16):
            _, q, distortion = self.vae.analyse(x)
            levels = sample_levels(distortion, self.vae.level_bits)
            return self.vae.quantizer.values(q.partial, None, levels), levels

    @torch.no_grad()
    def _look(self) -> None:
        """PSNR and LPIPS-VGG of soft views of validation crops at random levels, without and with what is added."""
        if self.crops is None:
            return
        model = Softness(self.vae.decoder, self.config.rank).to(self.device)
        model.load_state_dict(self.average.state)
        row: dict[str, float] = {"step": self.step, "hours": round(self.elapsed / 3600, 4)}
        figures: dict[str, list[float]] = {}
        torch.manual_seed(VALID_SEED)
        for crops in self.crops.split(4):
            x = self._soft(crops, VALID_ENLARGEMENT)
            values, levels = self._tokens(x)
            with torch.autocast(self.device.type, torch.bfloat16):
                for name, amount in (("base", 0.0), ("soft", amount_of(VALID_ENLARGEMENT))):
                    picture = model.decode(self.vae.decoder, amount, values, levels, (0, 0)).float().clamp(-1, 1)
                    mse = (picture - x).square().mean((1, 2, 3)) / 4
                    figures.setdefault(f"psnr_{name}", []).append(float((-10 * mse.log10()).mean()))
                    if self.lpips is not None:
                        figures.setdefault(f"lpips_vgg_{name}", []).append(float(self.lpips(picture, x).mean()))
        self.valid_log.write(row | {k: sum(v) / len(v) for k, v in figures.items()})
