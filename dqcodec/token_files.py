"""Tokens as .npz files, for programs that are not dqcodec: grain map, codes and, on request, codebooks.

docs/tokens.md lists the arrays. A .npz comes from anywhere, so it is read like a .dq file: no pickles, and
every shape is checked against the image's size and the limit before an array is allocated.
"""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dqcodec import bitstream, codec, files
from dqcodec.bitstream import WHOLE, CodeModel, Frame, Ladder, Tokens
from dqcodec.bitstream.frame import MOST_GRAIN
from dqcodec.bitstream.header import FINGERPRINT_BYTES, MAX_SIDE, MAX_STEPS
from dqcodec.bitstream.reader import MAX_PIXELS
from dqcodec.errors import LimitError, TokenFileError
from dqcodec.weights import registry

if TYPE_CHECKING:
    from dqcodec.models.exclusive import ExclusiveQuantizer
    from dqcodec.models.ladder import LadderQuantizer
    from dqcodec.weights.model_file import Model

MAX_CODEBOOK = 2**16  # codes: the frequencies of a step sum to that, and each is at least 1
_FREE_BYTES = 2**24  # largest array whose size the image does not set
_SMALL_GRID = 2**20  # as in bitstream.reader: thin images need more regions than their pixels say


@dataclass(frozen=True, eq=False)
class TokenFile:
    """Contents of a token file.

    tokens: grain map and codes. ladder: the steps of their codes. fingerprint: 4 bytes, the model whose
    codes they are. frame: how the picture is delivered. codebooks: per step (K, D) float32, or empty.
    """

    tokens: Tokens
    ladder: Ladder
    fingerprint: bytes
    frame: Frame
    codebooks: tuple[np.ndarray, ...] = ()


def save(tokens: Tokens, path: str, *, model: str = "default", grey: bool = False, vectors: bool = False) -> None:
    """Write tokens of a model to a .npz file, whole or not at all; an existing file is replaced.

    tokens: must fit the ladder of `model`, a name or path. grey: the picture is to be delivered as one
    channel. vectors: also the codebooks. Raises ValueError if the tokens do not fit, UnknownModelError,
    DqError if the file cannot be written.

    >>> import numpy as np, dqcodec
    >>> from dqcodec import token_files
    >>> from dqcodec.bitstream import ABSENT, Tokens
    >>> coarse = np.random.default_rng(0).integers(0, 1024, (2, 3)).astype(np.int32)
    >>> absent = [np.full((2 * side, 3 * side), ABSENT, np.int32) for side in (2, 4)]
    >>> tokens = Tokens(40, 20, np.zeros((2, 3), np.uint8), (coarse, *absent))
    >>> token_files.save(tokens, "made.npz")
    >>> image = dqcodec.decompress(token_files.to_dq(token_files.load("made.npz")))
    >>> image.size
    (40, 20)
    """
    loaded = registry.load(model)
    tokens.validate(loaded.entropy.ladder)
    files.put_bytes(str(path), pack(_contents(tokens, loaded, Frame.of(tokens, grey), vectors)))


def load(path: str, *, max_pixels: int = MAX_PIXELS) -> TokenFile:
    """Read a .npz token file; needs no model. Raises TokenFileError, LimitError, DqError if there is no file."""
    return unpack(files.read_bytes(str(path)), max_pixels=max_pixels)


def from_dq(
    data: bytes, *, model: str | None = None, vectors: bool = False, max_pixels: int = MAX_PIXELS
) -> TokenFile:
    """Tokens of a .dq file; its extras (alpha, profile, EXIF, XMP) are left out.

    model: name or path, whose fingerprint must fit; default: found by the file's fingerprint. vectors:
    also the codebooks. Raises FormatError, UnknownModelError, TokenFileError.
    """
    found: list[Model] = []

    def find(mark: bytes) -> CodeModel:
        found.append(codec.model_for(mark, model))
        return found[0].entropy

    parsed = bitstream.read(data, find, max_pixels=max_pixels)
    return _contents(parsed.tokens, found[0], parsed.header.frame, vectors)


