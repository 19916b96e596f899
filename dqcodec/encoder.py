"""From a picture to a file: analysis, correction, rate."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from dqcodec import bitstream, feedback, grain, networks, rate, reduction
from dqcodec.bitstream import WHOLE, Extra, Frame
from dqcodec.detail_search import DetailSearch, Patches
from dqcodec.effort import thorough_costs
from dqcodec.errors import OutOfReachError
from dqcodec.images import Picture
from dqcodec.models.detail import REGION
from dqcodec.networks import Analysis
from dqcodec.size_search import levels_for_size
from dqcodec.weights import detail_file
from dqcodec.weights.detail_file import DetailLayer
from dqcodec.weights.model_file import Model

LEAST_DETAIL = 0.04  # of a file
MOST_SPARSE = 0.33  # with more of a file than this, detail is of whole regions (docs/experiments.md, section 2)
# Pictures measured this soft count as sharp, and amounts from there on; chosen on validation pictures
# (docs/experiments.md, section 2). A smaller amount than LEAST_SOFT is not worth its seven bytes.
SHARP, LEAST_SOFT = 0.4, 0.1


@dataclass(frozen=True)
class Wanted:
    """What a file shall be.

    size: its bytes, or None. quality: 1..100, where there is no size. scale: 256ths of the picture's size at which it
    is coded, or None to choose. softness: amount, 0..1, by which its decoder is adapted to a soft picture, or None to
    choose. thorough: choose regions by real costs and decodes. detail: whether it may have some.
    """

    size: int | None
    quality: int
    scale: int | None = None
    softness: float | None = None
    thorough: bool = False
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


@dataclass(frozen=True)
class _Planned:
    """Detail as planned. levels: (rows, cols) uint8, of the regions below it. bytes: of it, about. count: of the places
    that get some, or 0 for all in which a bit saves `worth`."""

    layer: DetailLayer
    levels: np.ndarray
    bytes: float
    count: int = 0
    worth: float = 0.0


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
    def _plans(self) -> _Plans:
        return self._planned(self._analysis)

    @functools.cached_property
    def _levels(self) -> np.ndarray:
        return self._of_ladder(self._levels_about(self._plans.whole))

    @property
    def planned_bytes(self) -> float:
        """Bytes of the file, by the plan alone where a quality is wanted."""
        if self._about is not None:
            return self._about
        return rate.bytes_for_quality(self._plans.whole, self._wanted.quality)

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
        found = feedback.corrected(self._model.vae, self._analysis, self._levels, self._device, rounds, gain,
                                   self.shown)
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
            return write(self._of_ladder(self._levels_about(plans.whole)))
        search = self._detail_on(plans, planned, planned.levels)
        return search.file(writer, planned.count or search.worth_it)

    def _file_of_size(self, plans: _Plans, planned: _Planned | None, writer: bitstream.Writer,
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
            levels = np.full_like(ladder.start, self._last) if error.nearest < room else ladder.start
        planned = planned or self._planned_regions(plans)
        try:
            data = self._detail_on(plans, planned, levels).file_of_size(writer, size)
        except OutOfReachError:
            if planned.layer is self._layer:
                raise
            data = self._detail_on(plans, self._planned_regions(plans), levels).file_of_size(writer, size)
        return write(of_ladder(size)) if data is None else data

    def _planned_detail(self, plans: _Plans) -> _Planned | None:
        """What detail the file shall have, None where that is too little of it to be worth its time."""
        if self._layer is None:
            return None
        planned = self._planned_regions(plans)
        if self._sparse is not None and planned.bytes <= MOST_SPARSE * self.planned_bytes:
            planned = self._planned_patches(plans)
        return planned if planned.bytes >= LEAST_DETAIL * self.planned_bytes else None

    def _planned_regions(self, plans: _Plans) -> _Planned:
        levels = self._levels_about(plans.whole)
        count = int((levels > self._last).sum())
        return _Planned(self._layer, self._of_ladder(levels), count * self._layer_bits / 8, count=count)

    def _planned_patches(self, plans: _Plans) -> _Planned:
        places = self._sparse.table.places(self._levels, self._last)
        patches = Patches(self._sparse, self._pixels, self.shown, places, self._device)

        def more(slope: float) -> float:
            return patches.bytes_about(rate.detail_worth(slope))

        if self._about is None:
            slope = rate.slope_for_quality(self._wanted.quality)
        else:
            slope = rate.slope_for_size(plans.ladder, self._about, more)
        return _Planned(self._sparse, plans.ladder.levels_at(slope), more(slope), worth=rate.detail_worth(slope))

    def _detail_on(self, plans: _Plans, planned: _Planned, levels: np.ndarray) -> DetailSearch:
        tokens = plans.ladder.tokens(levels)
        shown = networks.synthesise(self._model.vae, tokens, self._device)
        return DetailSearch(planned.layer, self._pixels, tokens, shown, self._last, self._device, planned.worth)

    @property
    def _last(self) -> int:
        return len(self._model.config.ladder) - 1

    @property
    def _layer_bits(self) -> float:
        """Bits of a region's detail, in the mean."""
        table = self._layer.table
        return table.side**2 * float(self._layer.bits @ table.table) / table.table.sum()

    def _of_ladder(self, levels: np.ndarray) -> np.ndarray:
        return np.minimum(levels, self._last).astype(np.uint8)

    def _levels_about(self, plan: rate.Plan) -> np.ndarray:
        if self._about is None:
            return rate.levels_for_quality(plan, self._wanted.quality)
        return rate.levels_near(plan, self._about)

    def _planned(self, analysis: Analysis) -> _Plans:
        if self._wanted.thorough:
            measures = thorough_costs(self._model, analysis, self._pixels, self._device)
        else:
            measures = (rate.table_costs(analysis, self._model.tables, self._model.cost_ratio), analysis.distortion)
        return _Plans(analysis, measures, None if self._layer is None else self._layer_bits)


def _softness(model: Model, pixels: np.ndarray, device: torch.device) -> int:
    """How soft pixels (H, W, 3) uint8 are, in 255ths of the amount by which the decoder of `model` adapts to that; 0
    where it cannot, or where that is too little to be worth its bytes."""
    if model.softness is None:
        return 0
    amount = model.softness.amount(torch.tensor(pixels, device=device).permute(2, 0, 1))
    amount = (amount - SHARP) / (1 - SHARP)
    return round(255 * amount) if amount > LEAST_SOFT else 0


class _Plans:
    """Plans of a picture, made when asked for: of the ladder's steps alone, and of the whole with detail as one more.

    measures: costs and distortions of the ladder's steps. bits: of a region's detail, None for none.
    """

    def __init__(self, analysis: Analysis, measures: tuple[np.ndarray, np.ndarray], bits: float | None):
        self._analysis, self._measures, self._bits = analysis, measures, bits

    @functools.cached_property
    def ladder(self) -> rate.Plan:
        return rate.plan(self._analysis, *self._measures)

    @functools.cached_property
    def whole(self) -> rate.Plan:
        if self._bits is None:
            return self.ladder
        return rate.plan(self._analysis, *rate.detail_step(*self._measures, self._bits))
