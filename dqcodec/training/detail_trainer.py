"""Training of the detail layer on top of frozen models.

Imports only torch, numpy, pillow and safetensors. A run is a pure function of its config, data and models, as that of
the autoencoder is (trainer.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from dqcodec.errors import ConfigError, DataError
from dqcodec.models.allocation import levels_for_bits
from dqcodec.models.codebook import perplexity
from dqcodec.models.decoder import random_origins
from dqcodec.models.detail import PATCH, REGION, Detail, DetailConfig, best_codes, lacking
from dqcodec.models.dqvae import DQVAE
from dqcodec.models.ladder import expand
from dqcodec.models.precision import autocast
from dqcodec.models.sampling import sample_levels
from dqcodec.training.detail_config import DetailTrainConfig
from dqcodec.training.picture_trainer import PictureTrainer
from dqcodec.weights import detail_file
from dqcodec.weights.model_file import Model

ROUNDS, MOST = 20, 200_000  # of k-means, and vectors for it
RATES = (0.2, 0.7)  # raw bpp of pictures with detail of single patches, and what a bit of it has to save at either end
WORTHS = (0.15, 0.004)
LOOK_AT = 0.3  # between these, for validation


@dataclass(frozen=True)
class DetailFolders:
    """Where a run reads and writes. models: model files whose decoded pictures it adds to, the first of them counting
    for validation; valid may be None. layers: files of the layer for regions and of that for single patches, in this
    order, to go on from, one network for the codes of both; none for a new layer for regions."""

    models: tuple[Path, ...]
    data: tuple[Path, ...]
    out: Path
    valid: Path | None = None
    metric_weights: Path | None = None
    layers: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Base:
    """A batch as the frozen model decodes it. x, shown: (B, 3, H, W); present: (B, 1, H/4, W/4) 0 or 1, where detail
    may be."""

    x: Tensor
    shown: Tensor
    present: Tensor


class FrozenModels:
    """What model files make of pictures, their dials at each of some settings, for a layer to add detail to.

    Raises DataError if one decodes only.
    """

    def __init__(self, models: Sequence[Path], realism: Sequence[float], device: torch.device):
        self.device = device
        self.vaes: list[DQVAE] = []
        for path in models:
            loaded = Model.read(path)
            if not loaded.encodes:
                raise DataError(f"{path}: this model decodes only; detail is trained on what a model encodes itself")
            turned = [loaded] if loaded.dial is None else [loaded.at(r) for r in realism]
            self.vaes += [m.vae.requires_grad_(False).to(device, memory_format=torch.channels_last) for m in turned]

    @torch.no_grad()
    def __call__(self, x: Tensor, step: int, everywhere: bool = False,
                 sample: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None) -> Base:
        """What the model of `step` decodes of x (B, 3, H, W), at levels of sample_detail unless another `sample` or all
        with detail `everywhere`."""
        x = x.to(self.device, memory_format=torch.channels_last)
        vae = self.vaes[step % len(self.vaes)]
        with autocast(self.device):
            _, q, distortion = vae.analyse(x)
            levels, detailed = (sample or sample_detail)(distortion, vae.level_bits)
            if everywhere:
                levels, detailed = torch.full_like(levels, len(vae.ladder) - 1), torch.ones_like(detailed)
            shown = vae.decoder(vae.quantizer.values(q.partial, None, levels), levels,
                                random_origins(len(x), x.device))
        present = expand(detailed, vae.ladder.region // PATCH)[:, None].float()
        return Base(x, shown.float().clamp(-1, 1), present)


class DetailTrainer(PictureTrainer):
    """A run of the detail layer on top of frozen models."""

    KIND = "detail"

    def __init__(self, config: DetailTrainConfig, folders: DetailFolders, device: str = "cpu", resume: bool = False):
        super().__init__(config, folders, device, resume)
        self.frozen = FrozenModels(folders.models, config.realism, self.device)
        layers = [detail_file.read(path) for path in folders.layers]
        if [layer.table.sparse for layer in layers] not in ([], [False], [False, True]):
            raise DataError("the layers to go on from are one for regions and then one for single patches")
        if config.sparse and len(layers) < 2:
            raise ConfigError("sparse: detail of single patches wants the layers to go on from, --layer twice")
        try:
            model = Detail(layers[0].net.config if layers else DetailConfig(**config.model))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"section model: {error}") from error
        if layers:
            model.load_state_dict(layers[0].net.state_dict())
        self.sparse = layers[1] if len(layers) > 1 else None
        if self.sparse is not None:
            self.book = self.sparse.net.codebook.embedding.to(self.device)
            self.bits = torch.from_numpy(self.sparse.bits).float().to(self.device)
        model = model.to(self.device, memory_format=torch.channels_last)
        start = (lambda: None) if layers else self._make_codebook
        self._begin(model, model.config.to_dict(), resume, _is_hidden, start)

    @torch.no_grad()
    def _make_codebook(self) -> None:
        """k-means (Lloyd 1982) of what is lacking where there is detail. It stays: moved along with a network that
        bends what is coded, it drifts and loses (docs/experiments.md, section 2)."""
        found = []
        for step in range(self.config.start_batches):
            base = self.frozen(self.batches(step), step)
            lacking = F.pixel_unshuffle(base.x - base.shown, PATCH).permute(0, 2, 3, 1)
            found.append(lacking[base.present[:, 0] > 0])
        vectors = torch.cat(found)
        vectors = vectors[torch.randperm(len(vectors), device=self.device)[:MOST]]
        book = self.model.codebook
        if len(vectors) < book.size:
            raise DataError(f"{len(vectors)} patches are too few for {book.size} codes: raise start_batches")
        book.embedding.copy_(vectors[: book.size])
        for _ in range(ROUNDS):
            nearest = book.nearest(vectors)
            count = torch.bincount(nearest, minlength=book.size)
            mean = torch.zeros_like(book.embedding).index_add_(0, nearest, vectors) / count.clamp_min(1)[:, None]
            spare = vectors[torch.randint(len(vectors), (book.size,), device=self.device)]
            book.embedding.copy_(torch.where(count[:, None] > 0, mean, spare))

    def _decode(self, x: Tensor) -> tuple[Tensor, Tensor, dict[str, float]]:
        if torch.rand(()) < self.config.sparse:
            base, decoded = self._with_patches(self.model, x, self.step, torch.rand(len(x)))
            return base.x, decoded, {"perplexity": 0.0}
        base = self.frozen(x, self.step)
        codes = self.model.quantise(base.x, base.shown)
        decoded = self.model.add(base.shown, self.model.lookup(codes), base.present)
        used = perplexity(codes[base.present[:, 0] > 0], self.model.config.codes)
        return base.x, decoded, {"perplexity": used}

    def _with_patches(self, model: Detail, x: Tensor, step: int, share: Tensor) -> tuple[Base, Tensor]:
        """A batch x (B, 3, H, W) at rates that `share` (B,) of the way from the least to the most gives, and what
        `model` makes of it by codes for single patches."""
        base = self.frozen(x, step, sample=lambda *what: levels_for_patches(*what, share))
        vectors = lacking(base.x, base.shown)  # (B, h, w, 48)
        worth = bit_worth(share).to(vectors.device)[:, None, None].expand(vectors.shape[:3])
        codes, saved = best_codes(vectors.flatten(0, 2), self.book, self.bits, worth.flatten())
        present = base.present * (saved > 0).view(base.present.shape)
        return base, model.add(base.shown, self.book[codes].view(vectors.shape).permute(0, 3, 1, 2), present)

    def _shown(self, model: Detail, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """All at the finest level, without and with detail everywhere; and at a lower rate with that of single patches,
        if there is a layer for that."""
        base = self.frozen(x, 0, everywhere=True)
        vectors = model.lookup(model.quantise(base.x, base.shown))
        pictures = {"base": base.shown, "detail": model.add(base.shown, vectors, base.present)}
        if self.sparse is not None:
            pictures["patches"] = self._with_patches(model, x, 0, torch.full((len(x),), LOOK_AT))[1]
        return base.x, pictures


def bit_worth(share: Tensor) -> Tensor:
    """Squared error that a bit of a patch's detail has to save, `share` (...) of the way from the least rate to the
    most."""
    return WORTHS[0] * (WORTHS[1] / WORTHS[0]) ** share


def levels_for_patches(distortion: Tensor, bits: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Levels (B, Hr, Wr) int64 at rates `share` (B,) of the way, and where patches may have detail, as sample_detail
    gives them."""
    pixels = distortion.shape[2] * distortion.shape[3] * REGION**2
    target = (RATES[0] + (RATES[1] - RATES[0]) * share.to(distortion.device)) * pixels
    levels = levels_for_bits(distortion, bits, target)
    return levels, levels >= 1


