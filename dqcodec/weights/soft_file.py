"""What a model's decoder lacks for soft pictures, as a file of the model's name in the folder `soft` beside it."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch

from dqcodec.errors import UnknownModelError
from dqcodec.models.dqvae import DQVAE
from dqcodec.models.softness import Softness
from dqcodec.weights import registry
from dqcodec.weights.few_bits import packed, unpacked
from dqcodec.weights.tensor_file import EIGHT_BITS, read_stored, write_stored

FOLDER, READING = "soft", "reading"


def path_for(model: Path) -> Path:
    """Where the file of a model file's softness lies, whether or not there is one."""
    return registry.beside(model.parent / FOLDER / model.name, registry.name_of(model))


def decoder_mark(vae: DQVAE) -> str:
    """8 hexadecimal digits that stand for the decoder of `vae`, its dial at the least distortion."""
    mark = 0  # a CRC, which is against mistakes, and quick: it is computed whenever a model is read
    for name, value in sorted(vae.decoder.state_dict().items()):
        mark = zlib.crc32(np.ascontiguousarray(value.numpy(force=True), "<f4"), zlib.crc32(name.encode(), mark))
    return f"{mark:08x}"


def write(path: Path, vae: DQVAE, softness: Softness, notes: dict[str, str]) -> None:
    """Write the file of the softness of `vae`, whole or not at all: kernels in 8 bits, the weights that an
    amount is read with exact, all else in half precision."""
    tensors = {k: v.detach().float().cpu().numpy() for k, v in softness.state_dict().items()}
    kernels = {k: v for k, v in tensors.items() if k.endswith(("/a", "/b"))}
    kept = {k: v if k == READING else v.astype(np.float16) for k, v in tensors.items() if k not in kernels}
    kept |= packed(kernels, EIGHT_BITS)
    write_stored(path, kept, {"decoder": decoder_mark(vae), "rank": str(softness.rank), **notes})


def read(path: Path, vae: DQVAE) -> Softness:
    """Read the file of the softness of `vae`, its dial at the least distortion. Raises UnknownModelError if the file is
    broken or of another decoder."""
    if registry.read_header(path).get("decoder") != decoder_mark(vae):
        raise UnknownModelError(f"{path}: made for another decoder than that of the model beside it; train and export "
                                "it again, or remove it")
    return read_for_any(path, vae).eval().requires_grad_(False)


def read_for_any(path: Path, vae: DQVAE) -> Softness:
    """Read a file of softness for `vae`, whose decoder need only be of the shape of that which it was made for. Raises
    UnknownModelError if the file is broken or of another shape."""
    header = registry.read_header(path)
    try:
        tensors = read_stored(path)
        state = {k: v for k, v in tensors.items() if not k.startswith(EIGHT_BITS)} | unpacked(tensors, EIGHT_BITS)
        with torch.random.fork_rng(devices=()):  # loading must not move the caller's random numbers
            softness = Softness(vae.decoder, int(header["rank"]))
        softness.load_state_dict({k: torch.from_numpy(v.astype(np.float32)) for k, v in state.items()})
    except UnknownModelError:
        raise
    except Exception as error:
        raise UnknownModelError(f"{path}: broken file ({str(error).splitlines()[0]})") from error
    return softness
