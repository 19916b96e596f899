"""From a picture to a file: analysis, correction, rate."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from dqcodec import bitstream, detail_plan, feedback, grain, networks, rate, reduction, refine
from dqcodec.bitstream import WHOLE, Extra, Frame
from dqcodec.detail_plan import DetailPlan
from dqcodec.detail_search import DetailSearch, Patches
from dqcodec.effort import thorough_costs
from dqcodec.errors import OutOfReachError
from dqcodec.images import Picture
from dqcodec.models.detail import REGION
from dqcodec.networks import Analysis
from dqcodec.plans import Plans
from dqcodec.refine import Search
from dqcodec.size_search import levels_for_size
from dqcodec.weights import detail_file
from dqcodec.weights.model_file import Model

# Pictures measured this soft count as sharp, and amounts from there on; chosen on validation pictures
# (docs/experiments.md, section 2). A smaller amount than LEAST_SOFT is not worth its seven bytes.
SHARP, LEAST_SOFT = 0.4, 0.1


@dataclass(frozen=True)
class Wanted:
    """What a file shall be.

    size: its bytes, or None. quality: 1..100, where there is no size. scale: 256ths of the picture's size at which it
    is coded, or None to choose. softness: amount, 0..1, by which its decoder is adapted to a soft picture, or None to
    choose. thorough: choose regions by real costs and decodes. search: how codes are searched for, or None to leave
    them. detail: whether it may have some.
    """

    size: int | None
    quality: int
    scale: int | None = None
    softness: float | None = None
    thorough: bool = False
    search: Search | None = None
    detail: bool = True

    def of_part(self, part: float) -> Wanted:
        """The same of a picture with `part` of the pixels."""
        return replace(self, size=None if self.size is None else int(self.size * part))


def file_of(model: Model, picture: Picture, extras: Sequence[Extra], wanted: Wanted, device: torch.device) -> bytes:
    """The .dq file of a picture; raises OutOfReachError if there is none of the wanted size.

    A quality stands for the bytes of the file at the whole scale, at whichever the picture is coded.
    """
    sample, part = reduction.sample(picture.pixels)
    judge = _Encoder(model, replace(picture, pixels=sample), extras, wanted.of_part(part), device)
    scale = reduction.chosen(sample, judge.shown, judge.planned_bpp) if wanted.scale is None else wanted.scale
    if scale == WHOLE and part == 1:
        encoder = judge
    else:
        about = None if scale == WHOLE or wanted.size is not None else int(judge.planned_bytes / part)
        encoder = _Encoder(model, picture, extras, wanted, device, scale, about)
    del judge  # what it has found takes memory
    try:
        return encoder.file()
    except OutOfReachError as error:
        if wanted.scale is not None:
            raise
        problem = error
    for other in reduction.others(encoder.frame, scale, problem.target / problem.nearest):
        encoder = _Encoder(model, picture, extras, wanted, device, other)
        try:
            return encoder.file()
        except OutOfReachError as error:
            problem = error
    raise problem


class _Encoder:
    """Files of one picture, coded at one scale.

    about: bytes of the file, roughly, where the quality that is wanted stands for them.
    """

    def __init__(self, model: Model, picture: Picture, extras: Sequence[Extra], wanted: Wanted, device: torch.device,
                 scale: int = WHOLE, about: int | None = None):
        height, width = picture.pixels.shape[:2]
        self._picture, self._wanted, self._device = picture, wanted, device
        self._about = about if wanted.size is None else wanted.size
        self.frame = Frame(width, height, picture.grey, scale)
        self._pixels = reduction.reduced(picture.pixels, self.frame)
        amount = _softness(model, self._pixels, device) if wanted.softness is None else round(255 * wanted.softness)
        self._model = model.softened(amount / 255)
        self._extras = [*extras, Extra("soft", bytes([amount]))] if amount else extras
        # Detail is of regions of one size; the package's ladders have them, a user's may not.
        fits = wanted.detail and model.config.ladder.region == REGION
        self._layer, self._sparse = (detail_file.named(name) if fits else None for name in ("default", "sparse"))

    @functools.cached_property
    def _analysis(self) -> Analysis:
        return networks.analyse(self._model.vae, self._pixels, self._device)

    @functools.cached_property
    def _plans(self) -> Plans:
        return self._planned(self._analysis)

    @property
    def _levels(self) -> np.ndarray:
        return self._plans.ladder_levels

    @property
    def planned_bytes(self) -> float:
        """Bytes of the file, by the plan alone where a quality is wanted."""
        return self._plans.bytes

    @property
    def planned_bpp(self) -> float:
        """Bits for each pixel of the picture, of the same file."""
        return 8 * self.planned_bytes / (self.frame.width * self.frame.height)

    @functools.cached_property
    def shown(self) -> np.ndarray:
        """Pixels (H, W, 3) uint8 of about the file before its codes are corrected, without detail, not enlarged."""
        return networks.synthesise(self._model.vae, rate.tokens_at(self._analysis, self._levels), self._device)

    def file(self) -> bytes:
        """The file; raises OutOfReachError if there is none of the wanted size."""
        rounds, gain = feedback.BEST if self._wanted.thorough else feedback.FAST
        found = feedback.corrected(self._model.vae, self._pixels, self._analysis, self._levels, self._device, rounds,
                                   gain, self.shown)
        if self._wanted.search is not None:
            found = refine.refined(self._model.vae, self._wanted.search, self._pixels, found, self._levels,
                                   self._device)
        # Codes answer the levels they were decoded at, so a thorough plan is wanted here too, not the quick plan's.
        plans = self._planned(found)
        lost = grain.missing(self._picture.pixels, reduction.enlarged(self.shown, self.frame))
        writer = bitstream.Writer(self._model.entropy, extras=self._extras, frame=replace(self.frame, grain=lost))
        written: dict[bytes, bytes] = {}  # the search has written the file that it settles on

        def write(levels: np.ndarray) -> bytes:
            key = levels.tobytes()
            if key not in written:
                written[key] = writer.write(plans.ladder.tokens(levels))
            return written[key]

        planned = self._planned_detail(plans)
        if self._wanted.size is not None:
            return self._file_of_size(plans, planned, writer, write)
        if planned is None:
            return write(plans.ladder_levels)
        search = self._detail_on(plans, planned, planned.levels)
        return search.file(writer, planned.count or search.worth_it)

    def _file_of_size(self, plans: Plans, planned: DetailPlan | None, writer: bitstream.Writer,
                      write: Callable[[np.ndarray], bytes]) -> bytes:
        """The file of the wanted size: of the ladder's steps if the plan has no detail at that, else with as much as
        there is room for on top of steps of the planned size, or of all where even they are not enough."""
        size, ladder = self._wanted.size, plans.ladder
        room = int(size - planned.bytes) if planned else size

        def of_ladder(target: int) -> np.ndarray:
            return levels_for_size(ladder, target, lambda levels: len(write(levels)))

        try:
            levels = of_ladder(room)
            if planned is None:
                return write(levels)
        except OutOfReachError as error:
            if self._layer is None or error.nearest > size:
                raise
            levels = np.full_like(ladder.start, plans.last) if error.nearest < room else ladder.start
        planned = planned or detail_plan.of_regions(plans, self._layer)
        try:
            data = self._detail_on(plans, planned, levels).file_of_size(writer, size)
        except OutOfReachError:
            if planned.layer is self._layer:
                raise
            data = self._detail_on(plans, detail_plan.of_regions(plans, self._layer), levels).file_of_size(writer, size)
        return write(of_ladder(size)) if data is None else data

    def _planned_detail(self, plans: Plans) -> DetailPlan | None:
        return None if self._layer is None else detail_plan.chosen(plans, self._layer, self._sparse, self._patches)

    def _patches(self) -> Patches:
        places = self._sparse.table.places(self._levels, self._plans.last)
        return Patches(self._sparse, self._pixels, self.shown, places, self._device)

    def _detail_on(self, plans: Plans, planned: DetailPlan, levels: np.ndarray) -> DetailSearch:
        tokens = plans.ladder.tokens(levels)
        shown = networks.synthesise(self._model.vae, tokens, self._device)
        return DetailSearch(planned.layer, self._pixels, tokens, shown, plans.last, self._device, planned.worth)

    def _planned(self, analysis: Analysis) -> Plans:
        if self._wanted.thorough:
            measures = thorough_costs(self._model, analysis, self._pixels, self._device)
        else:
            measures = (rate.table_costs(analysis, self._model.tables, self._model.cost_ratio), analysis.distortion)
        detail_bits = None if self._layer is None else self._layer.region_bits
        return Plans(analysis, measures, detail_bits, self._about, self._wanted.quality)


def _softness(model: Model, pixels: np.ndarray, device: torch.device) -> int:
    """How soft pixels (H, W, 3) uint8 are, in 255ths of the amount by which the decoder of `model` adapts to that; 0
    where it cannot, or where that is too little to be worth its bytes."""
    if model.softness is None:
        return 0
    amount = model.softness.amount(torch.tensor(pixels, device=device).permute(2, 0, 1))
    amount = (amount - SHARP) / (1 - SHARP)
    return round(255 * amount) if amount > LEAST_SOFT else 0
