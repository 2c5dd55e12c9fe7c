"""What bytes say, as a tree beside the bytes: offset, size, field, bytes, value, meaning."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from furtrace.wire.decode import Decoded
from furtrace.wire.items import Item

_WIDE: Final = 130
"""Columns from which value and meaning stand apart, with 16 bytes in a line."""
_MEDIUM: Final = 100
"""Columns from which there is a space between bytes."""
_ROWS_OF_BYTES: Final = 2
_MOST_VALUE: Final = 22
_LEAST_TEXT: Final = 20
_HANG: Final = 2
_FILLERS: Final = frozenset({"padding", "reserved", "__reserved", "unused", "dummy", "spare"})
_HEADS: Final = ("offset", "size", "field", "bytes", "value", "meaning")

_BEFORE_CHUNK: Final = re.compile(r"(?<=[ |])")


def wrapped(text: str, width: int, hang: int = 0) -> list[str]:
    """Break a text behind spaces and ``|`` into lines; nothing is left out, a word that is too long is broken as well.

    Args:
        text: one line.
        width: columns of the first line.
        hang: by how much those after it are narrower.
    """
    lines, room = [""], width
    for chunk in _BEFORE_CHUNK.split(text):
        if lines[-1] and cell_len(lines[-1]) + cell_len(chunk) > room:
            lines.append("")
            room = width - hang
        first, *more = chop_cells(chunk, room - cell_len(lines[-1])) if cell_len(chunk) > room else [chunk]
        lines[-1] += first
        room = room if not more else width - hang
        lines += more
    return lines
