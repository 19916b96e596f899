"""The training loop of both DQ-VAE modes.

Imports only torch, numpy, pillow and safetensors, so that it runs on a bare GPU machine. A run is
a pure function of its config, data and the number of processes: batches, level maps and noise are
drawn from (seed, step), so stopping and resuming changes nothing.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dqcodec.errors import ConfigError, DataError
from dqcodec.models.perceptual import LpipsVgg
from dqcodec.models.precision import autocast
from dqcodec.training import checkpoint, parallel
from dqcodec.training.adversarial import Adversary
from dqcodec.training.captured import WARM, CapturedStep
from dqcodec.training.config import TrainConfig
from dqcodec.training.data import Batches, Pictures
from dqcodec.training.distil import Distilled, load_teacher
from dqcodec.training.ema import WeightAverage
from dqcodec.training.log import CsvLog, contact_sheet
from dqcodec.training.loop import Loop
from dqcodec.training.objective import Objective
from dqcodec.training.optimisers import Optimiser
from dqcodec.training.resident import ResidentBatches
from dqcodec.training.schedule import learning_rate
from dqcodec.training.validate import load_crops, validate


@dataclass(frozen=True)
class RunFolders:
    """Where a run reads and writes. valid and metric_weights may be None (no validation, no LPIPS)."""

    data: tuple[Path, ...]
    out: Path
    valid: Path | None = None
    metric_weights: Path | None = None


def build_model(config: TrainConfig) -> nn.Module:
    """The model that `config.mode` and `config.model` describe."""
    try:
        if config.mode == "paper":
            from dqcodec.models.paper.config import PaperConfig
            from dqcodec.models.paper.dqvae import PaperDQVAE

            return PaperDQVAE(PaperConfig.from_dict(config.model))
        from dqcodec.models.config import CodecConfig
        from dqcodec.models.dqvae import DQVAE

        return DQVAE(CodecConfig.from_dict(config.model))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"section model: {error}") from error


def _is_hidden(name: str) -> bool:
    """Whether a parameter of the codec's networks lies between hidden values."""
    return name.endswith(".weight") and any(part in name for part in (".stages.", ".ups.", ".inputs.", ".refine."))