def to_dq(contents: TokenFile, *, model: str | None = None) -> bytes:
    """The .dq file of these tokens, the same bytes as the file that they came from if it had no extras.

    model: name or path, whose fingerprint must fit; default: found by the fingerprint. Raises
    UnknownModelError if it is not at hand, TokenFileError if the tokens do not fit it.
    """
    entropy = codec.model_for(contents.fingerprint, model).entropy
    if entropy.ladder != contents.ladder:
        raise TokenFileError(
            f"factors and codebook_sizes are not those of model {contents.fingerprint.hex()}, which has "
            f"{list(entropy.ladder.factors)} and {list(entropy.ladder.codebook_sizes)}"
        )
    try:
        contents.tokens.validate(entropy.ladder)
    except ValueError as error:
        raise TokenFileError(str(error)) from error
    return bitstream.write(contents.tokens, entropy, frame=contents.frame)


def pack(contents: TokenFile) -> bytes:
    """Bytes of the .npz file, equal for equal contents."""
    tokens, ladder, frame = contents.tokens, contents.ladder, contents.frame
    arrays = {
        "width": np.int64(tokens.width),
        "height": np.int64(tokens.height),
        "grey": np.bool_(frame.grey),
        "fingerprint": np.array(contents.fingerprint.hex()),
        "factors": np.array(ladder.factors, np.int64),
        "codebook_sizes": np.array(ladder.codebook_sizes, np.int64),
        "levels": tokens.levels,
    }
    if frame.grain:
        arrays["grain"] = np.int64(frame.grain)
    if frame.scale != WHOLE:
        arrays |= {"scale": np.int64(frame.scale), "delivered": np.array([frame.width, frame.height], np.int64)}
    arrays |= {f"codes_{step}": codes for step, codes in enumerate(tokens.codes)}
    arrays |= {f"codebook_{step}": book for step, book in enumerate(contents.codebooks)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def unpack(data: bytes, *, max_pixels: int = MAX_PIXELS) -> TokenFile:
    """Contents of a .npz file; other arrays in it are left alone.

    Raises TokenFileError if an array is missing, has the wrong shape or dtype, or holds values that the
    file's own ladder does not allow; LimitError for more than `max_pixels` pixels.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except Exception as error:  # a broken directory raises whatever zipfile's parser meets
        raise TokenFileError(f"not a .npz file of tokens: {error}") from error
    with archive:
        width, height = (int(_array(archive, name, (), np.integer)) for name in ("width", "height"))
        if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
            raise TokenFileError(f"image size {width}x{height} is outside 1..{MAX_SIDE}")
        ladder = _ladder(archive)
        rows, cols = ladder.grid(width, height)
        cells = rows * cols * max(ladder.region**2, ladder.codes_at(len(ladder) - 1))
        if width * height > max_pixels or cells > 2 * max(max_pixels, _SMALL_GRID):
            raise LimitError(f"{width}x{height} pixels ({rows}x{cols} regions) are over the limit of {max_pixels}")
        levels = _array(archive, "levels", (rows, cols), np.uint8)
        sides = [ladder.side(step) for step in range(len(ladder))]
        codes = tuple(_array(archive, f"codes_{s}", (rows * n, cols * n), np.int32) for s, n in enumerate(sides))
        tokens = Tokens(width, height, levels, codes)
        try:
            tokens.validate(ladder)
        except ValueError as error:
            raise TokenFileError(str(error)) from error
        frame = _frame(archive, tokens, max_pixels)
        return TokenFile(tokens, ladder, _fingerprint(archive), frame, _codebooks(archive, ladder))


def _frame(archive: zipfile.ZipFile, tokens: Tokens, max_pixels: int) -> Frame:
    grey = _has(archive, "grey") and bool(_array(archive, "grey", (), np.bool_))
    grain = int(_array(archive, "grain", (), np.integer)) if _has(archive, "grain") else 0
    if not 0 <= grain <= MOST_GRAIN:
        raise TokenFileError(f"grain {grain} is outside 0..{MOST_GRAIN}")
    if not _has(archive, "scale"):
        return replace(Frame.of(tokens, grey), grain=grain)
    scale = int(_array(archive, "scale", (), np.integer))
    width, height = _array(archive, "delivered", (2,), np.integer).tolist()
    if not (1 <= scale <= WHOLE and 1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise TokenFileError(f"scale {scale} or delivered size {width}x{height} is outside 1..{WHOLE}, 1..{MAX_SIDE}")
    frame = Frame(width, height, grey, scale, grain)
    if width * height > max_pixels:
        raise LimitError(f"{width}x{height} pixels are over the limit of {max_pixels}")
    if frame.coded != (tokens.width, tokens.height):
        raise TokenFileError(f"{width}x{height} pixels at {scale} / {WHOLE} are {frame.coded[0]}x{frame.coded[1]}, not "
                             f"{tokens.width}x{tokens.height}")
    return frame


def _contents(tokens: Tokens, model: Model, frame: Frame, vectors: bool) -> TokenFile:
    ladder = model.entropy.ladder
    books = _codebooks_of(model.vae.quantizer, len(ladder)) if vectors else ()
    return TokenFile(tokens, ladder, model.fingerprint, frame, books)


def _codebooks_of(quantizer: LadderQuantizer | ExclusiveQuantizer, steps: int) -> tuple[np.ndarray, ...]:
    # A model of exclusive grains has one codebook for all of its steps.
    books = getattr(quantizer, "codebooks", None) or [quantizer.codebook] * steps
    return tuple(book.embedding.detach().float().cpu().numpy() for book in books)


def _ladder(archive: zipfile.ZipFile) -> Ladder:
    factors = tuple(_array(archive, "factors", (None,), np.integer).tolist())
    sizes = tuple(_array(archive, "codebook_sizes", (None,), np.integer).tolist())
    if not 1 <= len(factors) <= MAX_STEPS or min(factors) < 1:
        raise TokenFileError(f"factors {factors} must be positive, for 1..{MAX_STEPS} steps")
    if any(not 1 <= size <= MAX_CODEBOOK for size in sizes):
        raise TokenFileError(f"codebook_sizes {sizes} must be 1..{MAX_CODEBOOK}")
    try:
        return Ladder(factors, sizes, region=factors[0])
    except ValueError as error:
        raise TokenFileError(str(error)) from error


def _fingerprint(archive: zipfile.ZipFile) -> bytes:
    text = str(_array(archive, "fingerprint", (), np.str_))
    try:
        mark = bytes.fromhex(text)
    except ValueError:
        mark = b""
    if len(mark) != FINGERPRINT_BYTES:
        raise TokenFileError(f"fingerprint {text!r:.40} is not {2 * FINGERPRINT_BYTES} hex digits")
    return mark


def _codebooks(archive: zipfile.ZipFile, ladder: Ladder) -> tuple[np.ndarray, ...]:
    if not _has(archive, "codebook_0"):
        return ()
    shapes = [(size, None) for size in ladder.codebook_sizes]
    return tuple(_array(archive, f"codebook_{step}", shape, np.float32) for step, shape in enumerate(shapes))


def _has(archive: zipfile.ZipFile, name: str) -> bool:
    return f"{name}.npy" in archive.NameToInfo


def _array(archive: zipfile.ZipFile, name: str, shape: tuple[int | None, ...], kind: type) -> np.ndarray:
    """An array of the archive; None in `shape` stands for any length.

    Its header is checked before its values are read, and no more of them than it may have: neither a
    pickle nor a zip bomb gets anywhere.
    """
    if not _has(archive, name):
        raise TokenFileError(f"array {name} is missing")
    try:
        with archive.open(f"{name}.npy") as stream:
            found, column_major, dtype = _header(stream)
            size = math.prod(found) * dtype.itemsize
            if not _fits(found, shape) or not np.issubdtype(dtype, kind) or dtype.kind == "m":  # time spans: integers
                expected = ", ".join("n" if n is None else str(n) for n in shape)
                raise TokenFileError(f"{name} is {dtype} {found}; it must be {kind.__name__} ({expected})")
            if (None in shape or not shape) and size > _FREE_BYTES:
                raise TokenFileError(f"{name} has {size} bytes, more than the limit of {_FREE_BYTES}")
            data = stream.read(size + 1)  # one more: only at the end does zipfile compare the checksum
        if len(data) != size:
            raise TokenFileError(f"{name} does not have the {size} bytes that its shape needs")
        values = np.frombuffer(data, dtype).reshape(found, order="F" if column_major else "C")
        return values.astype(dtype.newbyteorder("="), order="C")
    except TokenFileError:
        raise
    except Exception as error:  # zipfile, zlib and numpy's parser raise whatever they meet
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TokenFileError(f"array {name} cannot be read: {reason}") from error


def _header(stream) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, column-major order and dtype of an open .npy file."""
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version} of the .npy format")
    return readers[version](stream)


def _fits(found: tuple[int, ...], shape: tuple[int | None, ...]) -> bool:
    return len(found) == len(shape) and all(n >= 0 and m in (n, None) for n, m in zip(found, shape, strict=True))
