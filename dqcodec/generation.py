"""Pictures from the prior: from nothing, from a part of a decoded file, or inside a box."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from PIL import Image

from dqcodec import bitstream, codec
from dqcodec.bitstream import Extra, Frame, Tokens
from dqcodec.errors import GenerateError
from dqcodec.weights import registry

if TYPE_CHECKING:
    from dqcodec.prior.given import Given
    from dqcodec.prior.integer_network import IntegerNetwork
    from dqcodec.prior.sampling import Sampling
    from dqcodec.weights.model_file import Model

TOP_SEED = 2**64 - 1


@dataclass(frozen=True, eq=False)
class Generated:
    """A sampled picture. tokens: grain map and codes. frame, extras: as in the file that it started from."""

    tokens: Tokens
    model: Model
    frame: Frame
    extras: tuple[Extra, ...] = ()
    device: str = field(default="auto", repr=False)

    @functools.cached_property
    def image(self) -> Image.Image:
        """The picture, in mode L, LA, RGB or RGBA; decoded when first asked for."""
        return codec.render(self.model, self.tokens, self.frame, self.extras, self.device)

    def to_dq(self) -> bytes:
        """Bytes of a .dq file, which decodes like any other."""
        return bitstream.write(self.tokens, self.model.entropy, extras=self.extras, frame=self.frame)

    def to_npz(self) -> bytes:
        """Bytes of a .npz file of tokens (docs/tokens.md)."""
        from dqcodec import token_files

        return token_files.pack(
            token_files.TokenFile(self.tokens, self.model.entropy.ladder, self.model.fingerprint, self.frame))


@dataclass(frozen=True)
class Start:
    """What a picture starts from.

    size: (width, height) in pixels, of pictures from nothing; None for one tile of the model. source: bytes of a
    .dq file, and with it exactly one of keep, the fraction 0..1 of its tokens that stays; upto, "coarse" or
    "medium", the grain up to which they stay; mask, the box (x, y, width, height) in pixels outside which
    they stay.
    """

    size: tuple[int, int] | None = None
    source: bytes | None = None
    keep: float | None = None
    upto: str | None = None
    mask: tuple[int, int, int, int] | None = None

    def __post_init__(self):
        ways = sum(way is not None for way in (self.keep, self.upto, self.mask))
        if self.source is None and ways:
            raise GenerateError("keep, upto and mask need a file to start from")
        if self.source is not None and (ways != 1 or self.size is not None):
            raise GenerateError("a file to start from needs exactly one of keep, upto and mask, and has its own size")
        if self.keep is not None and not 0 <= self.keep <= 1:
            raise GenerateError(f"keep {self.keep} is outside 0..1")
        if self.upto is not None and self.upto not in ("coarse", "medium"):
            raise GenerateError(f"upto {self.upto!r} is none of coarse, medium")


def generate(
    num: int = 1,
    *,
    class_name: str | None = None,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    source: bytes | None = None,
    keep: float | None = None,
    upto: str | None = None,
    mask: tuple[int, int, int, int] | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    guidance: float = 1.0,
    detail: float = 0.0,
    order: str = "groups",
    model: str | None = None,
    device: str = "auto",
    max_pixels: int = codec.MAX_PIXELS,
) -> list[Generated]:
    """Sample `num` pictures.

    class_name: one of the model's classes. size, source, keep, upto, mask: see `Start`. seed: 0..2**64-1;
    picture i depends on the seed and i, and its tokens are the same on every machine. temperature, top_k,
    top_p, guidance, detail, order: see dqcodec.prior.sampling.Sampling. model: a name or path; default: the
    one of `source`, or "default".

    Raises GenerateError for what cannot be done, FormatError for a broken source or one of another model,
    UnknownModelError.
    """
    from dqcodec.prior.sampling import Sampling

    settings = Sampling(temperature, top_k, top_p, guidance, detail, order)
    start = Start(size, source, keep, upto, mask)
    return list(each(num, start, settings, class_name=class_name, seed=seed, model=model, device=device,
                     max_pixels=max_pixels))


def each(num: int, start: Start, settings: Sampling, *, class_name: str | None = None, seed: int = 0,
         model: str | None = None, device: str = "auto", max_pixels: int = codec.MAX_PIXELS) -> Iterator[Generated]:
    """The pictures of `generate`, one after another, so that they need not all be held at once."""
    if num < 1:
        raise GenerateError(f"the number of pictures, {num}, must be at least 1")
    if not 0 <= seed <= TOP_SEED:
        raise GenerateError(f"seed {seed} is outside 0..{TOP_SEED}")
    if start.source is None:
        loaded = registry.load(model or "default")
        prior = prior_of(loaded)
        given = _nothing(prior, start.size, max_pixels)
        frame, extras = Frame.of(given.tokens), ()
    else:
        mark = bitstream.inspect(start.source).header.fingerprint
        loaded = codec.model_for(mark, model)
        prior = prior_of(loaded)
        parsed = bitstream.read(start.source, lambda mark: loaded.entropy, max_pixels=max_pixels)
        frame, extras = parsed.header.frame, parsed.extras
        given = _part(prior, parsed.tokens, frame, start)
    label = _label(prior.config.classes, class_name, settings)
    from dqcodec.prior.draw import draw

    for tokens in draw(prior, given, num, seed, settings, label):
        yield Generated(tokens, loaded, frame, extras, device)


def prior_of(model: Model) -> IntegerNetwork:
    """The prior of a model; raises GenerateError if it has none."""
    if model.prior is None:
        raise GenerateError(
            f"model {model.name} ({model.fingerprint.hex()}) has no prior, so it cannot generate; use a model that has"
        )
    return model.prior


def _nothing(prior: IntegerNetwork, size: tuple[int, int] | None, max_pixels: int) -> Given:
    from dqcodec.prior.given import Given

    ladder = prior.config.ladder
    width, height = size or (prior.config.tile * ladder.region,) * 2
    if width < 1 or height < 1:
        raise GenerateError(f"size {width}x{height} is empty")
    rows, cols = ladder.grid(width, height)
    if rows * cols * ladder.region**2 > max_pixels:
        raise GenerateError(f"size {width}x{height} is over the limit of {max_pixels} pixels")
    return Given.nothing(ladder, width, height)


def _part(prior: IntegerNetwork, tokens: Tokens, frame: Frame, start: Start) -> Given:
    from dqcodec.prior.given import Given

    ladder = prior.config.ladder
    if start.keep is not None:
        return Given.first(prior.config, tokens, start.keep)
    if start.upto is not None:
        return Given.steps(ladder, tokens, ladder.last_step_of_grain(start.upto))
    x, y, width, height = start.mask
    if min(x, y) < 0 or min(width, height) < 1 or x + width > frame.width or y + height > frame.height:
        raise GenerateError(
            f"the box {x},{y},{width},{height} (x, y, width, height) does not lie inside the picture of "
            f"{frame.width}x{frame.height} pixels"
        )
    return Given.outside(ladder, tokens, frame.to_coded(start.mask))


def _label(classes: tuple[str, ...], name: str | None, settings: Sampling) -> int:
    if name is None:
        if settings.guidance != 1:
            raise GenerateError("guidance needs a class to be guided to")
        return 0
    if not classes:
        raise GenerateError(f"no class {name!r}: this model was trained without classes")
    if name not in classes:
        raise GenerateError(f"no class {name!r}; this model knows: {', '.join(classes)}")
    return 1 + classes.index(name)
