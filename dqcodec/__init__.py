"""dqcodec: a learned image codec on variable-length visual tokens.

>>> import dqcodec
>>> "default" in dqcodec.weights.available()
True
"""

from dqcodec.version import __version__

__all__ = ["__version__", "compress", "decompress", "generate", "load", "weights"]


def __getattr__(name: str):
    # Lazy: `import dqcodec` must not load torch.
    if name in ("compress", "decompress"):
        from dqcodec import codec

        return getattr(codec, name)
    if name == "generate":
        from dqcodec.generation import generate

        return generate
    if name == "load":
        from dqcodec.weights import load

        return load
    if name == "weights":
        import importlib

        return importlib.import_module("dqcodec.weights")
    raise AttributeError(f"module 'dqcodec' has no attribute {name!r}")
