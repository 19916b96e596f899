"""How the picture of a file is delivered, beside what its tokens say."""

from __future__ import annotations

from dataclasses import dataclass

from dqcodec.bitstream.tokens import Tokens

WHOLE = 256  # the scale of a picture that is coded at its own size
GRAIN_UNIT, MOST_GRAIN = 16, 255  # a level of 0..255 has so many units of grain


@dataclass(frozen=True)
class Frame:
    """What a reader makes of the coded picture.

    width, height: pixels of the picture that is delivered. grey: as one grey channel. scale: 1..256, the 256ths of
    its size at which tokens code it; a reader enlarges what it has decoded. grain: 0..255, the standard deviation of
    the noise that it then adds, in sixteenths of a level.
    """

    width: int
    height: int
    grey: bool = False
    scale: int = WHOLE
    grain: int = 0

    def __post_init__(self):
        if not 1 <= self.scale <= WHOLE:
            raise ValueError(f"scale {self.scale} is outside 1..{WHOLE}")
        if not 0 <= self.grain <= MOST_GRAIN:
            raise ValueError(f"grain {self.grain} is outside 0..{MOST_GRAIN}")

    @classmethod
    def of(cls, tokens: Tokens, grey: bool = False) -> Frame:
        """The frame of a picture coded at its own size."""
        return cls(tokens.width, tokens.height, grey)

    @property
    def coded(self) -> tuple[int, int]:
        """(width, height) of the picture that tokens code."""
        return tuple(max(1, (side * self.scale + WHOLE // 2) // WHOLE) for side in (self.width, self.height))

    def to_coded(self, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """The smallest box (x, y, width, height) of the coded picture that covers this one of the delivered picture."""
        (left, across), (top, down) = (
            (start * of // whole, -(-(start + length) * of // whole))
            for start, length, of, whole in zip(box[:2], box[2:], self.coded, (self.width, self.height), strict=True))
        return left, top, across - left, down - top
