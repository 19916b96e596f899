"""Training of the paper's DQ-Transformer on tokens of a frozen paper DQ-VAE, in one process or by torchrun.

Batches, dropped labels and dropout are drawn from (seed, step), so stopping and resuming changes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dqcodec.errors import ConfigError, DataError
from dqcodec.models.precision import autocast
from dqcodec.prior.paper.config import PaperPriorConfig
from dqcodec.prior.paper.network import PaperDQTransformer
from dqcodec.prior.paper.sampling import sample
from dqcodec.prior.paper.sequence import PaperBatch, pack
from dqcodec.training import checkpoint, paper_prior_config, parallel, prior_config
from dqcodec.training.ema import WeightAverage
from dqcodec.training.log import CsvLog, contact_sheet
from dqcodec.training.loop import Loop
from dqcodec.training.optimisers import Optimiser
from dqcodec.training.paper_prior_config import PaperPriorTrainConfig
from dqcodec.training.paper_prior_tokens import PaperTokens, load_or_encode, read_vae
from dqcodec.training.prior_trainer import TOKENS, VALID_TOKENS, PriorFolders, PriorTrainer
from dqcodec.training.schedule import learning_rate

COLUMNS = 4  # pictures in a row of samples.png


def trainer_for(config: str | Path, *args, **options) -> PriorTrainer | PaperPriorTrainer:
    """The trainer of a prior that the config file asks for; arguments as those of PriorTrainer."""
    if paper_prior_config.is_paper(config):
        return PaperPriorTrainer(paper_prior_config.load(config), *args, **options)
    return PriorTrainer(prior_config.load(config), *args, **options)


class PaperPriorBatches:
    """Batches by step number; each process draws its own."""

    def __init__(self, tokens: PaperTokens, config: PaperPriorTrainConfig, prior: PaperPriorConfig, rank: int = 0):
        self.tokens, self.config, self.prior, self.rank = tokens, config, prior, rank

    def __call__(self, step: int) -> PaperBatch:
        rng = np.random.Generator(np.random.Philox(key=[self.config.seed, step * 65536 + self.rank]))
        views = rng.integers(len(self.tokens), size=self.config.batch)
        label = np.where(rng.random(len(views)) < self.config.classless, 0, self.tokens.label[views])
        return pack(self.prior, self.tokens.codes(views), torch.from_numpy(label))

    def close(self) -> None:
        """Nothing is open: packing a batch is too quick to be worth a thread."""


class Costs:
    """Sums of a batch. nats, symbols: (2, G), of positions and of contents, by grain."""

    def __init__(self, batch: PaperBatch, position: Tensor, content: Tensor, config: PaperPriorConfig):
        grain, real = batch.grain[:, :-1], batch.real[:, 1:]  # (B, T)
        coded = batch.content[:, 1:] < config.codebook_size
        nats, symbols = [], []
        for g in range(len(config.grains)):
            own = real & (grain == g)
            nats += [(position * own).sum(), (content * own).sum()]
            symbols += [own.sum(), (own & coded).sum()]  # the end of a grain is a position without content
        self.nats, self.symbols = (torch.stack(row).view(-1, 2).t() for row in (nats, symbols))

    def loss(self, position_weight: float) -> Tensor:
        """The paper's: mean over codes, plus the mean over grains of the means over their positions."""
        content = self.nats[1].sum() / self.symbols[1].sum()
        return content + position_weight * (self.nats[0] / self.symbols[0].clamp_min(1)).mean()


def figures(nats: Tensor, symbols: Tensor, grains: tuple[int, ...]) -> dict[str, float]:
    """Bits per code of the whole likelihood, then per position and per content of each grain."""
    bits = nats.detach().double().cpu() / math.log(2)  # (2, G)
    each = bits / symbols.cpu().clamp_min(1)
    found = {"bits": float(bits.sum() / symbols[1].sum().cpu())}
    for g, grain in enumerate(grains):
        found |= {f"position_f{grain}": float(each[0, g]), f"content_f{grain}": float(each[1, g])}
    return found