class Trainer(Loop):
    """One run. `run()` trains to the end of its schedule or until `should_stop()`."""

    def __init__(self, config: TrainConfig, folders: RunFolders, device: str = "cpu", resume: bool = False,
                 init: Path | None = None, teacher: Path | None = None):
        self.config, self.folders = config, folders
        self.rank, self.world, self.device = parallel.start(device)
        torch.manual_seed(config.seed)
        if not resume and (folders.out / checkpoint.NAME).exists():
            raise DataError(f"{folders.out}: already holds a run; add --resume to go on, or choose another --out")
        self.model = build_model(config).to(self.device, memory_format=torch.channels_last)
        if init is not None and not resume:
            real = config.adversarial is not None or config.train_only == ("decoder",)
            state = checkpoint.initial_weights(init, self.device, real)
            # Networks may get noise and residual blocks that they did not have; new blocks start as identity.
            new = ("decoder.noise.", "decoder.stages.", "encoder.stages.")
            fresh = {k: v for k, v in self.model.state_dict().items() if k.startswith(new)}
            self.model.load_state_dict(fresh | state)
        self._freeze()
        forward = self.model
        if config.distil is not None:
            forward = Distilled(self.model, load_teacher(teacher).to(self.device, memory_format=torch.channels_last),
                                config.distil)
        parallel.same_start(self.model)
        lpips = None
        if config.loss.lpips_vgg:
            if folders.metric_weights is None:
                raise DataError("LPIPS-VGG needs its weights: give --metric-weights DIR or set loss.lpips_vgg to 0")
            lpips = LpipsVgg(folders.metric_weights).to(self.device, memory_format=torch.channels_last)
        self.objective = Objective(config.loss, lpips)
        learning = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
        # A codebook that learns asks on its way which codes are dead, and the paper's mode for figures: no graph can.
        frozen = config.mode == "codec" and bool(config.train_only) and "quantizer" not in config.train_only
        self._captured = config.compile and frozen and self.device.type == "cuda" and self.world == 1
        self.optimiser = Optimiser(learning, config.optim, _is_hidden, captured=self._captured)
        self.adversary = self.critic = None
        if config.adversarial is not None:
            self.adversary = Adversary(config.adversarial).to(self.device)
            parallel.same_start(self.adversary)
            self.critic = Optimiser(self.adversary.named_parameters(), config.optim, captured=self._captured)
        self._critic_rate = config.adversarial.rate if config.adversarial is not None else 0.0
        self.average = WeightAverage(self.model, config.optim.ema_decay)
        self.step, self.elapsed = 0, 0.0
        if resume:
            self._restore(checkpoint.load(folders.out, self.device))
        self._marked = self.step, time.monotonic()
        pictures = Pictures(list(folders.data))
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # all batches are of one shape
            self.batches = ResidentBatches(pictures, config.data, config.seed, self.rank, self.world, self.device)
        else:
            self.batches = Batches(pictures, config.data, config.seed, self.rank, self.world)
        self.crops = load_crops(folders.valid) if folders.valid is not None else None
        if self.rank == 0:
            self.log = CsvLog(folders.out / "log.csv", self.step if resume else None)
            self.valid_log = CsvLog(folders.out / "valid.csv", self.step + 1 if resume else None)
        self.forward, self._work = forward, self._learn
        if config.compile:
            self._compile()
            self.warm_up = 1
        if self._captured:
            asked = config.adversarial  # what a step does changes until both have begun
            begun = max(asked.start_step, asked.push_step) - self.step if asked is not None else 0
            self._work = CapturedStep(self._learn, max(begun, 0) + WARM)
            self.warm_up = max(begun, 0) + WARM + 1

    def _compile(self) -> None:
        """Fuse what lies between convolutions in the networks that take the time: memory bounds them on a GPU."""
        networks = [self.model] if self.config.distil is None else [self.model, self.forward.teacher]
        for part in [part for m in networks for name, part in m.named_children() if name in ("encoder", "decoder")]:
            part.compile(dynamic=False)
        for whole in (self.objective.lpips, self.adversary and self.adversary.discriminator):
            if hasattr(whole, "fuse"):
                whole.fuse()

    def _freeze(self) -> None:
        names = self.config.train_only
        if not names:
            return
        children = dict(self.model.named_children())
        if set(names) - set(children):
            raise ConfigError(f"train_only: the model has {', '.join(children)}, not {', '.join(names)}")
        for name, child in children.items():
            child.requires_grad_(name in names)

    def _restore(self, state: dict) -> None:
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.state, self.average.updates = state["ema"], state["ema_updates"]
        self.step, self.elapsed = state["step"], state["elapsed"]
        if self.adversary is not None and state["adversary"] is not None:
            self.adversary.load_state_dict(state["adversary"])
            self.critic.load_state_dict(state["critic"])

    def save(self) -> None:
        """Write the checkpoint of the state after `self.step` steps."""
        if self.rank:
            return
        checkpoint.save(self.folders.out, {
            "config": self.config.to_dict(),
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "ema": self.average.state,
            "ema_updates": self.average.updates,
            "adversary": self.adversary.state_dict() if self.adversary else None,
            "critic": self.critic.state_dict() if self.critic else None,
            "step": self.step,
            "elapsed": self.elapsed,
        })

    def _agree(self, seconds: float) -> float:
        return parallel.agree(seconds, self.device)

    def _one_step(self) -> dict:
        # A seed of its own for each step and rank: resuming repeats nothing and skips nothing.
        torch.manual_seed(self.config.seed * 1_000_003 + self.step * 64 + self.rank)
        rate = learning_rate(self.config.optim, self.step, self.progress)
        self.optimiser.set_rate(rate)
        if self.critic is not None:
            self.critic.set_rate(self._critic_rate * rate)
        x = self.batches(self.step).to(self.device, memory_format=torch.channels_last)
        self._train_mode()
        metrics = self._work(x)
        self.average.update(self.model)
        return {"img_s": self._speed(), "lr": rate, **metrics}

    def _speed(self) -> float:
        """Images a second since the last row of the log. Work is queued, so that one step's time says nothing."""
        done, now = self.step + 1, time.monotonic()
        images = self.config.data.batch * self.world * (done - self._marked[0]) / max(1e-9, now - self._marked[1])
        if done % self.config.log_every == 0:
            self._marked = done, now
        return round(images, 2)

    def _learn(self, x: Tensor) -> dict[str, Tensor | float]:
        """One step of all networks on the batch x; returns figures for the log."""
        with autocast(self.device):
            out = self.forward(x, step=self.step)
            losses = self.objective(x if out.target is None else out.target, out)
        loss, metrics = losses.reconstruction + losses.rest, losses.metrics
        game = self.adversary is not None and self.step >= self.adversary.config.start_step
        if game:
            fake = self.adversary.view(out.reconstruction, losses.decoded)
            real = self.adversary.view(x if out.target is None else out.target, losses.real)
            with autocast(self.device):
                push, more = self.adversary.generator_loss(fake, losses.reconstruction, self.model.last_layer)
            metrics |= more
            if self.step >= self.adversary.config.push_step:
                loss = loss + push
        self.optimiser.zero_grad()
        loss.backward()
        metrics["grad_norm"] = self._update(self.optimiser, self.model.parameters())
        if game:
            with autocast(self.device):
                critic_loss, more = self.adversary.discriminator_loss(real, fake)
            self.critic.zero_grad()
            critic_loss.backward()
            self._update(self.critic, self.adversary.parameters())
            metrics |= more
        return {"loss": loss.detach()} | metrics

    def _train_mode(self) -> None:
        self.model.train()
        for name in self.config.train_only and dict(self.model.named_children()):
            if name not in self.config.train_only:
                getattr(self.model, name).eval()

    def _update(self, optimiser: Optimiser, parameters) -> Tensor:
        parameters = [p for p in parameters if p.requires_grad]
        parallel.average_gradients(parameters)
        norm = nn.utils.clip_grad_norm_(parameters, self.config.optim.grad_clip)
        for p in parameters:  # one bad batch must not poison the weights; to ask whether it is bad would be to wait
            if p.grad is not None:
                p.grad.nan_to_num_(0.0, 0.0, 0.0)
        optimiser.step()
        return norm

    @torch.no_grad()
    def _look(self) -> None:
        """Validation figures and a picture, both from the averaged weights."""
        if self.rank or not hasattr(self.model, "reconstruct"):
            return
        # Other shapes than in training: compiled anew they would take longer than they do as they are.
        eager = torch.compiler.set_stance("force_eager") if self.config.compile else nullcontext()
        with _borrowed(self.model, self.average.state), eager:
            x = self.crops if self.crops is not None else self.batches(self.step)
            if self.crops is not None:
                figures = validate(self.model, self.crops, self.objective.lpips, self.device)
                self.valid_log.write({"step": self.step, "hours": round(self.elapsed / 3600, 4), **figures})
            columns = [x[:4]]
            with autocast(self.device):
                for budget in (0.05, 0.1, 0.3):
                    columns.append(self.model.reconstruct(x[:4].to(self.device), budget)[0])
            contact_sheet(self.folders.out / "reconstructions.png", columns)


class _borrowed(nullcontext):
    """The model with other weights, in evaluation mode, for the length of a with-block."""

    def __init__(self, model: nn.Module, state: dict):
        super().__init__()
        self.model, self.state = model, state

    def __enter__(self):
        self.kept = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.state)
        self.model.eval()

    def __exit__(self, *exc):
        self.model.load_state_dict(self.kept)
        self.model.train()
