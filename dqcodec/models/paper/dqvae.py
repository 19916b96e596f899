"""DQ-VAE as published: image -> one grain per region -> codes of one codebook -> image.

    image -> Encoder -> maps {f16, f8} or {f32, f16, f8} -> FeatureRouter -> grain of each region
    maps + grains -> merged map on the finest grid -> 1x1 -> Codebook -> 1x1 -> Decoder -> image

Huang, Mao, Chen, Zhang, "Towards Accurate Image Coding: Improved Autoregressive Image Generation
with Dynamic Vector Quantization", CVPR 2023 (arXiv 2305.11718). Departures from its reference
release: the budget holds for every image, a replicated code counts once in all statistics, the
codebook moves once per step, the decoder is told the grains, and any image size that whole regions
cover works.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dqcodec.errors import ImageError
from dqcodec.models.codebook import Codebook, perplexity
from dqcodec.models.output import AutoencoderOutput
from dqcodec.models.paper.budget import budget_loss, levels_for_ratios, ratios_for_codes
from dqcodec.models.paper.config import PaperConfig
from dqcodec.models.paper.decoder import Decoder
from dqcodec.models.paper.encoder import Encoder
from dqcodec.models.paper.grains import code_slots, merge, replicate
from dqcodec.models.paper.policy import logits_of, region_scores
from dqcodec.models.paper.router import FeatureRouter, hard_gumbel


@dataclass(frozen=True)
class PaperCodes:
    """Codes of a batch.

    levels: (B, Hr, Wr) int64, grain of each region, 0 = coarsest.
    indices: (B, Hf, Wf) int64 in 0..K-1 on the finest grid, a coarse region's code replicated.
    """

    levels: Tensor
    indices: Tensor


class PaperDQVAE(nn.Module):
    """The paper's DQ-VAE, dual or triple by its config."""

    def __init__(self, config: PaperConfig):
        super().__init__()
        self.config = config
        channels = config.latent_channels
        self.encoder = Encoder(config)
        self.router = FeatureRouter(config)
        self.before_codebook = nn.Conv2d(channels, channels, 1)
        self.codebook = Codebook(config.codebook_size, channels, config.codebook_decay)
        self.after_codebook = nn.Conv2d(channels, channels, 1)
        self.decoder = Decoder(config)
        self._updated_at: int | None = None

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the decoder's last convolution, at which the adversarial weight is balanced."""
        return self.decoder.out.weight

    def forward(self, x: Tensor, step: int | None = None) -> AutoencoderOutput:
        """Reconstruct x (B, 3, H, W) in [-1, 1]; sides are multiples of the region.

        In training mode grains are sampled, and the first pass with gradients at each `step` moves
        the codebook: repeated passes at that step and passes without `step` leave it alone. In
        evaluation mode every region takes its likeliest grain and nothing has side effects. The modes
        that count are those of `router` and `codebook`, so a frozen part may stay in evaluation mode.
        """
        maps, logits = self._analyse(x)
        if self.config.routing != "learned":
            levels = levels_for_ratios(logits, self.config.budget_ratios)
            z = self._merge(maps, levels)
            auxiliary = logits.new_zeros(())
        elif self.router.training:
            gates = hard_gumbel(logits, self.config.temperature)  # (B, G, Hr, Wr)
            levels = gates.detach().argmax(dim=1)  # (B, Hr, Wr)
            z = self._merge(maps, levels, gates)
            auxiliary = budget_loss(gates, self.config.budget_ratios, self.config.budget_gamma)
        else:
            levels = logits.argmax(dim=1)
            z = self._merge(maps, levels)
            auxiliary = logits.new_zeros(())
        vectors, indices, slot = self._quantise(z, levels)
        quantised = self.codebook.lookup(indices)  # (N, D)
        if self.codebook.training and torch.is_grad_enabled():
            self._update_codebook(vectors.detach(), step)
        passed = vectors + (quantised - vectors).detach()  # (N, D), straight through
        return AutoencoderOutput(
            reconstruction=self._synthesise(passed[slot], levels),
            commitment_loss=F.mse_loss(vectors, quantised),
            auxiliary_loss=auxiliary,
            levels=levels,
            bits=self._bits(levels),
            metrics=self._metrics(levels, indices) | {"budget": auxiliary.item()},
        )

    @torch.no_grad()
    def encode(self, x: Tensor, ratios: Sequence[float] | None = None) -> PaperCodes:
        """Codes of x (B, 3, H, W) in [-1, 1].

        ratios: share of regions of every grain but the coarsest, met exactly in each image (to the
            nearest whole region); None takes each region's likeliest grain, or with a rule in the router's place
            (config.routing) the trained shares.
        Raises RateError for impossible ratios and ImageError for sizes that regions do not cover.
        """
        maps, logits = self._analyse(x)
        if ratios is None and self.config.routing != "learned":
            ratios = self.config.budget_ratios
        levels = logits.argmax(dim=1) if ratios is None else levels_for_ratios(logits, ratios)
        _, indices, slot = self._quantise(self._merge(maps, levels), levels)
        return PaperCodes(levels, indices[slot])

    @torch.no_grad()
    def decode(self, codes: PaperCodes) -> Tensor:
        """Image (B, 3, H, W) around [-1, 1] from its codes."""
        return self._synthesise(self.codebook.lookup(codes.indices), codes.levels)

    @torch.no_grad()
    def reconstruct(self, x: Tensor, bpp: float) -> tuple[Tensor, Tensor]:
        """(image (B, 3, H, W), raw bits (B,)) at `bpp` raw code bits a pixel, map not counted.

        Met to the nearest region, between all regions coarsest and all finest; beyond, the nearer of them.
        """
        codes_per_region = bpp * self.config.region**2 / math.log2(self.config.codebook_size)
        codes = self.encode(x, ratios_for_codes(codes_per_region, self.config))
        return self.decode(codes), self._bits(codes.levels)

    def _analyse(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        region = self.config.region
        if x.ndim != 4 or x.shape[1] != 3 or 0 in x.shape or x.shape[2] % region or x.shape[3] % region:
            raise ImageError(
                f"input of shape {tuple(x.shape)}: the model takes (B, 3, H, W) with sides that are "
                f"multiples of {region}; pad the image"
            )
        maps = self.encoder(x)  # (B, D, H/grain, W/grain) each
        if self.config.routing == "learned":
            return maps, self.router(maps)  # logits (B, G, Hr, Wr)
        scores = region_scores(self.config.routing, x, region)
        return maps, logits_of(scores, len(self.config.grains))

    def _merge(self, maps: list[Tensor], levels: Tensor, gates: Tensor | None = None) -> Tensor:
        """Latents (B, D, Hf, Wf) of the chosen grains; gates of value 1 give the router its gradient."""
        z = merge(maps, levels, self.config.replications)
        if gates is not None:
            chosen = gates.gather(1, levels.unsqueeze(1))  # (B, 1, Hr, Wr)
            z = z * replicate(chosen, self.config.replications[0])
        return self.before_codebook(z)

    @torch.compiler.disable  # the number of codes is data; a compiled graph would specialise on it
    def _quantise(self, z: Tensor, levels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each code of z (B, D, Hf, Wf) once: vectors (N, D) float32, indices (N,), slots (B, Hf, Wf)."""
        first, slot = code_slots(levels, self.config.replications)
        vectors = z.permute(0, 2, 3, 1)[first].float()  # (N, D)
        indices, _ = self.codebook.quantise(vectors)
        return vectors, indices, slot

    @torch.compiler.disable
    def _update_codebook(self, vectors: Tensor, step: int | None) -> None:
        if step is not None and step != self._updated_at:
            self.codebook.update(vectors)
            self._updated_at = step

    def _synthesise(self, values: Tensor, levels: Tensor) -> Tensor:
        """Values (B, Hf, Wf, D) and grains (B, Hr, Wr) -> image (B, 3, H, W)."""
        z = self.after_codebook(values.permute(0, 3, 1, 2))  # (B, D, Hf, Wf)
        return self.decoder(z, replicate(levels, self.config.replications[0]))

    def _bits(self, levels: Tensor) -> Tensor:
        codes = levels.new_tensor(self.config.codes_per_region)[levels].sum(dim=(1, 2))  # (B,)
        return codes * math.log2(self.config.codebook_size)

    def _metrics(self, levels: Tensor, indices: Tensor) -> dict[str, float]:
        shares = torch.bincount(levels.flatten(), minlength=len(self.config.grains)) / levels.numel()
        named = {f"share_f{grain}": s for grain, s in zip(self.config.grains, shares.tolist(), strict=True)}
        return named | {"perplexity": perplexity(indices, self.config.codebook_size)}
