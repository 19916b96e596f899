"""Model files with less in them: what a superseded model does not need, or what another file has too."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dqcodec.errors import DataError
from dqcodec.weights.few_bits import steps_of
from dqcodec.weights.fingerprint import PRIOR, QUANTIZER
from dqcodec.weights.loans import (
    CODES,
    CODES_NOTES,
    CODES_OF,
    DECODER_OF,
    PRIOR_ON,
    borrow_decoder,
    read_codes,
    read_whole,
    shifted,
)
from dqcodec.weights.model_file import Model
from dqcodec.weights.realism import DECODER, REALISM
from dqcodec.weights.registry import beside, name_of, read_header
from dqcodec.weights.tensor_file import ENCODING, read_stored, read_tensors, write_stored, write_tensors


def retire(path: Path, output: Path, lender: Path | None, bits: int) -> None:
    """Write `output`, the model file `path` with what its old files need to decode and no more: no encoder, no router,
    the decoder where its dial stands and no dial, and its kernels in `bits` bits, at most 8.

    Neither its decoder nor its codebooks are kept with `lender`, a model file of the same codebooks whose decoder was
    trained to decode them; it then serves both and must stay in one folder with `output`. Raises DataError if the
    codebooks differ.
    """
    header, tensors = read_header(path), read_tensors(path) | read_codes(path)
    header.pop(PRIOR_ON, None)
    kept = {k: v for k, v in tensors.items() if not k.startswith((*ENCODING, REALISM))}
    if lender is not None:
        borrow_decoder(path, lender, header, dict(kept))
        kept = {k: v for k, v in kept.items() if not k.startswith((DECODER, QUANTIZER))}
        header |= {DECODER_OF: name_of(lender)}
    else:
        _fix_dial(path, kept, header)
    write_tensors(output, kept, header, steps_of(bits))


def share(path: Path, output: Path, lender: Path, bits: int) -> None:
    """Write `output`, the model file `path` without codebooks, tables and prior, those of the model file `lender`
    being the same, with the decoder where its dial stands and no dial, and with its kernels in `bits` bits, at most 8.
    `lender` must stay in one folder with `output`.

    Raises DataError if the fingerprints differ.
    """
    tensors, header = read_whole(path)
    if header["fingerprint"] != read_header(lender)["fingerprint"]:
        raise DataError(f"{path}: its codebooks, tables and prior are not those of {lender.name}; make it with "
                        f"`train export --vae {lender.name}`")
    kept = {k: v for k, v in tensors.items() if not k.startswith((*CODES, REALISM))}
    _fix_dial(path, kept, header)
    header = {k: v for k, v in header.items() if k not in CODES_NOTES} | {CODES_OF: name_of(lender)}
    write_tensors(output, kept, header, steps_of(bits))


def keep_difference(path: Path, output: Path, base: Path) -> None:
    """Write `output`, the model file `path` with its prior as the difference from that of the model file `base`, which
    must stay as it is, in one folder with `output`: small numbers, which xz packs well. All else stays to the bit.

    Raises DataError if one of the two has no prior, or `base` builds on `output` itself.
    """
    header, tensors = read_header(path), read_stored(path)
    own, its = read_codes(path), read_codes(base)
    if base.resolve() == output.resolve() or name_of(output) in _bases(base):
        raise DataError(f"{base}: builds on {name_of(output)} itself")
    for file, codes in ((path, own), (base, its)):
        if not any(k.startswith(PRIOR) for k in codes):
            raise DataError(f"{file}: has no prior")
    write_stored(output, tensors | shifted(own, its, -1), header | {PRIOR_ON: name_of(base)})


def _bases(path: Path) -> list[str]:
    """Names of the models that the prior in a model file builds on."""
    found: list[str] = []
    while PRIOR_ON in (header := read_header(path)):
        found.append(header[PRIOR_ON])
        path = beside(path, header[PRIOR_ON])
    return found


def _fix_dial(path: Path, tensors: dict[str, np.ndarray], header: dict[str, str]) -> None:
    """Make the decoder in `tensors` that of the model file `path` where its dial stands, if it has one."""
    if header.pop("realism", None) is not None:
        tensors |= {DECODER + k: v.numpy() for k, v in Model.read(path).vae.decoder.state_dict().items()}


def make_whole(path: Path, output: Path) -> None:
    """Write `output`, the model file `path` with all that it borrows, so that it needs no other."""
    write_tensors(output, *read_whole(path))
