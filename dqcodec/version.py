"""Version of the package; the file format has its own (see bitstream/header.py)."""

__version__ = "0.1.0"
