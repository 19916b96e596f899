"""Tokens to bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dqcodec.bitstream import header as headers
from dqcodec.bitstream import sections
from dqcodec.bitstream.code_model import CodeModel, Known
from dqcodec.bitstream.range_coder import SymbolEncoder
from dqcodec.bitstream.sections import EXTRA_TYPES, Extra
from dqcodec.bitstream.step_coder import code_step
from dqcodec.bitstream.tokens import Tokens


def write(
    tokens: Tokens, code_model: CodeModel, *, extras: Sequence[Extra] = (), grey: bool = False
) -> bytes:
    """The .dq file of `tokens`, equal for equal input.

    tokens: must fit code_model.ladder. extras: at most one of each kind; written in the order ICC,
    alpha, EXIF, XMP, all before the first step. grey: the picture is to be delivered as one channel.
    Raises ValueError if tokens, extras or the model break the format's rules.
    """
    ladder = code_model.ladder
    tokens.validate(ladder)
    kinds = [extra.kind for extra in extras]
    if len(set(kinds)) != len(kinds):
        raise ValueError(f"a file holds one extra of each kind, not {kinds}")
    steps = int(tokens.levels.max()) + 1
    header = headers.Header(tokens.width, tokens.height, code_model.fingerprint, steps, grey)
    parts = [headers.pack(header)]
    for extra in sorted(extras, key=lambda extra: list(EXTRA_TYPES).index(extra.kind)):
        parts.append(sections.pack(EXTRA_TYPES[extra.kind], extra.data))
    known = Known.nothing(tokens.width, tokens.height, ladder, complete=tokens)
    maps = code_model.map_model()
    for step in range(steps):
        parts.append(sections.pack(sections.STEP + step, _encode_step(step, tokens, known, code_model, maps)))
    return b"".join(parts)


def _encode_step(step: int, tokens: Tokens, known: Known, model: CodeModel, maps) -> bytes:
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
