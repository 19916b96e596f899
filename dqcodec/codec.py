"""Image to bytes and back: the codec as a function."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from dqcodec import bitstream, grain, images, reduction
from dqcodec.bitstream import WHOLE, Details, DetailTable, Extra, Frame, Tokens
from dqcodec.errors import DqError, FormatError, OutOfReachError, RateError, UnknownModelError
from dqcodec.images import Picture
from dqcodec.weights import registry

if TYPE_CHECKING:
    import torch

    from dqcodec.models.perceptual import LpipsVgg
    from dqcodec.weights.model_file import Model

EFFORTS = ("fast", "best", "search")
GRAINS = ("coarse", "medium", "fine")
MAX_PIXELS = 2**28
MAX_METADATA = 1 << 24  # bytes of an unpacked profile or EXIF block


@dataclass(frozen=True)
class Decoded:
    """A decoded file.

    image: the picture. problem: None or one line on what was missing or damaged. invented: the steps that the
    file should have held and that the prior has filled in.
    """

    image: Image.Image
    problem: str | None
    invented: tuple[int, ...] = ()


def compress(
    image: Image.Image | Picture,
    *,
    bpp: float | None = None,
    size: int | None = None,
    quality: int | None = None,
    scale: float | None = None,
    softness: float | None = None,
    effort: str = "fast",
    model: str = "default",
    device: str = "auto",
    keep_metadata: bool = False,
    detail: bool = True,
    metric_weights: Path | None = None,
    search_steps: int | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> bytes:
    """Compress an image to the bytes of a .dq file.

    image: any Pillow image. At most one of: bpp, bits of the file for each pixel; size, bytes of the file; quality,
    1..100 (default 50). bpp and size are met within 2 % from below. scale: over 0 and up to 1, the part of its
    width and height to which the image is reduced before it is coded; default: chosen by what that would lose.
    `decompress` enlarges it again. softness: 0..1, by how much the decoder is adapted to a picture that is soft at
    its size; default: measured. effort: "fast"; "best" for a choice of regions by real costs and decodes, several
    times slower; "search" for codes moved by the gradient of L1 + LPIPS-VGG, ten to thirty times slower. model:
    a name from dqcodec.weights.available() or a path. keep_metadata: also EXIF and XMP; alpha and a colour profile
    other than sRGB are always kept. detail: whether the file may have detail in pixels on top of its tokens.
    metric_weights: for "search", the folder of VGG16's and LPIPS' weights; None for those of the lpips package,
    which downloads them. search_steps: of the gradient, 1 or more (default 8); time goes with their number. progress:
    is told the share of a search, 0..1, that is done.

    Raises RateError if the model cannot reach the rate for this image, ImageError, UnknownModelError, DataError if
    the weights of LPIPS are not at hand.

    >>> import dqcodec, skimage
    >>> from PIL import Image
    >>> photo = Image.fromarray(skimage.data.chelsea())
    >>> data = dqcodec.compress(photo, bpp=0.2)
    >>> 0.98 * 0.2 <= 8 * len(data) / (photo.width * photo.height) <= 0.2
    True
    >>> dqcodec.decompress(data).size == photo.size
    True
    """
    from dqcodec import networks
    from dqcodec.encoder import Wanted, file_of
    from dqcodec.refine import STEPS, Search

    if sum(option is not None for option in (bpp, size, quality)) > 1:
        raise DqError("give only one of bpp, size and quality")
    if effort not in EFFORTS:
        raise DqError(f"effort {effort!r} is none of {', '.join(EFFORTS)}")
    if search_steps is not None and search_steps < 1:
        raise DqError(f"search_steps {search_steps} is less than 1")
    if quality is not None and not 1 <= quality <= 100:
        raise DqError(f"quality {quality} is outside 1..100")
    if bpp is not None and not 0 < bpp < 1000 or size is not None and size < 1:
        raise DqError("bpp and size must be positive")
    if scale is not None and not 0 < scale <= 1:
        raise DqError(f"scale {scale} is outside 0..1")
    if softness is not None and not 0 <= softness <= 1:
        raise DqError(f"softness {softness} is outside 0..1")
    picture = image if isinstance(image, Picture) else images.to_picture(image)
    height, width = picture.pixels.shape[:2]
    if width * height > MAX_PIXELS:
        raise DqError(f"{width}x{height} pixels are over the limit of {MAX_PIXELS}; scale the image down")
    extras = _extras(picture, keep_metadata)
    loaded = registry.load(model)
    if not loaded.encodes:
        raise UnknownModelError(f"model {model} is kept for its old files and only decodes; leave --model out, or name "
                                "another")
    target_device = networks.pick_device(device)
    if bpp is not None:
        size = int(bpp * width * height / 8)
    search = None
    if effort == "search":
        search = Search(_metric(metric_weights, target_device), search_steps or STEPS, progress)
    wanted = Wanted(size, 50 if quality is None else quality, None if scale is None else round(scale * WHOLE) or 1,
                    softness, effort == "best", search, detail)
    loaded.vae.to(target_device)
    try:
        return file_of(loaded, picture, extras, wanted, target_device)
    except OutOfReachError as error:
        asked, nearest = (8 * count / (width * height) for count in (error.target, error.nearest))
        raise RateError(f"{error}, which is {nearest:.4f} bpp for {asked:.4f}") from error


def decompress(
    data: bytes,
    *,
    upto: str | None = None,
    partial: bool = False,
    complete: bool = False,
    realism: float | None = None,
    model: str | None = None,
    device: str = "auto",
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """Decode a .dq file to a Pillow image (mode L, LA, RGB or RGBA); see `decode`."""
    return decode(data, upto=upto, partial=partial, complete=complete, realism=realism, model=model, device=device,
                  max_pixels=max_pixels).image


def decode(
    data: bytes,
    *,
    upto: str | None = None,
    partial: bool = False,
    complete: bool = False,
    realism: float | None = None,
    model: str | None = None,
    device: str = "auto",
    max_pixels: int = MAX_PIXELS,
) -> Decoded:
    """Decode a .dq file and say what was wrong with it.

    upto: "coarse", "medium" or "fine" stops after that grain. partial: a truncated or damaged file
    gives the coarser picture that its intact part holds. complete: and the prior invents the rest, the same
    for the same file everywhere. realism: 0 for the least distortion .. 1 for the most realistic texture, where the
    model has two decoders; default: the model's own setting. model: use this model, whose fingerprint must fit;
    default: found by the file's fingerprint. Raises FormatError or UnknownModelError, DqError if the model has no
    realism to choose, GenerateError if it has no prior to complete a damaged file with.
    """
    if upto is not None and upto not in GRAINS:
        raise DqError(f"upto {upto!r} is none of {', '.join(GRAINS)}")
    header = bitstream.inspect(data).header
    if header.width * header.height <= max_pixels:
        found = model_for(header.fingerprint, model)
        loaded, share = found.at(realism), found.share_of_grain(realism)
        step = None if upto is None else loaded.config.ladder.last_step_of_grain(upto)
    else:
        loaded, share, step = None, 1.0, None  # `read` refuses the size by name
    parsed = bitstream.read(
        data, lambda mark: loaded.entropy, max_pixels=max_pixels, partial=partial or complete, upto_step=step,
        find_detail=_detail_table,
    )
    tokens, invented = parsed.tokens, ()
    if complete:
        from dqcodec.completion import fill_in

        wanted = header.steps if step is None else min(header.steps, step + 1)
        invented = tuple(range(parsed.steps_read, wanted))
        tokens = fill_in(loaded, tokens, invented)
    frame = replace(header.frame, grain=round(header.grain * share))
    return Decoded(render(loaded, tokens, frame, parsed.extras, device, parsed.details), parsed.problem, invented)


def render(model: Model, tokens: Tokens, frame: Frame, extras: Sequence[Extra], device: str = "auto",
           details: Details | None = None) -> Image.Image:
    """The picture of some tokens; frame, extras, details: of their file. Raises FormatError, ImageError for broken
    extras."""
    from dqcodec import networks  # torch: not before the file has proved sound

    kept = {extra.kind: extra.data for extra in extras}
    target_device = networks.pick_device(device)
    model = model.softened(_softness_of(kept.get("soft")))
    pixels = networks.synthesise(model.vae.to(target_device), tokens, target_device)
    if details is not None:
        from dqcodec.weights import detail_file

        layer = detail_file.find(details.layer.fingerprint)
        pixels = networks.with_detail(layer.net.to(target_device), pixels, details.codes, target_device)
    pixels = grain.added(reduction.enlarged(pixels, frame), frame.grain)
    alpha = None
    if "alpha" in kept:
        alpha = images.unpack_alpha(kept["alpha"], frame.width, frame.height)
    unpacked = {kind: _unpack(kind, kept[kind]) for kind in ("icc", "exif", "xmp") if kind in kept}
    return images.from_picture(Picture(pixels, alpha, frame.grey, **unpacked))


def _softness_of(data: bytes | None) -> float:
    """The amount, 0..1, that the payload of a section of softness says, 0 without one; raises FormatError."""
    if data is None:
        return 0.0
    if len(data) != 1:
        raise FormatError(f"section soft has {len(data)} bytes of payload for one")
    return data[0] / 255


def _detail_table(mark: bytes) -> DetailTable:
    from dqcodec.weights import detail_file  # torch, as above

    return detail_file.find(mark).table


def tokens_of(data: bytes, model: str | None = None, max_pixels: int = MAX_PIXELS) -> Tokens:
    """Grain map and codes of a .dq file, without decoding pixels."""
    return bitstream.read(data, lambda mark: model_for(mark, model).entropy, max_pixels=max_pixels).tokens


def model_for(mark: bytes, name: str | None = None) -> Model:
    """The model of a file's fingerprint, or the one named; raises UnknownModelError, FormatError if it differs."""
    if name is None:
        return registry.find(mark)
    loaded = registry.load(name)
    if loaded.fingerprint != mark:
        raise FormatError(f"the file was made with model {mark.hex()}; {name} is {loaded.fingerprint.hex()}")
    return loaded


