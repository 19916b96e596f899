"""Token files in WebDataset shards: plain USTAR archives of samples KEY.npz + KEY.json.

A shard is the same bytes for the same samples: no times, no owners, samples in the order given.
docs/tokens.md is the reference for users.
"""

from __future__ import annotations

import io
import itertools
import json
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dqcodec import files, token_files
from dqcodec.errors import TokenFileError
from dqcodec.token_files import TokenFile

_NUMBER = re.compile(r"%0?(\d*)d")
_LABELLED = re.compile(r"(\d\d)_\d{5}")


@dataclass(frozen=True, eq=False)
class Sample:
    """One sample. key: see `key_of`. contents: its tokens. label: class index, or None."""

    key: str
    contents: TokenFile
    label: int | None = None

    def members(self) -> dict[str, bytes]:
        """Name and bytes of each file of the sample."""
        tokens = self.contents.tokens
        facts = {"width": tokens.width, "height": tokens.height,
                 "fingerprint": self.contents.fingerprint.hex(), "label": self.label}
        return {f"{self.key}.npz": token_files.pack(self.contents), f"{self.key}.json": json.dumps(facts).encode()}


def key_of(path: Path) -> str:
    """Key of a file, given its path below the folder: its path without suffix, "/" between folders.

    WebDataset ends a key at the first dot of the file's name, so other dots become "_". Raises
    TokenFileError if it is too long for a USTAR header.
    """
    key = path.with_name(path.stem.replace(".", "_")).as_posix()
    try:
        _header(f"{key}.json", b"").tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")
    except ValueError as error:
        raise TokenFileError("its name is too long for a tar shard; rename it or its folder") from error
    return key


def label_of(key: str, labels: dict[str, int] | None) -> int | None:
    """Class of a sample: `labels` of its key or of a folder above it, the nearest one first; with no
    `labels` at all, CC of a name CC_NNNNN; else None."""
    path = PurePosixPath(key)
    if labels is None:
        match = _LABELLED.fullmatch(path.name)
        return int(match[1]) if match else None
    return next((labels[str(name)] for name in (path, *path.parents) if str(name) in labels), None)


def read_labels(path: str) -> dict[str, int]:
    """Labels from a JSON object of keys or folders to integers; raises TokenFileError if it is not one."""
    try:
        labels = json.loads(files.read_bytes(path))
    except ValueError as error:
        raise TokenFileError(f"{path}: not a JSON file: {error}") from error
    if not isinstance(labels, dict) or any(type(label) is not int for label in labels.values()):
        raise TokenFileError(f"{path}: labels must be a JSON object of names to integers")
    return labels


def shard_path(pattern: str, number: int) -> Path:
    """Name of a shard: `pattern` with the number in place of %d or %06d.

    Raises ValueError if the file name has not exactly one of them.
    """
    path = Path(pattern)
    if len(_NUMBER.findall(path.name)) != 1 or path.suffix != ".tar":
        raise ValueError(f"{pattern}: shards need a number in their name, as in tokens-%06d.tar")
    return path.with_name(_NUMBER.sub(lambda found: f"{number:0{found[1] or 1}d}", path.name))


def existing_shards(pattern: str) -> list[Path]:
    """Shards of this pattern that are there already, by any number."""
    first = shard_path(pattern, 0)
    before, after = _NUMBER.split(Path(pattern).name)[::2]
    name = re.compile(rf"{re.escape(before)}\d+{re.escape(after)}")
    return sorted(p for p in first.parent.glob("*") if name.fullmatch(p.name))


def write_shards(pattern: str, samples: Iterable[Sample], per_shard: int = 1000) -> list[Path]:
    """Write samples to shards, each whole or not at all, and return their paths.

    pattern: as in `shard_path`. samples: taken one at a time. Raises DqError if a shard cannot be written.
    """
    written = []
    samples = iter(samples)
    for number, first in enumerate(samples):
        shard = itertools.chain([first], itertools.islice(samples, per_shard - 1))
        path = shard_path(pattern, number)
        files.write_whole(str(path), lambda temporary, shard=shard: _fill(temporary, shard))
        written.append(path)
    return written


def _fill(path: Path, samples: Iterable[Sample]) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT, encoding="utf-8") as shard:
        for sample in samples:
            for name, data in sample.members().items():
                shard.addfile(_header(name, data), io.BytesIO(data))


def _header(name: str, data: bytes) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)  # its times and owners are zero
    header.size = len(data)
    header.mode = 0o644
    return header
