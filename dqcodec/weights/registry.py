"""Where models come from: the package, then the folders of DQCODEC_MODELS, or a path."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from dqcodec.errors import UnknownModelError

if TYPE_CHECKING:
    from dqcodec.weights.model_file import Model

VARIABLE = "DQCODEC_MODELS"
FOR_OLD_FILES = ("first", "second")  # superseded models that stay so that their files decode


def _folders() -> list[Path]:
    extra = [Path(p) for p in os.environ.get(VARIABLE, "").split(os.pathsep) if p]
    return [Path(__file__).parent, *extra]


def _files() -> dict[str, Path]:
    files: dict[str, Path] = {}
    for folder in _folders():
        for path in sorted(folder.glob("*.safetensors")):
            files.setdefault(path.stem, path)
    return files


def available() -> list[str]:
    """Names of the models at hand, "default" first."""
    return sorted(_files(), key=lambda name: (name != "default", name))


def read_header(path: Path) -> dict[str, str]:
    """Metadata of a model file, without reading its tensors."""
    try:
        with path.open("rb") as f:
            size = int.from_bytes(f.read(8), "little")
            if not 0 < size < 1 << 20:
                raise ValueError("header size out of range")
            return json.loads(f.read(size))["__metadata__"]
    except (OSError, ValueError, KeyError) as error:
        raise UnknownModelError(f"{path}: not a dqcodec model file ({error})") from error


def _path(name: str) -> Path:
    files = _files()
    if name in files:
        return files[name]
    if name.endswith(".safetensors") and Path(name).is_file():
        return Path(name)
    raise UnknownModelError(
        f"no model {name!r}; there are: {', '.join(available()) or 'none'} "
        f"(or give the path of a .safetensors model, or set {VARIABLE})"
    )


def load(name: str = "default") -> Model:
    """The model of this name or path, read once. Raises UnknownModelError if there is none."""
    return _load(_path(name))


@lru_cache(maxsize=4)
def _load(path: Path) -> Model:
    from dqcodec.weights.model_file import Model

    return Model.read(path)


def find(fingerprint: bytes) -> Model:
    """The model whose fingerprint a file carries. Raises UnknownModelError if there is none."""
    for path in _files().values():
        if read_header(path).get("fingerprint") == fingerprint.hex():
            return load(str(path) if path.stem not in _files() else path.stem)
    raise UnknownModelError(
        f"the file was made with model {fingerprint.hex()}, which is not at hand; name its "
        f".safetensors file with --model, or put it into a folder named in {VARIABLE}"
    )
