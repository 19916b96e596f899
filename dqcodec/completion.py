"""A damaged file's missing steps, filled in by the prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dqcodec.bitstream import Tokens

if TYPE_CHECKING:
    from dqcodec.weights.model_file import Model

SEED = 0  # the same damaged file becomes the same picture everywhere


def fill_in(model: Model, tokens: Tokens, steps: Sequence[int]) -> Tokens:
    """Tokens with their map bits and codes of `steps` (consecutive, the first to be missing) sampled.

    What is there stays as it is, and no step beyond `steps` is added. Raises GenerateError if there is
    something to fill in and the model has no prior.
    """
    if not steps:
        return tokens
    from dqcodec.generation import prior_of
    from dqcodec.prior.draw import draw
    from dqcodec.prior.given import Given

    given = Given.steps(model.config.ladder, tokens, steps[0] - 1, steps[-1])
    return next(draw(prior_of(model), given, 1, SEED))
