"""Training of the DQ-Transformer on tokens of a frozen DQ-VAE.

Imports only torch, numpy, pillow and safetensors. Batches are drawn from (seed, step), so a stopped and
resumed run continues with the batches that it would have seen.
"""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from dqcodec.bitstream.tokens import Tokens
from dqcodec.errors import ConfigError, DataError
from dqcodec.models.precision import autocast
from dqcodec.prior.batch import pack
from dqcodec.prior.config import PriorConfig
from dqcodec.prior.network import DQTransformer, PriorBatch
from dqcodec.training import checkpoint, parallel
from dqcodec.training.ema import WeightAverage
from dqcodec.training.log import CsvLog
from dqcodec.training.loop import Loop
from dqcodec.training.optimisers import Optimiser
from dqcodec.training.prior_config import PriorTrainConfig
from dqcodec.training.schedule import learning_rate
from dqcodec.training.token_cache import TokenCache, Views, load_or_encode
from dqcodec.weights.model_file import Model

TOKENS, VALID_TOKENS = "tokens.safetensors", "valid_tokens.safetensors"
VALID_SHARES = (0.0, 0.25, 0.5, 0.75)  # budgets of validation, geometric between coarsest and finest


@dataclass(frozen=True)
class PriorFolders:
    """vae: model file of the frozen DQ-VAE. data: pictures or shards. valid: pictures to validate on, or None."""

    vae: Path
    data: tuple[Path, ...]
    out: Path
    valid: Path | None = None


