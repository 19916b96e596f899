"""Parts that a model file does without, since another model's in the same folder serve it too.

A superseded model may borrow the decoder of one with its codebooks, a small one all that the fingerprint covers. A
superseded prior may be kept as its difference from that of the model which took its place and was trained from it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dqcodec.errors import DataError
from dqcodec.weights.fingerprint import PRIOR, QUANTIZER, TABLES
from dqcodec.weights.realism import DECODER, REALISM
from dqcodec.weights.registry import beside, read_header
from dqcodec.weights.tensor_file import read_tensors

CODES_OF, DECODER_OF, PRIOR_ON = "codes", "decoder", "prior_on"  # in a header, before the name of the lender
CODES = (QUANTIZER, TABLES, PRIOR)
CODES_NOTES = ("prior", "cost_ratio")  # what a header says of codes


def read_whole(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(tensors, header) of a model file, with all that it borrows.

    Raises UnknownModelError if it is broken or a lender is not there, DataError if a lender is not what it was.
    """
    header, tensors = read_header(path), read_tensors(path)
    if CODES_OF in header:
        lender = beside(path, header.pop(CODES_OF))
        its = read_header(lender)
        if its.get("fingerprint") != header["fingerprint"]:
            raise DataError(f"{path}: its codebooks, tables and prior are not those of {lender.name}, which it wants")
        tensors |= read_codes(lender)
        header |= {k: its[k] for k in CODES_NOTES if k in its}
    if PRIOR_ON in header:
        tensors |= read_codes(path)
        del header[PRIOR_ON]
    if DECODER_OF in header:
        header = borrow_decoder(path, decoder_of(path), header, tensors)
    return tensors, header


def read_codes(path: Path) -> dict[str, np.ndarray]:
    """The codebooks, tables and prior in a model file, the prior whole where the file has its difference.

    Raises UnknownModelError if the file is broken or one it builds on is not there.
    """
    header, tensors = read_header(path), read_tensors(path, CODES)
    if PRIOR_ON in header:
        tensors |= shifted(tensors, read_codes(beside(path, header[PRIOR_ON])), 1)
    return tensors


def shifted(tensors: dict[str, np.ndarray], base: dict[str, np.ndarray], sign: int) -> dict[str, np.ndarray]:
    """The prior in `tensors` plus or minus that in `base`, modulo the range of each type, where name, shape and type
    agree; what `base` lacks as it is. One undoes the other."""
    found = {k: v for k, v in tensors.items() if k.startswith(PRIOR)}
    for name, value in found.items():
        other = base.get(name)
        if other is not None and other.shape == value.shape and other.dtype == value.dtype:
            found[name] = value + other if sign > 0 else value - other
    return found


def decoder_of(path: Path) -> Path:
    """The model file that the decoder of the model file `path` is kept in."""
    lender = read_header(path).get(DECODER_OF)
    return path if lender is None else beside(path, lender)


def borrow_decoder(path: Path, lender: Path, header: dict[str, str],
                   tensors: dict[str, np.ndarray]) -> dict[str, str]:
    """Add decoder and codebooks of the model file `lender` to `tensors`, those of `path`; returns the header with that
    decoder's shape.

    Raises DataError if `tensors` has codebooks or predictors and they differ.
    """
    lent, its = read_tensors(lender, (QUANTIZER, DECODER, REALISM)), read_header(lender)
    own, books = ({k: v for k, v in t.items() if k.startswith(QUANTIZER)} for t in (tensors, lent))
    if own and (own.keys() != books.keys() or not all(np.array_equal(own[k], books[k]) for k in own)):
        raise DataError(f"{path}: its codebooks are not those of {lender.name}, whose decoder it wants")
    tensors |= lent
    kept = {k: v for k, v in header.items() if k != DECODER_OF}
    return kept | {k: its[k] for k in ("config", "realism") if k in its}
