"""Parts that a model file does without, since another model's in the same folder serve it too.

A superseded model may borrow the decoder of one with its codebooks, a small one all that the fingerprint covers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dqcodec.errors import DataError
from dqcodec.weights.fingerprint import PRIOR, QUANTIZER, TABLES
from dqcodec.weights.realism import DECODER, REALISM
from dqcodec.weights.registry import beside, read_header
from dqcodec.weights.tensor_file import read_tensors

CODES_OF, DECODER_OF = "codes", "decoder"  # in a header, before the name of the lender
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
        tensors |= read_tensors(lender, CODES)
        header |= {k: its[k] for k in CODES_NOTES if k in its}
    if DECODER_OF in header:
        header = borrow_decoder(path, beside(path, header[DECODER_OF]), header, tensors)
    return tensors, header


def borrow_decoder(path: Path, lender: Path, header: dict[str, str],
                   tensors: dict[str, np.ndarray]) -> dict[str, str]:
    """Add the decoder of the model file `lender` to `tensors`, those of `path`; returns the header with that decoder's
    shape.

    Raises DataError if the models' codebooks or predictors differ.
    """
    lent, its = read_tensors(lender, (QUANTIZER, DECODER, REALISM)), read_header(lender)
    books = {k for k in (*tensors, *lent) if k.startswith(QUANTIZER)}
    if any(k not in tensors or k not in lent or not np.array_equal(tensors[k], lent[k]) for k in books):
        raise DataError(f"{path}: its codebooks are not those of {lender.name}, whose decoder it wants")
    tensors |= {k: v for k, v in lent.items() if k.startswith((DECODER, REALISM))}
    kept = {k: v for k, v in header.items() if k != DECODER_OF}
    return kept | {k: its[k] for k in ("config", "realism") if k in its}
