"""Fingerprint of a model: 4 bytes that stand for the meaning of its tokens and of its files.

It covers the ladder, the codebooks, the predictors between grains, the entropy tables and the prior, and
nothing else: an improved decoder keeps the fingerprint and decodes older files.
"""

from __future__ import annotations

import hashlib

import numpy as np

QUANTIZER = "quantizer."
TABLES = "tables."
PRIOR = "prior."


def fingerprint(ladder_text: str, tensors: dict[str, np.ndarray], prior_text: str = "") -> bytes:
    """First 4 bytes of SHA-256 over the ladder, the prior's settings if there is one, and, in the order of
    their names, every tensor named quantizer.*, tables.* or prior.* (name, type, shape, little-endian bytes)."""
    digest = hashlib.sha256(ladder_text.encode())
    if prior_text:
        digest.update(f"|prior|{prior_text}|".encode())
    for name in sorted(tensors):
        if not name.startswith((QUANTIZER, TABLES, PRIOR)):
            continue
        value = np.ascontiguousarray(tensors[name])
        digest.update(f"|{name}|{value.dtype.str.lstrip('<|=')}|{value.shape}|".encode())
        digest.update(value.astype(value.dtype.newbyteorder("<")).tobytes())
    return digest.digest()[:4]
