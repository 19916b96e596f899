"""A detail layer as a file in the folder `detail` beside the models: network in 8 bits, codebook and table exact.

A layer for single patches has a codebook and a table alone, and what they mean is shown by the network of a layer for
regions in the same folders, which its header names by fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from dqcodec.bitstream.detail import DetailTable
from dqcodec.errors import UnknownModelError
from dqcodec.models.detail import PATCH, REGION, Detail, DetailConfig
from dqcodec.weights import registry
from dqcodec.weights.few_bits import packed, unpacked
from dqcodec.weights.tensor_file import EIGHT_BITS, TRAINING_ONLY, read_stored, write_stored

FOLDER = "detail"
CODEBOOK, TABLE = "codebook.embedding", "table"
NETWORK = "network"  # in the header of a layer for single patches, before the fingerprint of the network's layer


@dataclass(frozen=True, eq=False)
class DetailLayer:
    """A detail layer ready to use. net: in evaluation mode. table: what the bitstream must know of it."""

    net: Detail
    table: DetailTable

    @property
    def fingerprint(self) -> bytes:
        return self.table.fingerprint

    @property
    def bits(self) -> np.ndarray:
        """Bits of each code, (K,) float64."""
        return 16 - np.log2(self.table.table.astype(np.float64))

    @property
    def region_bits(self) -> float:
        """Bits of a whole region, in the mean."""
        return self.table.side**2 * float(self.bits @ self.table.table) / self.table.table.sum()


def fingerprint(codebook: np.ndarray, table: np.ndarray, sparse: bool = False) -> bytes:
    """4 bytes that stand for the meaning of codes: of the codebook (K, 48) float16 and the table (K,) uint32.

    sparse: they are of single patches, not of whole regions.
    """
    digest = hashlib.sha256(f"{'sparse ' * sparse}detail|{PATCH}|{codebook.shape}|".encode())
    digest.update(codebook.astype("<f2").tobytes())
    digest.update(table.astype("<u4").tobytes())
    return digest.digest()[:4]


def write(path: Path, config: DetailConfig, state: dict[str, torch.Tensor], table: np.ndarray,
          notes: dict[str, str]) -> bytes:
    """Write a detail layer's file, whole or not at all; returns its fingerprint. state: of a Detail."""
    tensors = {k: v.float().cpu().numpy() for k, v in state.items() if not k.endswith(TRAINING_ONLY)}
    kept = {k: v.astype(np.float16) for k, v in tensors.items() if v.ndim == 1 or k == CODEBOOK}
    kept |= packed({k: v for k, v in tensors.items() if k not in kept}, EIGHT_BITS)
    mark = fingerprint(kept[CODEBOOK], table)
    metadata = {"config": json.dumps(config.to_dict()), "fingerprint": mark.hex(), **notes}
    write_stored(path, kept | {TABLE: table.astype(np.uint32)}, metadata)
    return mark


def write_book(path: Path, config: DetailConfig, codebook: np.ndarray, table: np.ndarray, network: bytes,
               notes: dict[str, str]) -> bytes:
    """Write the file of a layer for single patches, whole or not at all; returns its fingerprint.

    network: fingerprint of the layer for regions whose network shows its codes.
    """
    kept = {CODEBOOK: codebook.astype(np.float16), TABLE: table.astype(np.uint32)}
    mark = fingerprint(kept[CODEBOOK], table, sparse=True)
    write_stored(path, kept, {"config": json.dumps(config.to_dict()), "fingerprint": mark.hex(),
                              NETWORK: network.hex(), **notes})
    return mark


@lru_cache(maxsize=4)
def read(path: Path) -> DetailLayer:
    """Read a detail layer's file; raises UnknownModelError if it is broken or not what it says it is, or lacks the
    layer whose network it borrows."""
    header = registry.read_header(path)
    sparse = NETWORK in header
    try:
        tensors = read_stored(path)
        table = tensors.pop(TABLE)
        mark = fingerprint(tensors[CODEBOOK], table, sparse)
        state = {k: v for k, v in tensors.items() if not k.startswith(EIGHT_BITS)} | unpacked(tensors, EIGHT_BITS)
        if sparse:
            lent = find(bytes.fromhex(header[NETWORK])).net.state_dict()
            state |= {k: v.cpu().numpy() for k, v in lent.items() if not k.startswith("codebook.")}
        with torch.random.fork_rng(devices=()):  # loading must not move the caller's random numbers
            net = Detail(DetailConfig(**json.loads(header["config"])))
        own = net.state_dict()
        missing, unexpected = net.load_state_dict(
            {k: torch.from_numpy(v.astype(np.float32)).reshape(own[k].shape) for k, v in state.items()}, strict=False)
        lost = [name for name in missing if not name.endswith(TRAINING_ONLY)] + unexpected
        if lost:
            raise ValueError(f"tensor {lost[0]} missing or unknown")
        layer = DetailLayer(net.eval(), DetailTable(mark, REGION // PATCH, table, sparse))
    except UnknownModelError:
        raise
    except Exception as error:
        raise UnknownModelError(f"{path}: broken detail layer ({str(error).splitlines()[0]})") from error
    if mark.hex() != header.get("fingerprint"):
        raise UnknownModelError(f"{path}: codebook or table differ from the fingerprint in its header")
    return layer


def _files() -> list[Path]:
    folders = [folder / FOLDER for folder in registry.folders()]
    return [path for folder in folders for path in sorted(folder.glob("*")) if registry.is_model_file(path)]


def named(name: str) -> DetailLayer | None:
    """The layer that files are written with, "default" for whole regions and "sparse" for single patches, or None if
    there is none."""
    for path in _files():
        if registry.name_of(path) == name:
            return read(path)
    return None


def find(mark: bytes) -> DetailLayer:
    """The layer of a fingerprint. Raises UnknownModelError if it is not at hand."""
    for path in _files():
        if registry.mark_of(path) == mark.hex():
            return read(path)
    raise UnknownModelError(f"the file's detail was made with layer {mark.hex()}, which is not at hand; --upto fine "
                            "shows the picture without it")
