"""The .dq format (docs/FORMAT.md): tokens to bytes and back, with any CodeModel."""

from dqcodec.bitstream.code_model import CodeModel, Known, MapModel
from dqcodec.bitstream.detail import Details, DetailTable
from dqcodec.bitstream.frame import WHOLE, Frame
from dqcodec.bitstream.frequencies import quantise_counts
from dqcodec.bitstream.header import SIGNATURE, Header
from dqcodec.bitstream.layout import Layout, inspect
from dqcodec.bitstream.reader import Parsed, read
from dqcodec.bitstream.sections import Extra, Section
from dqcodec.bitstream.static_tables import StaticTables
from dqcodec.bitstream.tokens import ABSENT, Ladder, Tokens
from dqcodec.bitstream.writer import Writer, write

__all__ = [
    "ABSENT",
    "SIGNATURE",
    "WHOLE",
    "CodeModel",
    "DetailTable",
    "Details",
    "Extra",
    "Frame",
    "Header",
    "Known",
    "Ladder",
    "Layout",
    "MapModel",
    "Parsed",
    "Section",
    "StaticTables",
    "Tokens",
    "Writer",
    "inspect",
    "quantise_counts",
    "read",
    "write",
]
