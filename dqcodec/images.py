"""Pictures in and out: everything Pillow opens becomes sRGB-sized 8-bit pixels, alpha and a profile."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

from dqcodec import files
from dqcodec.errors import ImageError

MAX_SIDE = 2**31 - 1


@dataclass(frozen=True)
class Picture:
    """An image as the codec sees it.

    pixels: (H, W, 3) uint8. alpha: (H, W) uint8 or None. grey: deliver one channel.
    icc, exif, xmp: bytes or None; exif without orientation, which has been applied.
    notes: what had to be changed, one line each, for the user.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    grey: bool = False
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    notes: tuple[str, ...] = field(default=())


def open_image(source: Path | bytes) -> Image.Image:
    """Open and fully read an image file; raises ImageError with the reason if that fails."""
    name = "standard input" if isinstance(source, bytes) else str(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
            image.load()
        return image
    except FileNotFoundError as error:
        raise ImageError(f"{name}: no such file") from error
    except IsADirectoryError as error:
        raise ImageError(f"{name}: is a folder, not an image") from error
    except PermissionError as error:
        raise ImageError(f"{name}: no permission to read it") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: more pixels than Pillow's limit against decompression bombs") from error
    except Exception as error:  # Pillow's plugins raise whatever their parsers meet
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "cannot identify" in reason:
            reason = "not an image in any format that Pillow reads"
        raise ImageError(f"{name}: {reason}") from error


def to_picture(image: Image.Image) -> Picture:
    """Normalise a Pillow image: first frame, upright, 8 bits, RGB, alpha apart."""
    notes = []
    if getattr(image, "n_frames", 1) > 1:
        notes.append(f"animated input: only the first of {image.n_frames} frames is coded")
        image.seek(0)
    icc, xmp = image.info.get("icc_profile"), image.info.get("xmp")
    image = ImageOps.exif_transpose(image)
    exif = image.getexif().tobytes() if len(image.getexif()) else None
    if image.mode.startswith(("I", "F")):
        image = _to_8_bit(image, notes)
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        image, icc = _to_rgb(image, icc)
    elif _is_srgb(icc):
        icc = None  # a .dq file without a profile is sRGB
    transparent = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    grey = image.mode in ("L", "LA", "La", "1")
    alpha = None
    if transparent:
        rgba = image.convert("RGBA")
        alpha = np.asarray(rgba.getchannel("A"))
        pixels = np.asarray(rgba)[..., :3]
    else:
        pixels = np.asarray(image.convert("RGB"))
    if isinstance(xmp, str):
        xmp = xmp.encode()
    return Picture(np.ascontiguousarray(pixels), alpha, grey, icc, exif, xmp, tuple(notes))


def from_picture(picture: Picture) -> Image.Image:
    """A Pillow image in mode L, LA, RGB or RGBA with profile and metadata in `info`."""
    image = Image.fromarray(picture.pixels)
    if picture.grey:
        image = image.convert("L")
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    for key, value in (("icc_profile", picture.icc), ("exif", picture.exif), ("xmp", picture.xmp)):
        if value:
            image.info[key] = value
    return image


def pack_alpha(alpha: np.ndarray) -> bytes:
    """Lossless WebP where its size limit allows, else PNG: whichever is smaller."""
    image = Image.fromarray(alpha)
    choices = []
    for options in ({"format": "PNG", "optimize": True}, {"format": "WEBP", "lossless": True, "method": 4}):
        if options["format"] == "WEBP" and max(alpha.shape) > 16383:
            continue
        buffer = io.BytesIO()
        image.save(buffer, **options)
        choices.append(buffer.getvalue())
    return min(choices, key=len)


def unpack_alpha(data: bytes, width: int, height: int) -> np.ndarray:
    """Alpha (H, W) uint8 of an alpha section; raises ImageError if it does not fit the image."""
    try:
        image = Image.open(io.BytesIO(data), formats=("PNG", "WEBP"))
        if image.size != (width, height):  # before any pixel is decoded
            raise ImageError(f"the alpha channel is {image.width}x{image.height}, the image {width}x{height}")
        return np.asarray(image.convert("RGB").getchannel(0) if image.mode != "L" else image)
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"the alpha channel is broken: {error}") from error


def _to_8_bit(image: Image.Image, notes: list[str]) -> Image.Image:
    values = np.asarray(image, np.float64)
    if image.mode.startswith("I;16") or image.mode == "I":
        notes.append("16-bit input: coded with 8 bits a channel")
        values = values / 257.0
    else:
        low, high = np.nanmin(values), np.nanmax(values)
        notes.append(f"floating-point input: range {low:g}..{high:g} mapped to 0..255")
        values = (np.nan_to_num(values, nan=low) - low) * (255.0 / (high - low) if high > low else 0.0)
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


def _to_rgb(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bytes | None]:
    """RGB of another colour space, by its profile if it has a usable one."""
    if icc and image.mode in ("CMYK", "LAB"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"), None
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile: Pillow's plain conversion is the best left
    return image.convert("RGB"), None


def _is_srgb(icc: bytes | None) -> bool:
    if not icc:
        return False
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(icc)))
    except (ImageCms.PyCMSError, OSError):
        return False
    return "srgb" in name.lower().replace(" ", "")


def format_of(target: str) -> str:
    """Pillow format of an output name, PNG for a stream without suffix; raises ImageError if there is none."""
    suffix = Path(target).suffix.lower()
    if not suffix and files.is_stream(target):
        return "PNG"
    Image.init()
    kind = Image.EXTENSION.get(suffix)
    if kind is None or kind not in Image.SAVE:
        raise ImageError(f"{target}: {suffix or 'no suffix'} is no image format that Pillow writes; try .png")
    return kind


def encode(image: Image.Image, kind: str) -> bytes:
    """Bytes of an image file of format `kind`, metadata included where the format holds it."""
    options = {key: image.info[key] for key in ("icc_profile", "exif", "xmp") if key in image.info}
    if kind in ("JPEG", "BMP") and image.mode in ("RGBA", "LA"):
        raise ImageError(f"{kind} has no alpha channel, the picture has one; choose .png or .webp")
    if kind == "JPEG":
        options |= {"quality": 95, "subsampling": 0}
    elif kind == "WEBP":
        options |= {"lossless": True}
    buffer = io.BytesIO()
    try:
        image.save(buffer, format=kind, **options)
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot be written as {kind}: {error}; choose .png") from error
    return buffer.getvalue()
