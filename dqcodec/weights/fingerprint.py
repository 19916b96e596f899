"""Fingerprint of a model: 4 bytes that stand for the meaning of its tokens.

It covers the ladder, the codebooks, the predictors between grains and the entropy tables, and
nothing else: an improved decoder keeps the fingerprint and decodes older files.
"""

from __future__ import annotations

import hashlib

import numpy as np

QUANTIZER = "quantizer."
TABLES = "tables."


def fingerprint(ladder_text: str, tensors: dict[str, np.ndarray]) -> bytes:
    """First 4 bytes of SHA-256 over the ladder and, in the order of their names, every tensor
    named quantizer.* or tables.* (name, shape, little-endian bytes)."""
    digest = hashlib.sha256(ladder_text.encode())
    for name in sorted(tensors):
        if not name.startswith((QUANTIZER, TABLES)):
            continue
        value = np.ascontiguousarray(tensors[name])
        digest.update(f"|{name}|{value.dtype.str.lstrip('<|=')}|{value.shape}|".encode())
        digest.update(value.astype(value.dtype.newbyteorder("<")).tobytes())
    return digest.digest()[:4]
