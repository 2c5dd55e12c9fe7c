r"""CSV as RFC 4180 has it: one header line, a row a request or an event; UTF-8, lines end with CRLF.

An empty cell is what is not known. Names are escaped as everywhere (:func:`furtrace.wire.text.printable`), so no cell
has a line break, and bytes that are not UTF-8 are ``\xff``; different names never look alike. What a spreadsheet would
take for a formula begins with ``=``, ``+``, ``-`` or ``@``: in a name that first character is written as ``\x3d`` and
the like, which reads back as any other escape does.
"""

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from furtrace.export.columns import BOOL, Blobs, Column, Numbers, Part, Texts, Times, Values, Words


class CsvTable:
    """Writes a table.

    Args:
        columns: its columns.
        write: takes the text in UTF-8.
    """

    def __init__(self, columns: Sequence[Column], write: Callable[[bytes], object]) -> None:
        self._columns = columns
        self._write = write
        self._rows([[column.name for column in columns]])

    def add(self, part: Part) -> None:
        """Write rows."""
        if len(part.rows):
            cells = (_cells(column.take(part), is_bool=column.type == BOOL) for column in self._columns)
            self._rows(zip(*cells, strict=True))

    def _rows(self, rows: Any) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        self._write(text.getvalue().encode())


def _cells(values: Values, *, is_bool: bool) -> list[Any]:
    """A column's cells; None becomes an empty one."""
    if isinstance(values, Words):
        texts = np.array([*map(_no_formula, values.texts), None], object)
        words: list[Any] = texts[values.places].tolist()
        return words
    if isinstance(values, Texts):
        return [None if text is None else _no_formula(text) for text in values.values]
    if isinstance(values, Blobs):
        return [None if data is None else data.hex() for data in values.values]
    return _numbers(values, is_bool=is_bool)


def _numbers(values: Numbers | Times, *, is_bool: bool) -> list[Any]:
    if isinstance(values, Times):
        known = values.known
        cells = np.char.add(np.datetime_as_string(values.values.astype("datetime64[ns]")), "Z").astype(object)
    else:
        known = values.known
        cells = np.where(values.values, "true", "false").astype(object) if is_bool else values.values.astype(object)
    if known is not None:
        cells[~known] = None
    told: list[Any] = cells.tolist()
    return told


def _no_formula(text: str) -> str:
    return f"\\x{ord(text[0]):02x}{text[1:]}" if text[:1] in _FORMULAS else text


_FORMULAS: Final = frozenset("=+-@")
