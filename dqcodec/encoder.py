"""From a picture to a file: analysis, correction, rate."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from dqcodec import bitstream, feedback, grain, networks, rate, reduction
from dqcodec.bitstream import WHOLE, Extra, Frame
from dqcodec.effort import thorough_plan
from dqcodec.errors import OutOfReachError
from dqcodec.images import Picture
from dqcodec.networks import Analysis
from dqcodec.weights.model_file import Model


@dataclass(frozen=True)
class Wanted:
    """What a file shall be.

    size: its bytes, or None. quality: 1..100, where there is no size. scale: 256ths of the picture's size at which it
    is coded, or None to choose. thorough: choose regions by real costs and decodes.
    """

    size: int | None
    quality: int
    scale: int | None = None
    thorough: bool = False


    def of_part(self, part: float) -> Wanted:
        """The same of a picture with `part` of the pixels."""
        return replace(self, size=None if self.size is None else int(self.size * part))


def file_of(model: Model, picture: Picture, extras: Sequence[Extra], wanted: Wanted, device: torch.device) -> bytes:
    """The .dq file of a picture; raises OutOfReachError if there is none of the wanted size.

    A quality stands for the bytes of the file at the whole scale, at whichever the picture is coded.
    """
    sample, part = reduction.sample(picture.pixels)
    judge = _Encoder(model, replace(picture, pixels=sample), extras, wanted.of_part(part), device)
    scale = reduction.chosen(sample, judge.shown) if wanted.scale is None else wanted.scale
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
        self._model, self._picture, self._extras, self._wanted, self._device = model, picture, extras, wanted, device
        self._about = about if wanted.size is None else wanted.size
        self.frame = Frame(width, height, picture.grey, scale)
        self._pixels = reduction.reduced(picture.pixels, self.frame)

    @functools.cached_property
    def _analysis(self) -> Analysis:
        return networks.analyse(self._model.vae, self._pixels, self._device)

    @functools.cached_property
    def _plan(self) -> rate.Plan:
        return self._planned(self._analysis)

    @functools.cached_property
    def _levels(self) -> np.ndarray:
        return self._levels_about(self._plan)

    @property
    def planned_bytes(self) -> float:
        """Bytes of the file of the wanted quality, by the plan alone."""
        return rate.bytes_for_quality(self._plan, self._wanted.quality)

    @functools.cached_property
    def shown(self) -> np.ndarray:
        """Pixels (H, W, 3) uint8 of about the file before its codes are corrected, not enlarged."""
        return networks.synthesise(self._model.vae, rate.tokens_at(self._analysis, self._levels), self._device)

    def file(self) -> bytes:
        """The file; raises OutOfReachError if there is none of the wanted size."""
        rounds, gain = feedback.BEST if self._wanted.thorough else feedback.FAST
        found = feedback.corrected(self._model.vae, self._analysis, self._levels, self._device, rounds, gain,
                                   self.shown)
        # Codes answer the levels they were decoded at, so a thorough plan is wanted here too, not the quick plan's.
        plan = self._planned(found)
        lost = grain.missing(self._picture.pixels, reduction.enlarged(self.shown, self.frame))
        writer = bitstream.Writer(self._model.entropy, extras=self._extras, frame=replace(self.frame, grain=lost))
        written: dict[bytes, bytes] = {}  # the search has written the file that it settles on

        def write(levels: np.ndarray) -> bytes:
            key = levels.tobytes()
            if key not in written:
                written[key] = writer.write(plan.tokens(levels))
            return written[key]

        if self._wanted.size is None:
            return write(self._levels_about(plan))
        return write(rate.levels_for_size(plan, self._wanted.size, lambda levels: len(write(levels))))

    def _levels_about(self, plan: rate.Plan) -> np.ndarray:
        if self._about is None:
            return rate.levels_for_quality(plan, self._wanted.quality)
        return rate.levels_near(plan, self._about)

    def _planned(self, analysis: Analysis) -> rate.Plan:
        if self._wanted.thorough:
            return thorough_plan(self._model, analysis, self._pixels, self._device)
        return rate.plan(analysis, rate.table_costs(analysis, self._model.tables, self._model.cost_ratio))