@functools.lru_cache(maxsize=1)
def _metric(folder: Path | None, device: torch.device) -> LpipsVgg:
    import torch

    from dqcodec.models.perceptual import LpipsVgg

    return LpipsVgg(folder).to(device, memory_format=torch.channels_last)


def _extras(picture: Picture, keep_metadata: bool) -> list[Extra]:
    extras = []
    if picture.alpha is not None:
        extras.append(Extra("alpha", images.pack_alpha(picture.alpha)))
    for kind, wanted in (("icc", True), ("exif", keep_metadata), ("xmp", keep_metadata)):
        value = getattr(picture, kind)
        if wanted and value:
            extras.append(Extra(kind, zlib.compress(value, 9)))
    return extras


def _unpack(kind: str, data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        value = unpacker.decompress(data, MAX_METADATA)
    except zlib.error as error:
        raise FormatError(f"section {kind} does not unpack: {error}") from error
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise FormatError(f"section {kind} is larger than {MAX_METADATA} bytes or cut short")
    return value


def partial_hint(error: DqError, data: bytes) -> str:
    """A hint at --partial where the damage has left at least the coarsest picture."""
    if not isinstance(error, FormatError):
        return ""
    try:
        steps = [s for s in bitstream.inspect(data).sections if s.step is not None]
    except FormatError:
        return ""
    return "; --partial decodes what is intact" if steps and steps[0].intact else ""
