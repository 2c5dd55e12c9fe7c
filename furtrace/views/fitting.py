"""Tables that fit into the columns that there are: what matters least is left out first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len, set_cell_size

from furtrace.views.live_table import Glyphs

LEAST_DRAWN, MOST_DRAWN = 72, 160
"""Columns that a drawing has at least, and at most."""
_GAP: Final = 2
_LEAST: Final = 32
"""Columns that a text which may be cut has at least."""


def drawn_width(columns: int) -> int:
    """The columns that a drawing takes where there are so many."""
    return max(LEAST_DRAWN, min(columns, MOST_DRAWN))


@dataclass(frozen=True)
class Fit:
    """A column. ``rank``: those of the largest are left out first. ``text``: at the left, and may lose its start."""

    title: str
    rank: int = 0
    text: bool = False


def table(columns: Sequence[Fit], rows: Sequence[Sequence[str]], width: int, glyphs: Glyphs) -> Iterator[str]:
    """Lines of a table, its heads first; numbers stand at the right.

    Args:
        columns: what they are.
        rows: the cells of each, which the caller has escaped.
        width: columns of the terminal.
        glyphs: what it can show.
    """
    sizes = _sizes(columns, rows)
    shown = _chosen(columns, sizes, width)
    rest = width - sum(_GAP + sizes[at] for at in shown) + _GAP
    for at in shown:
        if columns[at].text and rest < 0:
            sizes[at], rest = max(_LEAST, sizes[at] + rest), 0
    for row in ([column.title for column in columns], *rows):
        cells = (_cell(row[at], sizes[at], glyphs, left=columns[at].text) for at in shown)
        yield (" " * _GAP).join(cells).rstrip()


def needed(columns: Sequence[Fit], rows: Sequence[Sequence[str]]) -> int:
    """How wide a table is with all that is in it."""
    return sum(_GAP + size for size in _sizes(columns, rows)) - _GAP


def _sizes(columns: Sequence[Fit], rows: Sequence[Sequence[str]]) -> list[int]:
    return [
        max(cell_len(cell) for cell in (column.title, *(row[at] for row in rows))) for at, column in enumerate(columns)
    ]


def _chosen(columns: Sequence[Fit], sizes: Sequence[int], width: int) -> list[int]:
    shown = list(range(len(columns)))
    while len(shown) > 1:
        least = sum(_GAP + (min(sizes[at], _LEAST) if columns[at].text else sizes[at]) for at in shown) - _GAP
        if least <= width:
            break
        shown.remove(max(shown, key=lambda at: columns[at].rank))
    return shown


def _cell(text: str, size: int, glyphs: Glyphs, *, left: bool) -> str:
    """A text that is too long keeps its end: of a path that tells more."""
    if cell_len(text) > size:
        while cell_len(text) >= size:
            text = text[1:]
        text = glyphs.cut + text
    return set_cell_size(text, size) if left else text.rjust(size)
