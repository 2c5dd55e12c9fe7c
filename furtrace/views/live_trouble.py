"""The live view's table of the newest trouble: refused commands, stopped entries, CQEs without room."""

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final

import numpy as np

from furtrace.trace import record
from furtrace.trace.record import NO_QUEUE, Flag, Kind
from furtrace.views.live_table import RED, YELLOW, Cell, Column, Glyphs, Order, Panel
from furtrace.views.units import Clock, count
from furtrace.wire.errnos import errno_name
from furtrace.wire.opcodes import UringCommand

_MOST: Final = 50


class TroublePanel(Panel):
    """The newest events that mean trouble."""

    title = "Trouble"
    columns = (
        Column("time", 15, 3),
        Column("what", 12, 0),
        Column("conn", 4, 5, right=True),
        Column("queue", 5, 4, right=True),
        Column("command", 16, 2),
        Column("commit id", 9, 6, grow=6, right=True),
        Column("error", 8, 1, grow=8),
        Column("server", 16, 7, grow=10),
    )
    orders = (Order("time"),)

    def __init__(self, glyphs: Glyphs, realtime_offset_ns: int) -> None:
        super().__init__(glyphs)
        self._clock = Clock(realtime_offset_ns)
        self._events: list[np.void] = []
        self._counts = (0, 0, 0)

    def update(self, newest_last: deque[np.void], counts: tuple[int, int, int]) -> None:
        """Take in the events, and how many were ever refused, stopped and without room."""
        self._events = list(islice(reversed(newest_last), _MOST))
        self._counts = counts

    @property
    def total(self) -> int:
        """How many events are remembered."""
        return len(self._events)

    def rows(self, first: int, count: int) -> list[Sequence[Cell]]:
        """Make the cells of the events that are shown, newest first."""
        return [self._cells(event) for event in self._events[first : first + count]]

    def _headline(self) -> str:
        refused, stopped, overflows = map(count, self._counts)
        return f"{self.title}: refused {refused}, stopped {stopped}, CQE overflow {overflows}, newest first"

    def _cells(self, event: np.void) -> Sequence[Cell]:
        what = _what(event)
        comm = self.glyphs.text(record.comm(event["comm"].tobytes()))
        return (
            self._clock(int(event["ns"])),
            (what, YELLOW if what == "STOPPED" else RED),
            str(event["connection"]),
            "-" if event["queue"] == NO_QUEUE else str(event["queue"]),
            _command(int(event["command_op"])),
            str(event["commit_id"] or "-"),
            errno_name(int(event["error"])) if event["error"] else "-",
            f"{comm}/{event['pid']}",
        )


def _what(event: np.void) -> str:
    return "CQE OVERFLOW" if event["flags"] & Flag.CQE_OVERFLOW else Kind(int(event["kind"])).name


def _command(number: int) -> str:
    try:
        return UringCommand(number).name
    except ValueError:
        return str(number) if number else "-"
