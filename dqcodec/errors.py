"""All errors that dqcodec raises for bad input; every message says what, where and what to do."""


class DqError(Exception):
    """Base of every error that the command line turns into one line and exit code 1."""


class WorkerError(DqError):
    """A process that worked on some of many files died."""


class ImageError(DqError):
    """The input is not an image that can be read, or it is broken."""


class FormatError(DqError):
    """A .dq file breaks the format; `offset` is the byte at which that showed (None if unknown)."""

    def __init__(self, message: str, offset: int | None = None):
        super().__init__(message if offset is None else f"{message} (at byte {offset})")
        self.offset = offset


class SignatureError(FormatError):
    """The data does not start with the .dq signature."""


class VersionError(FormatError):
    """The file needs a newer dqcodec."""


class UnknownSectionError(FormatError):
    """A critical section of a kind that this version does not know."""


class TruncatedError(FormatError):
    """The file ends before a section that its tokens need."""


class ChecksumError(FormatError):
    """Stored and computed CRC differ: the file is damaged."""


class LimitError(FormatError):
    """The image exceeds the pixel limit."""


class UnknownModelError(DqError):
    """No model with this name or fingerprint is at hand."""


class RateError(DqError):
    """The rate asked for lies outside what the model can reach for this image."""


class OutOfReachError(RateError):
    """No file of this image has about `target` bytes: `nearest` are those of its smallest or largest."""

    def __init__(self, target: int, nearest: int):
        end = "smallest" if nearest > target else "largest"
        super().__init__(f"{target} bytes are out of reach for this image: its {end} file has {nearest}")
        self.target, self.nearest = target, nearest


class ConfigError(DqError):
    """A training or model configuration is wrong."""


class DataError(DqError):
    """Training or evaluation data is missing or unreadable."""


class TokenFileError(DqError):
    """A .npz file of tokens lacks an array, or holds one that cannot be right."""


class GenerateError(DqError):
    """What was asked of the generator cannot be done: an unknown class, a box outside the image, no prior."""
