"""Shipped models: NAME.safetensors with its card NAME.md, found by name or by a file's fingerprint."""

from dqcodec.weights.registry import available, find, load

__all__ = ["available", "find", "load"]
