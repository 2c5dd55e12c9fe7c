"""The live view's tables: columns that fit a width, rows that fit a height, drawn as lines of segments.

rich's own ``Table`` measures and wraps every cell, several times a second too often. Here the widths are fixed before
any cell is looked at, a cell is cut or padded once, and only the rows that are on the screen are made.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, TypeAlias

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from furtrace.wire.text import printable

Cell: TypeAlias = str | tuple[str, Style]
"""A cell's text, with a style if it has one of its own. Never markup."""

Line: TypeAlias = list[Segment]

PLAIN = Style.null()
DIM = Style.parse("dim")
BOLD = Style.parse("bold")
RED = Style.parse("bold red")
YELLOW = Style.parse("yellow")
CYAN = Style.parse("cyan")
GREEN = Style.parse("green")
REVERSE = Style.parse("bold reverse")
HEAD = Style.parse("bold underline")


@dataclass(frozen=True)
class Glyphs:
    """The characters that are not letters, and whether anything beyond ASCII may be shown at all."""

    ascii_only: bool
    rule: str
    cut: str
    arrow: str
    up: str
    down: str

    def text(self, data: bytes) -> str:
        """Show bytes that a traced process chose."""
        return self.plain(printable(data))

    def plain(self, text: str) -> str:
        """Show text that is safe already; what this terminal can't show is escaped."""
        return text.encode("ascii", "backslashreplace").decode("ascii") if self.ascii_only else text


UNICODE = Glyphs(ascii_only=False, rule="─", cut="…", arrow="→", up="▲", down="▼")
ASCII = Glyphs(ascii_only=True, rule="-", cut="~", arrow="->", up="^", down="v")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    ``width``: cells that it needs. ``rank``: of those that don't fit, the highest goes first. ``grow``: cells that it
    takes on top where there is room. ``right``: numbers, whose last digits are kept if one is too long. ``middle``:
    what is too long loses its middle, not its end.
    """

    title: str
    width: int
    rank: int
    grow: int = 0
    right: bool = False
    middle: bool = False

    def fit(self, text: str, width: int, cut: str) -> str:
        """Make a cell of it; see :func:`fitted`."""
        return fitted(text, width, cut, right=self.right, middle=self.middle)


@dataclass(frozen=True)
class Layout:
    """Which columns are shown, by index, how wide each is, and the gap between two."""

    widths: tuple[tuple[int, int], ...]
    gap: str


@lru_cache(maxsize=64)
def layout(columns: tuple[Column, ...], width: int) -> Layout:
    """Choose the columns that fit ``width`` and give out what is left: first to the gaps, then by rank."""
    kept = sorted(range(len(columns)), key=lambda index: columns[index].rank)
    while len(kept) > 1 and _needed(columns, kept) > width:
        kept.pop()
    widths = {index: min(columns[index].width, width) for index in kept}
    spare = max(0, width - _needed(columns, kept))
    gap = 2 if spare >= len(kept) - 1 else 1
    spare -= (gap - 1) * (len(kept) - 1)
    for index in kept:
        more = min(spare, columns[index].grow)
        widths[index] += more
        spare -= more
    return Layout(tuple(sorted(widths.items())), " " * gap)


def _needed(columns: Sequence[Column], kept: Sequence[int]) -> int:
    return sum(columns[index].width for index in kept) + len(kept) - 1


def fitted(text: str, width: int, cut: str, *, right: bool = False, middle: bool = False) -> str:
    """Return ``text`` in exactly ``width`` cells: padded, or cut with a mark where something is missing."""
    size = len(text) if text.isascii() else cell_len(text)
    if size <= width:
        padding = " " * (width - size)
        return padding + text if right else text + padding
    if width < 1:
        return ""
    head = 0 if right else (width - 1) // 3 if middle else width - 1
    tail = _last_cells(text, width - 1 - head)
    return set_cell_size(text, width - 1 - cell_len(tail)) + cut + tail


def _last_cells(text: str, width: int) -> str:
    """As much of the end of ``text`` as has ``width`` cells."""
    tail = text[len(text) - width :]  # no character but the invisible has less than one
    while cell_len(tail) > width:
        tail = tail[1:]
    return tail


def row_line(cells: Sequence[Cell], plan: Layout, columns: Sequence[Column], cut: str, style: Style = PLAIN) -> Line:
    """Draw one row; neighbours of the same style become one segment."""
    line: Line = []
    plain = ""
    for place, (index, width) in enumerate(plan.widths):
        cell = cells[index]
        if place:
            plain += plan.gap
        if isinstance(cell, str):
            plain += columns[index].fit(cell, width, cut)
        else:
            text, own = cell
            line += (Segment(plain, style), Segment(columns[index].fit(text, width, cut), own))
            plain = ""
    line.append(Segment(plain, style))
    return line


@dataclass(frozen=True)
class Item:
    """A piece of a status line; of those that don't fit, the one with the highest rank goes first."""

    text: str
    rank: int
    style: Style = PLAIN


