"""Sampling from the paper's DQ-Transformer, with cached keys and values.

Every picture reads one token a step, whatever grain it is in, so a batch needs no padding. A position is
drawn among the legal ones only; in the last grain there is one, and nothing is drawn.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dqcodec.errors import GenerateError
from dqcodec.models.paper.dqvae import PaperCodes
from dqcodec.prior.paper.network import KeyValues, PaperDQTransformer
from dqcodec.prior.paper.sequence import assemble


class Stepper:
    """The network token by token; calls alternate between `positions` and `contents`."""

    def __init__(self, network: PaperDQTransformer):
        self.network, self.index = network, 0
        longest = network.layout.longest
        self._position = [KeyValues(longest) for _ in network.position_stack.blocks]
        self._content = [KeyValues(longest) for _ in network.content_stack.blocks]

    def positions(self, grain: Tensor, position: Tensor, content: Tensor) -> Tensor:
        """Read one token (B,), as in PaperBatch; returns the hidden state (B, D) that tells the next position."""
        x = self.network.embed(grain[:, None], position[:, None], content[:, None], self.index)  # (B, 1, D)
        self.index += 1
        return self.network.position_stack(x, self._position)[:, 0]

    def contents(self, hidden: Tensor, grain: Tensor, position: Tensor) -> Tensor:
        """From that state and the next position (B,), the hidden state (B, D) that tells its content."""
        x = (hidden + self.network.place(grain, position))[:, None]  # (B, 1, D)
        return self.network.content_stack(x, self._content)[:, 0]


@torch.inference_mode()
def sample(network: PaperDQTransformer, num: int, label: int = 0, temperature: float = 1.0, top_k: int = 0,
           top_p: float = 1.0, position_top_k: int = 0, guidance: float = 1.0, seed: int = 0) -> PaperCodes:
    """Grain maps and codes of `num` pictures, which PaperDQVAE.decode turns into images.

    label: class label, 0 for none. temperature (> 0), top_k (0 for all) and top_p (0..1) act on codes;
    position_top_k on positions, which otherwise have the model's own probabilities. guidance: 1 is the
    class as the model knows it, more exaggerates it (Ho & Salimans 2022). seed: picture i follows from
    the seed and i, up to the rounding of the network. The network should be in evaluation mode.

    Raises GenerateError for settings out of range.
    """
    classes = len(network.config.classes)
    if not 0 <= label <= classes:
        raise GenerateError(f"label is {label}; the model knows labels 0 (none) to {classes}")
    if num < 1 or temperature <= 0 or not 0 < top_p <= 1 or min(top_k, position_top_k, guidance) < 0:
        raise GenerateError("num must be at least 1, temperature above 0, top_p in (0, 1], the rest not negative")
    guided = label > 0 and guidance != 1
    run = _Run(network, num, [0, label] if guided else [label], guidance, seed)
    while not run.done():
        run.step(temperature, top_k, top_p, position_top_k)
    return assemble(network.layout, run.levels, run.codes)


class _Run:
    """State of a batch of pictures. shown: the labels under which the network sees it."""

    def __init__(self, network: PaperDQTransformer, num: int, shown: list[int], guidance: float, seed: int):
        self.network, self.layout, self.shown, self.guidance = network, network.layout, shown, guidance
        self.stepper = Stepper(network)
        self.device = network.first_row.device
        new = {"dtype": torch.int64, "device": self.device}
        grains = self.layout.grains
        self.cells = torch.tensor([self.layout.cells(g) for g in range(grains)], **new)
        self.worth = torch.tensor([side**2 for side in self.layout.sides], **new)
        self.levels = torch.full((num, self.layout.regions), grains, **new)  # one past the last: not yet covered
        self.codes = [torch.zeros(num, self.layout.cells(g), **new) for g in range(grains)]
        self.count = torch.zeros(num, **new)  # codes drawn
        self.grain, self.last = torch.zeros(num, **new), torch.full((num,), -1, **new)
        self.code = torch.zeros(num, **new)  # of the cell `last`
        draws = [np.random.Generator(np.random.Philox(key=[seed, i])) for i in range(num)]
        noise = np.stack([d.random((2, self.layout.longest), dtype=np.float32) for d in draws])
        self.noise = torch.from_numpy(noise).to(self.device, torch.float64)  # (B, 2, longest)

    def done(self) -> bool:
        """Whether every picture is covered."""
        final = self.grain == self.layout.grains - 1
        wanted = self.worth[self.levels.clamp_max(self.layout.grains - 1)].sum(1)
        return bool((final & (self.count == wanted)).all())

    def step(self, temperature: float, top_k: int, top_p: float, position_top_k: int) -> None:
        """Read each picture's last token; draw a position and its code."""
        noise = self.noise[:, :, self.stepper.index]  # (B, 2)
        hidden = self.stepper.positions(*self._tokens(self.grain, self.last, self.code))
        position, active = self._position(hidden, noise[:, 0], position_top_k)
        ends = active & (position == self.cells[self.grain])
        self.grain = self.grain + ends.long()
        self.last = torch.where(ends, -1, torch.where(active, position, self.last))
        grain, place, _ = self._tokens(self.grain, self.last, self.code)
        hidden = self.stepper.contents(hidden, grain, place)
        logits = self._guide(self.network.content_logits(hidden))
        drawn = draw(logits / temperature, noise[:, 1], top_k, top_p)
        self._note(active & ~ends, drawn)

    def _tokens(self, grain: Tensor, last: Tensor, code: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens as in PaperBatch, (labels shown * B,) each."""
        start, size = last < 0, self.network.config.codebook_size
        positions = [torch.where(start, self.cells[grain] + label, last) for label in self.shown]
        contents = [torch.where(start, size + label, code) for label in self.shown]
        return grain.repeat(len(self.shown)), torch.cat(positions), torch.cat(contents)

    def _guide(self, logits: Tensor) -> Tensor:
        """(labels shown * B, n) -> (B, n) float64."""
        parts = logits.double().chunk(len(self.shown))
        return parts[0] if len(parts) == 1 else parts[0] + self.guidance * (parts[1] - parts[0])

    def _position(self, hidden: Tensor, noise: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
        """Next position (B,), and which pictures still have one: all but those fully covered."""
        position, active = torch.zeros_like(self.last), torch.ones_like(self.last, dtype=torch.bool)
        for grain in range(self.layout.grains):
            rows = (self.grain == grain).nonzero()[:, 0]
            if not len(rows):
                continue
            levels = self.levels[rows]  # (n, N)
            legal = self.layout.legal(grain, self.last[rows], levels >= grain, levels == grain)  # (n, P + 1)
            if grain == self.layout.grains - 1:
                chosen = legal.long().argmax(1)
                active[rows] = chosen < self.layout.cells(grain)
            else:
                states = torch.cat([part[rows] for part in hidden.chunk(len(self.shown))])
                logits = self._guide(self.network.position_logits(grain, states))
                chosen = draw(logits.masked_fill(~legal, -torch.inf), noise[rows], top_k, 1.0)
            position[rows] = chosen
        return position, active

    def _note(self, coded: Tensor, code: Tensor) -> None:
        """Write the codes drawn for the pictures `coded` (B,) bool into their cells."""
        self.code = torch.where(coded, code, self.code)
        self.count += coded
        for grain in range(self.layout.grains):
            rows = (coded & (self.grain == grain)).nonzero()[:, 0]
            cell = self.last[rows]
            self.codes[grain][rows, cell] = code[rows]
            self.levels[rows, self.layout.region_of(grain, self.device)[cell]] = grain


def draw(logits: Tensor, noise: Tensor, top_k: int, top_p: float) -> Tensor:
    """One index (B,) for each row of logits (B, n) float64; noise (B,) in [0, 1) is what decides.

    top_k: the k likeliest only (0: all). top_p: then the likeliest that make up this share.
    """
    if 0 < top_k < logits.shape[1]:
        logits = logits.masked_fill(logits < logits.topk(top_k).values[:, -1:], -torch.inf)
    p = logits.softmax(1)
    if top_p < 1:
        ranked, order = p.sort(1, descending=True)
        beyond = ranked.cumsum(1) - ranked >= top_p
        p = p.masked_fill(torch.zeros_like(beyond).scatter(1, order, beyond), 0)
    total = p.cumsum(1)  # (B, n)
    pick = torch.searchsorted(total, noise[:, None] * total[:, -1:], right=True).clamp_max(p.shape[1] - 1)
    # A parallel sum may step where p is 0; what is impossible must stay so.
    return torch.where(p.gather(1, pick) > 0, pick, p.argmax(1, keepdim=True))[:, 0]
