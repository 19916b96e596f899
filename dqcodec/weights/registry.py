"""Where models come from: the folders of DQCODEC_MODELS, then the package, or a path."""

from __future__ import annotations

import json
import lzma
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dqcodec.errors import UnknownModelError

if TYPE_CHECKING:
    from dqcodec.weights.model_file import Model

VARIABLE = "DQCODEC_MODELS"
SUFFIX, PACKED = ".safetensors", ".safetensors.xz"  # of model files; the second is the first, compressed by xz
FOR_OLD_FILES = ("first", "second", "third", "fourth")  # superseded models that stay so that their files decode


def folders() -> list[Path]:
    """Where model files are looked for, in this order."""
    extra = [Path(p) for p in os.environ.get(VARIABLE, "").split(os.pathsep) if p]
    return [*extra, Path(__file__).parent]


def _all_files() -> list[Path]:
    """Model files of all folders, "default" first in each."""
    found = []
    for folder in folders():
        files = [*folder.glob("*" + SUFFIX), *folder.glob("*" + PACKED)]
        found += sorted(files, key=lambda path: (name_of(path) != "default", path))
    return found


def _files() -> dict[str, Path]:
    """Model files by name; of several of one name the first, so that a user's stands before the package's."""
    files: dict[str, Path] = {}
    for path in _all_files():
        files.setdefault(name_of(path), path)
    return files


def name_of(path: Path) -> str:
    """Name of the model in a file."""
    return path.name.removesuffix(PACKED).removesuffix(SUFFIX)


def is_model_file(path: Path) -> bool:
    """Whether the name of `path` is one of model files, packed or not."""
    return path.name.endswith((SUFFIX, PACKED))


def beside(path: Path, name: str) -> Path:
    """The file of the model `name` in the folder of the model file `path`, packed or not."""
    plain = path.with_name(name + SUFFIX)
    return plain if plain.exists() else path.with_name(name + PACKED)


def available() -> list[str]:
    """Names of the models at hand, "default" first."""
    return sorted(_files(), key=lambda name: (name != "default", name))


def read_header(path: Path) -> dict[str, str]:
    """Metadata of a model file, without reading its tensors."""
    try:
        with opened(path) as f:
            size = int.from_bytes(f.read(8), "little")
            if not 0 < size < 1 << 20:
                raise ValueError("header size out of range")
            return json.loads(f.read(size))["__metadata__"]
    except (OSError, ValueError, KeyError, EOFError, lzma.LZMAError) as error:
        raise UnknownModelError(f"{path}: not a dqcodec model file ({error})") from error


def opened(path: Path) -> BinaryIO:
    """A model file, open for reading, unpacked if it is packed."""
    return lzma.open(path) if path.name.endswith(PACKED) else path.open("rb")


def path_of(name: str) -> Path:
    """The file of the model of this name or path. Raises UnknownModelError if there is none."""
    files = _files()
    if name in files:
        return files[name]
    if is_model_file(Path(name)) and Path(name).is_file():
        return Path(name)
    raise UnknownModelError(
        f"no model {name!r}; there are: {', '.join(available()) or 'none'} "
        f"(or give the path of a .safetensors model, or set {VARIABLE})"
    )


def load(name: str = "default") -> Model:
    """The model of this name or path, read once. Raises UnknownModelError if there is none."""
    return _load(path_of(name))


@lru_cache(maxsize=4)
def _load(path: Path) -> Model:
    from dqcodec.weights.model_file import Model

    return Model.read(path)


def mark_of(path: Path) -> str | None:
    """Fingerprint in a model file's header, None if the file is broken: it must not hide those beside it."""
    try:
        return read_header(path).get("fingerprint")
    except UnknownModelError:
        return None


def find(fingerprint: bytes) -> Model:
    """The model whose fingerprint a file carries, "default" if it is one of several. Raises UnknownModelError if
    there is none."""
    for path in _all_files():
        if mark_of(path) == fingerprint.hex():
            return _load(path)
    raise UnknownModelError(
        f"the file was made with model {fingerprint.hex()}, which is not at hand; name its "
        f".safetensors file with --model, or put it into a folder named in {VARIABLE}"
    )