class PriorBatches:
    """Batches by step number, prepared ahead by a thread, or by `config.workers` processes; each rank draws its own."""

    def __init__(self, cache: TokenCache, config: PriorTrainConfig, prior: PriorConfig, rank: int = 0):
        self.cache, self.config, self.prior, self.rank = cache, config, prior, rank
        if config.workers > 1:  # a GPU learns from batches faster than one Python process packs them
            _inherited[:] = [self]
            self._pool = ProcessPoolExecutor(config.workers, get_context("fork"))
        else:
            self._pool = ThreadPoolExecutor(1)
        self._ahead: dict[int, Future] = {}

    def __call__(self, step: int) -> PriorBatch:
        forked = isinstance(self._pool, ProcessPoolExecutor)
        for s in range(step, step + 1 + self.config.workers):
            if s not in self._ahead:
                self._ahead[s] = self._pool.submit(_packed, s) if forked else self._pool.submit(self._make, s)
        made = self._ahead.pop(step).result()
        return pickle.loads(made) if forked else made

    def _make(self, step: int) -> PriorBatch:
        rng = np.random.Generator(np.random.Philox(key=[self.config.seed, step * 65536 + self.rank]))
        images: list[Tokens] = []
        labels: list[int] = []
        symbols = 0
        while symbols < self.config.symbols:
            tokens, label = self._sample(rng)
            images.append(tokens)
            labels.append(label)
            symbols += sum(int((c >= 0).sum()) for c in tokens.codes)
        raster = rng.random() < self.config.raster
        return pack(replace(self.prior, order="raster") if raster else self.prior, images, labels)

    def _sample(self, rng: np.random.Generator) -> tuple[Tokens, int]:
        i = int(rng.integers(len(self.cache)))
        rows, cols = self.cache[i].distortion.shape[1:]
        height, width = min(rows, self.config.window), min(cols, self.config.window)
        top, left = int(rng.integers(rows - height + 1)), int(rng.integers(cols - width + 1))
        piece = self.cache.window(i, top, left, height, width)
        noise = np.exp(0.2 * rng.standard_normal((height, width)))
        label = piece.label if rng.random() >= self.config.classless else 0
        return self.cache.tokens(piece, noise, 0.03 * rng.standard_normal()), label

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def valid_tokens(cache: TokenCache, window: int, pictures: int = 8) -> list[list[Tokens]]:
    """For each of VALID_SHARES tokens of the first pictures of a cache of all these views, each at most window x window
    regions."""
    views = len(VALID_SHARES)
    count = min(pictures, len(cache) // views)
    return [[cache.tokens(cache.window(i * views + k, 0, 0, window, window)) for i in range(count)]
            for k in range(views)]


def _packed(step: int) -> bytes:
    """The batch of a step, made in a forked process. Pickled there, since tensors sent as such go through shared
    memory one by one, and there are dozens."""
    torch.set_num_threads(1)
    return pickle.dumps(_inherited[0]._make(step), pickle.HIGHEST_PROTOCOL)


_inherited: list[PriorBatches] = []  # what forked processes read: too large to send


def losses(network: DQTransformer, batch: PriorBatch, quantise: bool) -> list[tuple[torch.Tensor, int]]:
    """Sums in nats and numbers of symbols: codes of each step, then map bits of each step but the first."""
    logits, maps = network(batch, quantise)
    pairs = zip(logits, batch.steps, strict=True)
    found = [(F.cross_entropy(z, s.code, reduction="sum"), len(s.code)) for z, s in pairs]
    for z, s in zip(maps, batch.steps, strict=True):
        if z is not None:
            found.append((F.binary_cross_entropy_with_logits(z, s.map_bit, reduction="sum"), len(z)))
    return found


def _is_hidden(name: str) -> bool:
    return name.endswith(".weight") and "head." not in name


class PriorTrainer(Loop):
    """One run, also in several processes (torchrun). `run()` trains to the end or until `should_stop()`."""

    def __init__(self, config: PriorTrainConfig, folders: PriorFolders, device: str = "cpu", resume: bool = False,
                 init: Path | None = None, progress: Callable[[int, int], None] = lambda done, total: None):
        self.config, self.folders = config, folders
        self.rank, self.world, self.device = parallel.start(device)
        if not resume and (folders.out / checkpoint.NAME).exists():
            raise DataError(f"{folders.out}: already holds a run; add --resume to go on, or choose another --out")
        torch.manual_seed(config.seed)
        views = Views(config.mirror, config.scales, part=config.part)
        self.cache = self._tokens(TOKENS, list(folders.data), views, progress)
        ladder = self.cache.ladder
        try:
            self.prior = PriorConfig.from_dict({
                **config.model, "factors": ladder.factors, "codebook_sizes": ladder.codebook_sizes,
                "classes": self.cache.classes})
        except (TypeError, ValueError) as error:
            raise ConfigError(f"section model: {error}") from error
        self.network = DQTransformer(self.prior)
        vae = Model.read(folders.vae)
        self.network.start_from([book.embedding for book in vae.vae.quantizer.codebooks],
                                [torch.from_numpy(t.astype(np.float32)) for t in vae.tables.tables])
        self.network.to(self.device)
        if init is not None and not resume:
            try:
                self.network.load_state_dict(checkpoint.initial_prior(init, self.device))
            except (KeyError, RuntimeError) as error:
                raise DataError(f"{init}: not a prior of this shape, as a checkpoint or in a model file") from error
        parallel.same_start(self.network)
        # Decay on matrices alone: biases and embeddings of rare codes would only shrink.
        self.optimiser = Optimiser(self.network.named_parameters(), config.optim, _is_hidden,
                                   decays=lambda name: name.endswith(".weight"))
        self.average = WeightAverage(self.network, config.optim.ema_decay)
        self.step, self.elapsed = 0, 0.0
        if resume:
            state = checkpoint.load(folders.out, self.device)
            self.network.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.average.state, self.average.updates = state["ema"], state["ema_updates"]
            self.step, self.elapsed = state["step"], state["elapsed"]
        self.batches = PriorBatches(self.cache, config, self.prior, self.rank)
        self.valid = self._valid_batches()
        if self.rank == 0:
            self.log = CsvLog(folders.out / "log.csv", self.step if resume else None)
            self.valid_log = CsvLog(folders.out / "valid.csv", self.step + 1 if resume else None)

    def _tokens(self, name: str, data: list[Path], views: Views,
                progress: Callable[[int, int], None] = lambda done, total: None) -> TokenCache:
        """The first process encodes, the others read what it wrote."""
        path = self.folders.out / name
        if self.rank == 0:
            load_or_encode(path, self.folders.vae, data, views, progress, self.device)
        parallel.agree(0.0, self.device)
        return load_or_encode(path, self.folders.vae, data, views)

    def _valid_batches(self) -> list[PriorBatch]:
        if self.folders.valid is None:
            return []
        cache = self._tokens(VALID_TOKENS, [self.folders.valid], Views(shares=VALID_SHARES))
        return [pack(self.prior, tokens) for tokens in valid_tokens(cache, self.config.window)]

    def save(self) -> None:
        """Write the checkpoint of the state after `self.step` steps."""
        if self.rank:
            return
        checkpoint.save(self.folders.out, {
            "config": self.config.to_dict(),
            "vae": self.cache.fingerprint,
            "prior": self.prior.to_dict(),
            "processes": self.world,
            "model": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "ema": self.average.state,
            "ema_updates": self.average.updates,
            "step": self.step,
            "elapsed": self.elapsed,
        })

    def _agree(self, seconds: float) -> float:
        return parallel.agree(seconds, self.device)

    def _one_step(self) -> dict:
        start = time.monotonic()
        rate = learning_rate(self.config.optim, self.step, self.progress)
        self.optimiser.set_rate(rate)
        quantise = self.progress >= self.config.quantise_from
        batch = self.batches(self.step).to(self.device)
        self.network.train()
        with autocast(self.device):
            found = losses(self.network, batch, quantise)
        symbols = sum(n for _, n in found)
        loss = sum(nats for nats, _ in found) / symbols
        self.optimiser.zero_grad()
        loss.backward()
        found = [(nats.detach(), n) for nats, n in found]
        parameters = list(self.network.parameters())
        parallel.average_gradients(parameters)
        norm = nn.utils.clip_grad_norm_(parameters, self.config.optim.grad_clip)
        if torch.isfinite(norm):  # one bad batch must not poison the weights
            self.optimiser.step()
        self.average.update(self.network)
        seconds = time.monotonic() - start
        figures = {"lr": rate, "symbols_s": round(symbols * self.world / seconds), "bits": loss.item() / math.log(2),
                   "grad_norm": float(norm), "integers": int(quantise)}
        return figures | _bits(found, len(self.prior.factors))

    @torch.no_grad()
    def _look(self) -> dict[str, float]:
        """Bits per symbol on the validation pictures with averaged weights, as floats and as integers."""
        if self.rank or not self.valid:
            return {}
        kept = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.network.load_state_dict(self.average.state)
        self.network.eval()
        row: dict[str, float] = {"step": self.step, "hours": round(self.elapsed / 3600, 4)}
        for quantise in (False, True):
            totals: list[tuple[torch.Tensor, int]] = []
            for share, batch in zip(VALID_SHARES, self.valid, strict=True):
                found = losses(self.network, batch.to(self.device), quantise)
                bits = sum(float(nats) for nats, _ in found) / math.log(2)
                row[f"{'integer' if quantise else 'float'}@{share}"] = bits / sum(n for _, n in found)
                totals = [(a + c, b + d) for (a, b), (c, d) in zip(totals, found, strict=True)] if totals else found
            names = _bits(totals, len(self.prior.factors))
            row |= {f"{k}_{'integer' if quantise else 'float'}": v for k, v in names.items()}
        self.network.load_state_dict(kept)
        self.valid_log.write(row)
        return row


def _bits(found: list[tuple[torch.Tensor, int]], steps: int) -> dict[str, float]:
    """Bits per symbol of each kind."""
    names = [f"code_{s}" for s in range(steps)] + [f"map_{s}" for s in range(1, steps)]
    return {name: float(nats) / max(1, n) / math.log(2) for name, (nats, n) in zip(names, found, strict=True)}
