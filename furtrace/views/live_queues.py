"""The live view's table of queues."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from furtrace.model.queues import Queue
from furtrace.views.live_table import DIM, YELLOW, Cell, Column, Glyphs, Order, Panel
from furtrace.views.units import count

_SORT_KEYS: Final[dict[str, Callable[[Queue], int]]] = {
    "backlog": lambda queue: queue.backlog,
    "deepest": lambda queue: queue.deepest,
    "in server": lambda queue: queue.in_server,
    "delivered": lambda queue: queue.delivered,
}


class QueuesPanel(Panel):
    """Queues of all rings."""

    title = "Queues"
    columns = (
        Column("conn", 4, 1, right=True),
        Column("queue", 5, 0, right=True),
        Column("entries", 7, 6, right=True),
        Column("available", 9, 5, right=True),
        Column("in kernel", 9, 7, right=True),
        Column("in server", 9, 2, right=True),
        Column("backlog", 7, 3, right=True),
        Column("deepest", 7, 8, right=True),
        Column("delivered", 9, 4, right=True),
        Column("mount point", 11, 9, grow=60),
    )
    orders = (
        Order("number", falling=False),
        Order("backlog"),
        Order("deepest"),
        Order("in server"),
        Order("delivered"),
    )

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(glyphs)
        self._queues: list[Queue] = []
        self._mounts: dict[int, str] = {}

    def update(self, queues: list[Queue], mounts: dict[int, str]) -> None:
        """Take in the queues as they are now: copies, the model changes its own in place."""
        self._queues = [replace(queue) for queue in queues]
        self._mounts = mounts

    @property
    def total(self) -> int:
        """How many queues there are."""
        return len(self._queues)

    def rows(self, first: int, count: int) -> list[Sequence[Cell]]:
        """Make the cells of the queues that are shown."""
        order = self.order
        ordered = self._queues
        if order.name != "number":
            ordered = sorted(ordered, key=_SORT_KEYS[order.name], reverse=order.falling)
        elif order.falling:
            ordered = ordered[::-1]
        return [self._cells(queue) for queue in ordered[first : first + count]]

    def _cells(self, queue: Queue) -> Sequence[Cell]:
        return (
            str(queue.connection),
            str(queue.queue),
            f"{queue.entries}/{queue.registered or '?'}",
            # Requests that wait while no entry is free: this queue is what holds them up.
            (str(queue.available), YELLOW) if queue.backlog and not queue.available else str(queue.available),
            str(queue.in_kernel),
            str(queue.in_server),
            (str(queue.backlog), YELLOW) if queue.backlog else "0",
            str(queue.deepest),
            count(queue.delivered),
            (self._mounts.get(queue.connection, ""), DIM),
        )
