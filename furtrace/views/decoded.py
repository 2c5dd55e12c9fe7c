"""What bytes say, as a tree beside the bytes: offset, size, field, bytes, value, meaning."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final, TypeAlias

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from furtrace.views.wrapping import wrapped
from furtrace.wire.decode import Decoded
from furtrace.wire.items import Item

_ROOMY: Final = 100
"""Columns from which there is a space between bytes."""
_IN_LINE: Final = 8
"""Bytes; more would part the short fields, which are most, from their values."""
_SHOWN: Final = 16
"""Bytes of a piece at most."""
_MOST_VALUE: Final = 20
"""Columns of values at most: a number of 64 bits."""
_LEAST_MEANING: Final = 32
"""With fewer columns for the meaning, it follows the value."""
_LEAST_TEXT: Final = 20
_HANG: Final = 2
_FILLERS: Final = frozenset({"padding", "reserved", "__reserved", "unused", "dummy", "spare"})
_GAP: Final = "  "

_Cell: TypeAlias = tuple[str, str]
"""Text and style."""


@dataclass(frozen=True, slots=True)
class _Guides:
    """What the branches of the tree are drawn with: between two fields, at the last one, past them, past the last."""

    fork: str
    last: str
    past: str
    none: str = "  "


_LINES: Final = _Guides("├ ", "└ ", "│ ")
_ASCII: Final = _Guides("|-", "`-", "| ")


@dataclass(frozen=True, slots=True)
class _Row:
    """One piece; ``name`` has the guides in front, ``below`` is what they are in the lines after the first."""

    item: Item
    name: str
    below: str

    @property
    def value(self) -> str:
        """A number or several; bytes are shown as such."""
        value = self.item.value
        if isinstance(value, tuple):
            return ", ".join(map(str, value))
        return str(value) if isinstance(value, int) else ""

    @property
    def meaning(self) -> str:
        """Empty as well where it says no more than the value."""
        return self.item.meaning if self.item.meaning != self.value else ""

    @property
    def is_whole(self) -> bool:
        """It has no bytes of its own to show: a structure, or something that is elsewhere."""
        return bool(self.item.items) or not self.item.size


@dataclass(frozen=True, slots=True)
class _Columns:
    """How the columns share the width.

    Attributes:
        offset: columns of it; and so on.
        spaced: there is a space between bytes.
        value: 0: value and meaning are one column.
        text: the meaning, and the value if it has no column.

    """

    offset: int
    size: int
    field: int
    bytes: int
    value: int
    text: int
    spaced: bool


class DecodedView:
    """The tree of what was read, then what is wrong.

    Args:
        decoded: what bytes say.
        data: the bytes.
        notes: lines below the title, such as where the bytes are from.
    """

    def __init__(self, decoded: Decoded, data: bytes, notes: Iterable[str] = ()) -> None:
        self._decoded = decoded
        self._data = data
        self._notes = tuple(notes)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        yield from (Text(line, "bold") for line in wrapped(self._decoded.title, width))
        yield from (Text(line) for note in self._notes for line in wrapped(note, width))
        if self._decoded.problems:
            yield Text(f"{_counted(len(self._decoded.problems))}, at the end", "bold red")
        yield Text("")
        rows = list(_rows(self._decoded.items, _ASCII if options.ascii_only else _LINES))
        columns = _shared(rows, width, self._decoded.size)
        yield _heads(columns)
        for row in rows:
            yield from _whole_lines(row, columns) if row.is_whole else _lines(row, columns, self._data)
        yield from self._problems(width)

    def _problems(self, width: int) -> Iterator[Text]:
        if not self._decoded.problems:
            return
        yield Text("")
        yield Text(f"{_counted(len(self._decoded.problems))}:", "bold red")
        offset = _offset_width(self._decoded.size)
        for problem in self._decoded.problems:
            place = f"  {_hex(problem.offset, offset)}  "
            for number, line in enumerate(wrapped(problem.reason, max(_LEAST_TEXT, width - len(place)))):
                yield Text.assemble((place if not number else " " * len(place), "dim"), (line, "red"))


def _counted(problems: int) -> str:
    return f"{problems} problem{'' if problems == 1 else 's'}"


def _rows(items: tuple[Item, ...], guides: _Guides, before: str | None = None) -> Iterator[_Row]:
    """The pieces, each before those within it; ``before``: guides of those outside, None at the top."""
    for number, item in enumerate(items):
        if before is None:
            mark = below = ""
        else:
            is_last = number + 1 == len(items)
            mark = before + (guides.last if is_last else guides.fork)
            below = before + (guides.none if is_last else guides.past)
        yield _Row(item, mark + item.name, below)
        yield from _rows(item.items, guides, below)


def _shared(rows: list[_Row], width: int, size: int) -> _Columns:
    """Share the width: the meaning gets what the others leave."""
    spaced = width >= _ROOMY
    leaves = [row for row in rows if not row.is_whole]
    longest = max((row.item.size for row in leaves), default=0)
    offset, sizes = _offset_width(size), max(len("size"), len(str(size)))
    field = max(len("field"), *(cell_len(row.name) for row in leaves), 0)
    shown = max(len("bytes"), *map(len, _bytes(bytes(min(longest, _SHOWN)), longest, spaced=spaced)), 0)
    left = width - offset - sizes - field - shown - 4 * len(_GAP)
    value = max(len("value"), *(min(len(row.value), _MOST_VALUE) for row in leaves), 0)
    meaning = left - value - len(_GAP)
    if meaning < _LEAST_MEANING:
        return _Columns(offset, sizes, field, shown, 0, max(left, _LEAST_TEXT), spaced)
    return _Columns(offset, sizes, field, shown, value, meaning, spaced)


def _offset_width(size: int) -> int:
    return max(len("offset"), len(f"{size:#x}"))


def _hex(offset: int, width: int) -> str:
    return f"{offset:#0{width}x}"


def _heads(columns: _Columns) -> Text:
    cells = ["offset", "size".rjust(columns.size), "field", "bytes"]
    cells += ["value", "meaning"] if columns.value else ["value  meaning"]
    return _line([(cell, "bold dim") for cell in cells], columns)


def _lines(row: _Row, columns: _Columns, data: bytes) -> Iterator[Text]:
    item = row.item
    dim = item.name in _FILLERS
    first = data[item.offset : item.offset + min(item.size, _SHOWN)]
    shown = _bytes(first, item.size, spaced=columns.spaced)
    places = [(_hex(item.offset, columns.offset), str(item.size).rjust(columns.size), row.name)]
    texts = _apart(row, columns) if columns.value else _together(row, columns)
    for place, some, text in zip_longest(places, shown, texts, fillvalue=None):
        offset, size, name = place or ("", "", row.below)
        cells = [(offset, "dim"), (size, "dim"), (name, ""), (some or "", "cyan"), *(text or ())]
        yield _line([(cell, "dim" if dim else style) for cell, style in cells], columns)


def _apart(row: _Row, columns: _Columns) -> Iterator[list[_Cell]]:
    """Lines of value and meaning, each in its column."""
    values, meanings = wrapped(row.value, columns.value), wrapped(row.meaning, columns.text)
    for value, meaning in zip_longest(values, meanings, fillvalue=""):
        yield [(value, "bold"), (meaning, "green")]


def _together(row: _Row, columns: _Columns) -> Iterator[list[_Cell]]:
    """Lines of the value with the meaning behind it."""
    first, *more = wrapped(_GAP.join(filter(None, (row.value, row.meaning))), columns.text, _HANG)
    if first.startswith(row.value) and row.value:
        yield [(row.value, "bold"), (first[len(row.value) :].removeprefix(_GAP), "green")]
    else:
        yield [(first, "green" if row.meaning else "bold")]
    for line in more:
        yield [(" " * _HANG + line, "green" if row.meaning else "bold")]


def _whole_lines(row: _Row, columns: _Columns) -> Iterator[Text]:
    """A structure: its name may take the place of the bytes as well."""
    room = columns.field + len(_GAP) + columns.bytes
    place = (_hex(row.item.offset, columns.offset), str(row.item.size).rjust(columns.size))
    texts = (
        wrapped(row.meaning, columns.text + (columns.value + len(_GAP) if columns.value else 0)) if row.meaning else []
    )
    start = Text.assemble((_GAP.join(place) + _GAP, "dim"), (row.name, "bold"))
    if texts and cell_len(row.name) <= room:
        start.append(" " * (room - cell_len(row.name)) + _GAP + texts.pop(0), "green")
    yield start
    indent = " " * (columns.offset + columns.size + 2 * len(_GAP))
    for text in texts:
        yield Text(indent + row.below.ljust(room) + _GAP).append(text, "green")


def _bytes(first: bytes, size: int, *, spaced: bool) -> list[str]:
    """The first of ``size`` bytes in hex, in lines, and how many there are more."""
    lines = [_spelt(first[at : at + _IN_LINE], spaced=spaced) for at in range(0, len(first), _IN_LINE)]
    return [*lines, f"... {size - len(first)} more"] if size > len(first) else lines


def _spelt(data: bytes, *, spaced: bool) -> str:
    return data.hex(" ") if spaced else data.hex(" ", -4)


def _line(cells: list[_Cell], columns: _Columns) -> Text:
    """Cells side by side; the last of them may be as long as it is."""
    widths = (columns.offset, columns.size, columns.field, columns.bytes, columns.value)
    text = Text()
    for number, (cell, style) in enumerate(cells):
        text.append(cell, style)
        if number + 1 < len(cells):
            text.append(" " * (widths[number] - cell_len(cell)) + _GAP)
    text.rstrip()
    return text
