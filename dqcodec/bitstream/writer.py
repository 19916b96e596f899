"""Tokens to bytes."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from dqcodec.bitstream import detail, sections
from dqcodec.bitstream import header as headers
from dqcodec.bitstream.code_model import CodeModel, Known, MapModel
from dqcodec.bitstream.detail import Details
from dqcodec.bitstream.frame import WHOLE, Frame
from dqcodec.bitstream.range_coder import SymbolEncoder
from dqcodec.bitstream.sections import EXTRA_TYPES, Extra
from dqcodec.bitstream.step_coder import code_step
from dqcodec.bitstream.tokens import Tokens


def write(
    tokens: Tokens, code_model: CodeModel, *, extras: Sequence[Extra] = (), frame: Frame | None = None,
    details: Details | None = None
) -> bytes:
    """The .dq file of `tokens`, equal for equal input.

    tokens: must fit code_model.ladder. extras: at most one of each kind; written in the order ICC,
    alpha, EXIF, XMP, soft, all before the first step. frame: how the picture is delivered; default: as the tokens code
    it.
    details: of a file with detail.
    Raises ValueError if tokens, extras, frame or the model break the format's rules.
    """
    return Writer(code_model, extras=extras, frame=frame).write(tokens, details)


@dataclass(frozen=True)
class _Written:
    """A step's section, and what was known at its end."""

    section: bytes
    known: Known
    maps: MapModel


class Writer:
    """Writes files of one image after another, for a search: steps that are as in the last file are not coded again.

    code_model, extras, frame: as in `write`. Raises ValueError if extras break the format's rules.
    """

    def __init__(self, code_model: CodeModel, *, extras: Sequence[Extra] = (), frame: Frame | None = None):
        kinds = [extra.kind for extra in extras]
        if len(set(kinds)) != len(kinds):
            raise ValueError(f"a file holds one extra of each kind, not {kinds}")
        self.model, self.frame, self._soft = code_model, frame, "soft" in kinds
        self._extras = b"".join(sections.pack(EXTRA_TYPES[extra.kind], extra.data)
                                for extra in sorted(extras, key=lambda extra: list(EXTRA_TYPES).index(extra.kind)))
        self._written: list[_Written] = []

    def write(self, tokens: Tokens, details: Details | None = None) -> bytes:
        """The file of `tokens`, whatever was written before. Raises ValueError if they break the format's rules."""
        ladder = self.model.ladder
        tokens.validate(ladder)
        frame = self.frame or Frame.of(tokens)
        if frame.coded != (tokens.width, tokens.height):
            raise ValueError(f"{frame} has tokens of {frame.coded}, not of {tokens.width}x{tokens.height} pixels")
        steps = int(tokens.levels.max()) + 1
        self._forget_what_differs(tokens)
        done = self._written[:steps]
        parts = [written.section for written in done]
        if len(done) < steps:
            known = done[-1].known.fork(tokens) if done else Known.nothing(tokens.width, tokens.height, ladder, tokens)
            maps = copy(done[-1].maps) if done else self.model.map_model()
            for step in range(len(done), steps):
                section = sections.pack(sections.STEP + step, _encode_step(step, tokens, known, self.model, maps))
                parts.append(section)
                # Nothing follows the ladder's last step, so what the model keeps is not wanted after it.
                kept = known.fork(tokens) if step + 1 < len(ladder) else replace(known, scratch=None)
                self._written.append(_Written(section, kept, copy(maps)))
        minor = headers.FRAMED_MINOR if frame.scale < WHOLE or frame.grain else headers.MINOR
        if details is not None:
            minor = headers.SPARSE_MINOR if details.layer.sparse else headers.DETAIL_MINOR
            places = details.layer.places(tokens.levels, len(ladder) - 1)
            parts.append(sections.pack(sections.DETAIL, detail.pack(details, places)))
        minor = max(minor, headers.SOFT_MINOR) if self._soft else minor
        header = headers.Header(frame.width, frame.height, self.model.fingerprint, steps, frame.grey, frame.scale,
                                frame.grain, details is not None, (headers.MAJOR, minor))
        return b"".join([headers.pack(header), self._extras, *parts])

    def _forget_what_differs(self, tokens: Tokens) -> None:
        for step, written in enumerate(self._written):
            known = written.known
            same = ((known.width, known.height) == (tokens.width, tokens.height)
                    and np.array_equal(known.levels >= step, tokens.levels >= step)
                    and np.array_equal(known.codes[step], tokens.codes[step]))
            if not same:
                del self._written[step:]
                return


def _encode_step(step: int, tokens: Tokens, known: Known, model: CodeModel, maps: MapModel) -> bytes:
    encoder = SymbolEncoder()
    refined = (tokens.levels >= step).reshape(-1)
    grid = tokens.codes[step].reshape(-1)

    def map_bits(regions: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
        bits = refined[regions].astype(np.int32)
        encoder.encode(bits, frequencies)
        return bits

    def codes(cells: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
        encoder.encode(grid[cells], frequencies)
        return grid[cells]

    code_step(step, known, model, maps, map_bits, codes)
    return encoder.finish()