def sample_detail(distortion: Tensor, bits: Tensor) -> tuple[Tensor, Tensor]:
    """Random levels (B, Hr, Wr) int64 and which of their regions carry detail, (B, Hr, Wr) bool, all of the last level.

    distortion (B, L, Hr, Wr) predicted; bits (L,) raw bits of a region at each level. Half of the pictures are at the
    last level everywhere, the others at random levels; detail is in all that may have it or in the worse half.
    """
    last = distortion.shape[1] - 1
    levels = sample_levels(distortion, bits)
    coin = torch.rand(2, len(levels), 1, 1, device=levels.device) < 0.5
    levels = torch.where(coin[0], last, levels)
    left = distortion[:, last]
    worse = left > left.flatten(1).median(1).values[:, None, None]
    return levels, (levels == last) & (coin[1] | worse)


def likely_detail(distortion: Tensor, bits: Tensor) -> tuple[Tensor, Tensor]:
    """The same as files have it that detail is first worth its bits in: levels of 0.4 to 0.7 raw bpp, and detail in the
    worse half of the last."""
    last, regions = distortion.shape[1] - 1, distortion.shape[2] * distortion.shape[3]
    target = (0.4 + 0.3 * torch.rand(len(distortion), device=distortion.device)) * regions * REGION**2
    levels = levels_for_bits(distortion, bits, target)
    left = torch.where(levels == last, distortion[:, last], torch.nan)
    return levels, left > left.flatten(1).nanmedian(1).values[:, None, None]


def _is_hidden(name: str) -> bool:
    return ".conv" in name and name.endswith(".weight")