class PaperPriorTrainer(Loop):
    """One run. `run()` trains to the end of its schedule or until `should_stop()`."""

    def __init__(self, config: PaperPriorTrainConfig, folders: PriorFolders, device: str = "cpu",
                 resume: bool = False, init: Path | None = None,
                 progress: Callable[[int, int], None] = lambda done, total: None):
        if not resume and (folders.out / checkpoint.NAME).exists():
            raise DataError(f"{folders.out}: already holds a run; add --resume to go on, or choose another --out")
        self.config, self.folders = config, folders
        self.rank, self.world, self.device = parallel.start(device)
        self.vae, self.fingerprint = read_vae(folders.vae)
        try:
            shape = PaperPriorConfig.for_vae(self.vae.config, config.size, **config.model)
        except (TypeError, ConfigError) as error:
            raise ConfigError(f"section model: {error}") from error
        tokens = self._tokens(TOKENS, list(folders.data), config.views, progress)
        self.prior = PaperPriorConfig.from_dict(shape.to_dict() | {"classes": tokens.classes})
        self.valid = None
        if folders.valid is not None:
            self.valid = self._tokens(VALID_TOKENS, [folders.valid], 1, most=config.valid_pictures)
        torch.manual_seed(config.seed)
        self.network = PaperDQTransformer(self.prior).to(self.device)
        if init is not None and not resume:
            self.network.load_state_dict(checkpoint.initial_weights(init, self.device))
        parallel.same_start(self.network)
        # Decay on matrices alone: embeddings of rare symbols would only shrink.
        matrices = {f"{name}.weight" for name, m in self.network.named_modules() if isinstance(m, nn.Linear)}
        self.optimiser = Optimiser(self.network.named_parameters(), config.optim,
                                   hidden=matrices.__contains__, decays=matrices.__contains__)
        self.average = WeightAverage(self.network, config.optim.ema_decay)
        self.step, self.elapsed = 0, 0.0
        if resume:
            self._restore(checkpoint.load(folders.out, self.device))
        self.batches = PaperPriorBatches(tokens, config, self.prior, self.rank)
        if self.rank == 0:
            self.log = CsvLog(folders.out / "log.csv", self.step if resume else None)
            self.valid_log = CsvLog(folders.out / "valid.csv", self.step + 1 if resume else None)

    def _tokens(self, name: str, data: list[Path], views: int, progress=lambda done, total: None,
                most: int | None = None) -> PaperTokens:
        path, c = self.folders.out / name, self.config
        return load_or_encode(path, self.fingerprint, self.vae, data, c.size, views, c.ratios, self.device, self.rank,
                              progress, most)

    def _restore(self, state: dict) -> None:
        if state.get("vae") != self.fingerprint:
            raise DataError(f"{self.folders.out}: the run was on tokens of another DQ-VAE than {self.folders.vae}")
        self.network.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.state, self.average.updates = state["ema"], state["ema_updates"]
        self.step, self.elapsed = state["step"], state["elapsed"]

    def save(self) -> None:
        """Write the checkpoint of the state after `self.step` steps."""
        if self.rank:
            return
        checkpoint.save(self.folders.out, {
            "config": self.config.to_dict(),
            "vae": self.fingerprint,
            "prior": self.prior.to_dict(),
            "model": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "ema": self.average.state,
            "ema_updates": self.average.updates,
            "step": self.step,
            "elapsed": self.elapsed,
        })

    def _agree(self, seconds: float) -> float:
        return parallel.agree(seconds, self.device)

    def _costs(self, batch: PaperBatch) -> Costs:
        with autocast(self.device):
            position, content = self.network(batch)
        return Costs(batch, position, content, self.prior)

    def _one_step(self) -> dict:
        start = time.monotonic()
        # A seed of its own for each step and rank: dropout repeats nothing after a resume.
        torch.manual_seed(self.config.seed * 1_000_003 + self.step * 64 + self.rank)
        rate = learning_rate(self.config.optim, self.step, self.progress)
        self.optimiser.set_rate(rate)
        self.network.train()
        costs = self._costs(self.batches(self.step).to(self.device))
        loss = costs.loss(self.config.position_weight)
        self.optimiser.zero_grad()
        loss.backward()
        parameters = list(self.network.parameters())
        parallel.average_gradients(parameters)
        norm = nn.utils.clip_grad_norm_(parameters, self.config.optim.grad_clip)
        if torch.isfinite(norm):  # one bad batch must not poison the weights
            self.optimiser.step()
        self.average.update(self.network)
        speed = int(costs.symbols.sum()) * self.world / max(1e-9, time.monotonic() - start)
        return {"lr": rate, "symbols_s": round(speed), "loss": loss.item(), "grad_norm": float(norm),
                **figures(costs.nats, costs.symbols, self.prior.grains)}

    @torch.no_grad()
    def _look(self) -> dict[str, float]:
        """Validation figures and samples, from averaged weights."""
        if self.rank or (self.valid is None and not self.config.samples):
            return {}
        kept = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.network.load_state_dict(self.average.state)
        self.network.eval()
        row = self._validate() if self.valid is not None else {}
        if self.config.samples:
            self._draw()
        self.network.load_state_dict(kept)
        return row

    def _validate(self) -> dict[str, float]:
        nats = symbols = 0
        for views in np.array_split(np.arange(len(self.valid)), -(-len(self.valid) // self.config.batch)):
            label = torch.from_numpy(self.valid.label[views])
            if self.valid.classes != self.prior.classes:
                label = torch.zeros_like(label)
            costs = self._costs(pack(self.prior, self.valid.codes(views), label).to(self.device))
            nats, symbols = nats + costs.nats.double(), symbols + costs.symbols
        row = {"step": self.step, "hours": round(self.elapsed / 3600, 4),
               "bpp": float(nats.sum()) / math.log(2) / (len(self.valid) * self.config.size**2)}
        row |= figures(nats, symbols, self.prior.grains)
        self.valid_log.write(row)
        return row

    def _draw(self) -> None:
        """samples.png: no class first, then each class in turn."""
        labels = [i % (1 + len(self.prior.classes)) for i in range(self.config.samples)]
        images = {}
        for label in sorted(set(labels)):
            codes = sample(self.network, labels.count(label), label, seed=self.config.seed)
            images[label] = list(self.vae.decode(codes).unsqueeze(1).cpu())  # (1, 3, H, W) each
        shown = [images[label].pop(0) for label in labels]
        shown += [torch.zeros_like(shown[0])] * (-len(shown) % COLUMNS)
        contact_sheet(self.folders.out / "samples.png", [torch.cat(shown[i::COLUMNS]) for i in range(COLUMNS)])