def item_line(items: Iterable[Item], width: int, glyphs: Glyphs) -> Line:
    """Put as many of the items as fit side by side, in their order."""
    kept = list(items)
    while len(kept) > 1 and sum(cell_len(item.text) + 2 for item in kept) - 2 > width:
        kept.remove(max(kept, key=lambda item: item.rank))
    line: Line = []
    for item in kept:
        if line:
            line.append(Segment("  ", PLAIN))
        size = min(cell_len(item.text), width)
        line.append(Segment(fitted(item.text, size, glyphs.cut), item.style))
    return line


def rule_line(title: str, width: int, glyphs: Glyphs) -> Line:
    """A rule that begins with a title."""
    text = f"{glyphs.rule * 2} {title} "
    missing = width - cell_len(text)
    whole = text + glyphs.rule * missing if missing >= 0 else fitted(text, width, glyphs.cut)
    return [Segment(whole, BOLD)]


class Frame:
    """Lines that are drawn as they are."""

    def __init__(self, lines: list[Line]) -> None:
        self.lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines; they were made for a width, and nothing is wrapped."""
        last = len(self.lines) - 1
        for number, line in enumerate(self.lines):
            yield from line
            if number != last:
                yield Segment.line()


@dataclass(frozen=True)
class Order:
    """One order that a table can be sorted by; ``falling``: the greatest come first unless reversed."""

    name: str
    falling: bool = True


class Panel(ABC):
    """A table with a title, the order it is sorted by, and how far it is scrolled."""

    title: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]]
    orders: ClassVar[tuple[Order, ...]]

    def __init__(self, glyphs: Glyphs) -> None:
        self.glyphs = glyphs
        self._order = 0
        self._reversed = False
        self._first = 0
        self._page = 1

    @property
    def order(self) -> Order:
        """What the rows are sorted by, and the direction as it is now."""
        order = self.orders[self._order]
        return Order(order.name, order.falling != self._reversed)

    @property
    @abstractmethod
    def total(self) -> int:
        """How many rows there are."""

    @abstractmethod
    def rows(self, first: int, count: int) -> list[Sequence[Cell]]:
        """Make the cells of ``count`` rows from ``first`` on, in the current :attr:`order`."""

    def next_order(self, step: int) -> None:
        """Sort by the next order (1) or the one before (-1), in its own direction, from the top."""
        self._order = (self._order + step) % len(self.orders)
        self._reversed = False
        self._first = 0

    def reverse(self) -> None:
        """Turn the order round."""
        self._reversed = not self._reversed
        self._first = 0

    def scroll(self, rows: int = 0, pages: int = 0) -> None:
        """Move by rows and by pages of what was drawn last."""
        self._first = max(0, min(self._first + rows + pages * self._page, self.total - self._page))

    def scroll_to(self, *, end: bool) -> None:
        """Go to the end or to the beginning."""
        self._first = max(0, self.total - self._page) if end else 0

    def draw(self, width: int, height: int) -> list[Line]:
        """Draw title, column heads and rows in exactly ``height`` lines; where there are fewer, what comes first."""
        self._page = max(1, height - 2)
        self.scroll()
        lines = [rule_line(self._headline(), width, self.glyphs)]
        if height > 1:
            plan = layout(self.columns, width)
            titles = [column.title for column in self.columns]
            lines.append(row_line(titles, plan, self.columns, self.glyphs.cut, HEAD))
            if height > 2:
                shown = self.rows(self._first, self._page)
                lines += [row_line(cells, plan, self.columns, self.glyphs.cut) for cells in shown]
        return lines[:height] + [[] for _ in range(height - len(lines))]

    def _headline(self) -> str:
        order = self.order
        mark = self.glyphs.down if order.falling else self.glyphs.up
        last = min(self._first + self._page, self.total)
        where = f" ({self._first + 1}-{last})" if self.total > self._page else ""
        return f"{self.title}: {self.total}, by {order.name} {mark}{where}"
