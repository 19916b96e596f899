"""What trainings have in common whose network makes pictures on top of frozen ones, by L1 + LPIPS-VGG.

Imports only torch, numpy, pillow and safetensors.
"""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dqcodec.errors import DataError
from dqcodec.models.perceptual import LpipsVgg, random_patch
from dqcodec.models.precision import autocast
from dqcodec.training import checkpoint
from dqcodec.training.data import Batches, Pictures
from dqcodec.training.ema import WeightAverage
from dqcodec.training.log import CsvLog
from dqcodec.training.loop import Loop
from dqcodec.training.optimisers import Optimiser
from dqcodec.training.resident import ResidentBatches
from dqcodec.training.schedule import learning_rate
from dqcodec.training.validate import load_crops

VALID_SEED = 20_000_003
VALID_BATCH = 4


class PictureTrainer(Loop, ABC):
    """Base of a trainer, which brings KIND, _decode and _shown, and calls _begin with its network.

    config: also loss, optim, data and seed. folders: out, data, valid and metric_weights; the last two may be None.
    KIND: key in checkpoints that says what was trained. A run is one process; `run()` trains to the end or until
    `should_stop()`.
    """

    KIND: str

    def __init__(self, config, folders, device: str, resume: bool):
        self.config, self.folders, self.device = config, folders, torch.device(device)
        if not resume and (folders.out / checkpoint.NAME).exists():
            raise DataError(f"{folders.out}: already holds a run; add --resume to go on, or choose another --out")
        if config.loss.lpips_vgg and folders.metric_weights is None:
            raise DataError("LPIPS-VGG needs its weights: give --metric-weights DIR or set loss.lpips_vgg to 0")
        torch.manual_seed(config.seed)

    def _begin(self, model: nn.Module, shape: object, resume: bool, hidden: Callable[[str], bool] = lambda name: False,
               start: Callable[[], None] = lambda: None) -> None:
        """Take up the run. shape: what a checkpoint says of the network. hidden: as Optimiser wants it. start: done
        first in a run that is not resumed."""
        c, folders = self.config, self.folders
        self.model, self.shape = model, shape
        self.lpips = None
        if c.loss.lpips_vgg:
            self.lpips = LpipsVgg(folders.metric_weights).to(self.device, memory_format=torch.channels_last)
        kind = ResidentBatches if self.device.type == "cuda" else Batches
        extra = (self.device,) if self.device.type == "cuda" else ()
        self.batches = kind(Pictures(list(folders.data)), c.data, c.seed, 0, 1, *extra)
        self.optimiser = Optimiser(model.named_parameters(), c.optim, hidden)
        self.step, self.elapsed = 0, 0.0
        state = checkpoint.load(folders.out, self.device) if resume else None
        if state is None:
            start()
        else:
            model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.elapsed = state["step"], state["elapsed"]
        self.average = WeightAverage(model, c.optim.ema_decay)
        if state is not None:
            self.average.state, self.average.updates = state["ema"], state["ema_updates"]
        self.crops = load_crops(folders.valid) if folders.valid is not None else None
        self.log = CsvLog(folders.out / "log.csv", self.step if resume else None)
        self.valid_log = CsvLog(folders.out / "valid.csv", self.step + 1 if resume else None)

    @abstractmethod
    def _decode(self, x: Tensor) -> tuple[Tensor, Tensor, dict[str, float]]:
        """(what to reach, what the network makes, figures for the log) of a batch x (B, 3, H, W), called under
        autocast."""

    @abstractmethod
    def _shown(self, model: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(what to reach, pictures by name) of validation crops x with averaged weights, called under autocast."""

    def save(self) -> None:
        """Write the checkpoint of the state after `self.step` steps."""
        checkpoint.save(self.folders.out, {
            "config": self.config.to_dict(),
            self.KIND: self.shape,
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
        self.model.train()
        with autocast(self.device):
            wanted, decoded, more = self._decode(self.batches(self.step))
            l1 = (decoded - wanted).abs().mean()
            loss, figures = c.loss.l1 * l1, {"l1": l1.item()}
            if self.lpips is not None:
                place = random_patch(wanted, c.loss.lpips_crop)
                distance = self.lpips(decoded[place], wanted[place]).mean()
                loss, figures["lpips_vgg"] = loss + c.loss.lpips_vgg * distance, distance.item()
        self.optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), c.optim.grad_clip)
        if torch.isfinite(norm):  # one bad batch must not poison the weights
            self.optimiser.step()
        self.average.update(self.model)
        images = c.data.batch / max(1e-9, time.monotonic() - start)
        return {"img_s": round(images, 2), "lr": rate, "loss": loss.item(), **figures, **more,
                "grad_norm": float(norm)}

    @torch.no_grad()
    def _look(self) -> None:
        """PSNR and LPIPS-VGG of the pictures of `_shown`, means over the validation crops."""
        if self.crops is None:
            return
        model = copy.deepcopy(self.model)
        model.load_state_dict(self.average.state)
        figures: dict[str, list[float]] = {}
        torch.manual_seed(VALID_SEED)
        for x in self.crops.split(VALID_BATCH):
            with autocast(self.device):
                wanted, pictures = self._shown(model, x)
                for name, picture in pictures.items():
                    picture = picture.float().clamp(-1, 1)
                    mse = (picture - wanted).square().mean((1, 2, 3)) / 4
                    figures.setdefault(f"psnr_{name}", []).append(float((-10 * mse.log10()).mean()))
                    if self.lpips is not None:
                        figures.setdefault(f"lpips_vgg_{name}", []).append(float(self.lpips(picture, wanted).mean()))
        row: dict[str, float] = {"step": self.step, "hours": round(self.elapsed / 3600, 4)}
        self.valid_log.write(row | {k: sum(v) / len(v) for k, v in figures.items()})
