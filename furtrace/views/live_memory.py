"""The live view's picture of the memory of queues: header slots and payload buffers, and who has them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from rich.segment import Segment

from furtrace.model.conversation import Conversation
from furtrace.views.fitting import LEAST_DRAWN
from furtrace.views.flow_memory import MemoryView
from furtrace.views.live_pools import copied
from furtrace.views.live_table import Cell, Column, Glyphs, Line, Order, Panel, fitted, rule_line

if TYPE_CHECKING:
    from furtrace.model.memory import QueueMemory

_NOTHING: Final = "Nothing was seen of a queue yet."


class MemoryPanel(Panel):
    """A picture, no table: it can be scrolled, but not sorted."""

    title: ClassVar[str] = "Memory"
    columns: ClassVar[tuple[Column, ...]] = ()
    orders: ClassVar[tuple[Order, ...]] = (Order("queue", falling=False),)

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(glyphs)
        self._queues: list[QueueMemory] = []
        self._now_ns = 0
        self._lines: list[str] = []

    def update(self, conversation: Conversation, now_ns: int) -> None:
        """Take in what is so now; pools are copied, for the model changes its own in place."""
        pools = [copied(pool) for pool in conversation.pools.table()]
        self._queues = conversation.memory.queues(conversation.requests, pools)
        self._now_ns = now_ns

    @property
    def total(self) -> int:
        """Lines of the picture that was drawn last."""
        return len(self._lines)

    def rows(self, first: int, count: int) -> list[Sequence[Cell]]:
        """Lines of it, as rows of one cell."""
        return [(line,) for line in self._lines[first : first + count]]

    def draw(self, width: int, height: int) -> list[Line]:
        """Draw the title and as much of the picture as there is room for, in exactly ``height`` lines."""
        self._lines = self._picture(width)
        self._page = max(1, height - 1)
        self.scroll()
        lines = [rule_line(self.title, width, self.glyphs)]
        for (cell,) in self.rows(self._first, self._page):
            lines.append([Segment(fitted(str(cell), width, self.glyphs.cut).rstrip())])
        return lines[:height] + [[] for _ in range(height - len(lines))]

    def _picture(self, width: int) -> list[str]:
        lines: list[str] = []
        for queue in self._queues:
            lines += ["", *MemoryView(queue, self._now_ns, self.glyphs).lines(max(width, LEAST_DRAWN))]
        return lines[1:] or [_NOTHING]
