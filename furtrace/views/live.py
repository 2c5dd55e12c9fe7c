"""The full-screen live view: what it shows, and what its keys do."""

import os
import textwrap
from collections.abc import Iterable
from typing import ClassVar, Final

import numpy as np
from rich.console import RenderableType
from rich.segment import Segment

from furtrace.checks.findings import Finding
from furtrace.model.conversation import Conversation
from furtrace.trace.info import TraceInfo
from furtrace.views.live_findings import FindingsPanel
from furtrace.views.live_memory import MemoryPanel
from furtrace.views.live_operations import OperationsPanel, Rates, rate
from furtrace.views.live_pools import HoldingsPanel, PoolsPanel
from furtrace.views.live_queues import QueuesPanel
from furtrace.views.live_requests import RequestsPanel
from furtrace.views.live_table import (
    ASCII,
    BOLD,
    DIM,
    PLAIN,
    RED,
    REVERSE,
    UNICODE,
    Frame,
    Item,
    Line,
    Panel,
    fitted,
    item_line,
)
from furtrace.views.live_trouble import TroublePanel
from furtrace.views.units import count

VIEWS: Final = ("all", "requests", "operations", "queues", "pools", "memory", "checks")

_PAUSE: Final = """\
  space      hold the picture still while tracing goes on; again: go on
"""
_HELP: Final = """\
Keys
  q          quit
{more}\
  1 to {last}     {views}; tab: the next of them
  s S        sort by the next, the previous column; in "all": the requests; in "pools": the upper table
  r          reverse the order
  up down    scroll; so do k, j, PgUp, PgDn, Home and End
  ?          this help, on and off
States of a request
  queued     not known to be delivered: it waits for an entry of the ring, or it goes by read(2) of /dev/fuse, which \
not every kernel shows
  in server  delivered, and no reply yet
  in kernel  the server committed its reply; the client still waits
  unknown    events were lost while it was under way
Columns
  queue      "3?" before the queue is known: the client runs on CPU 3
  entry      number within its queue, in the order of first use
  age        since the first event that was seen of the request; of one that was there before the trace, since it was \
made
  entries    of a queue: seen in use / registered ("?": not known)
  backlog    requests queued for this CPU and not delivered; deepest: the most there were
  rate/s     over the last two seconds
Columns of pools
  in use     buffers that an entry has; "3+": at least three, for no event of the kernel's count was seen yet
  peak       the most that were in use at a time
  dry        how often a request found no free buffer
  waiting    requests that are queued while none is free
  selected   how often a buffer was taken; an entry may keep it for its next request
  slots      in which the pages of requests are for zero-copy
  copied     requests that were not zero-copied although the server asked for it, by reason: its file or its queue is \
not made for that, or the operation can't be
  held for   since the entry got it; "kept": it has it since an earlier request; "idle": that one has ended
Memory
  headers    of each entry, at its address in the server's memory; entries that had no request yet have no number
  buffers    of the queue's pool, and the request that has each, or had it last
{checks}Phases of a request: median/99th percentile since the start, "-" where not known
  queue      until an entry took it
  delivery   from there until the server had it
  wait       queue and delivery
  server     until the server's commit
  total      until its client may go on
"""
_CHECKS: Final = """\
Checks
  rule       what furtrace check finds as well; furtrace check --explain RULE tells what it means and what to do
"""
_HELP_INDENT: Final = 13

_TABLE_HEAD: Final = 2
"""Lines of a table that are not rows: its title and the heads of its columns."""

_DETAIL_LINES: Final = 8

_SCROLLS: Final = {
    "up": (-1, 0),
    "k": (-1, 0),
    "down": (1, 0),
    "j": (1, 0),
    "pgup": (0, -1),
    "pgdn": (0, 1),
}


class LiveView:
    """Shows a conversation as it goes on; :class:`~furtrace.views.terminal.Terminal` draws it and reads the keys.

    Attributes:
        keys_help: what help says of keys that other views do not have.
        views: those that there are, in the order of their keys.

    """

    keys_help: ClassVar[str] = _PAUSE
    views: ClassVar[tuple[str, ...]] = VIEWS

    def __init__(self, info: TraceInfo, *, ascii_only: bool = False) -> None:
        self._glyphs = ASCII if ascii_only else UNICODE
        self._info = info
        self._requests = RequestsPanel(self._glyphs)
        self._operations = OperationsPanel(self._glyphs)
        self._queues = QueuesPanel(self._glyphs)
        self._pools = PoolsPanel(self._glyphs)
        self._holdings = HoldingsPanel(self._glyphs)
        self._memory = MemoryPanel(self._glyphs)
        self._trouble = TroublePanel(self._glyphs, info.realtime_offset_ns)
        self._findings = FindingsPanel(self._glyphs, info.realtime_offset_ns)
        self._view = 0
        self._paused = False
        self._help = False
        self._help_first = 0
        self._rates = Rates()
        self._began_ns: int | None = None
        self._now_ns = 0
        self._lost = 0
        self._connections: set[int] = set()
        self._mounts: dict[int, str] = {}

    @property
    def view(self) -> str:
        """The view that is shown, one of :attr:`views`."""
        return self.views[self._view]

    @property
    def paused(self) -> bool:
        """Whether the picture stands still."""
        return self._paused

    def key(self, key: str) -> bool:
        """Do what a key asks for; False if that is to quit. Keys without a meaning do nothing."""
        if key == "q":
            return False
        if key == "?" or (key == "escape" and self._help):
            self._help, self._help_first = not self._help, 0
        elif self._own_key(key):
            pass
        elif key in {str(number) for number in range(1, len(self.views) + 1)}:
            self._show(int(key) - 1)
        elif key in {"tab", "backtab"}:
            self._show((self._view + (1 if key == "tab" else -1)) % len(self.views))
        elif self._help:
            self._scroll_help(key)
        else:
            _table_key(self._panel, key)
        return True

    def _own_key(self, key: str) -> bool:
        """Do what a key asks for that other views do not have; False: it is none of them."""
        if key == " ":
            self._pause()
        return key == " "

    def note(self, findings: Iterable[Finding]) -> None:
        """Take in what checks have found."""
        self._findings.note(findings)

    def update(self, conversation: Conversation, now_ns: int) -> None:
        """Take what a picture needs; to be called once for each picture. Ignored while paused."""
        if self._paused:
            return
        if self._began_ns is None:
            self._began_ns = now_ns
        self._now_ns = now_ns
        self._lost = conversation.lost
        operations, queues = conversation.operations.table(), conversation.queues.table()
        totals: dict[int | str, int] = {operation.opcode: operation.count for operation in operations}
        self._rates.add(now_ns, totals | {"events": conversation.events, "requests": conversation.ended})
        under_way = conversation.requests.under_way
        self._connections |= {queue.connection for queue in queues}
        self._connections |= set(np.unique(under_way["connection"]).tolist())
        self._note_mounts()
        self._requests.update(under_way, conversation.paths, now_ns)
        self._operations.update(operations, self._rates)
        self._queues.update(queues, self._mounts)
        self._pools.update(conversation.pools.table(), self._mounts)
        self._holdings.update(conversation, now_ns)
        if self.view == "memory":  # a picture of each entry is too much work where nobody looks at it
            self._memory.update(conversation, now_ns)
        self._trouble.update(conversation.trouble, (conversation.refused, conversation.stopped, conversation.overflows))
        self._findings.update()

    def render(self, width: int, height: int) -> RenderableType:
        """Return the picture for a terminal of this size: exactly ``height`` lines, none wider than ``width``."""
        width, height = max(1, width), max(1, height)
        head = self._head(width, height)
        foot = [self._foot(width)] if height > len(head) + 1 else []
        body = height - len(head) - len(foot)
        if self._help:
            lines = self._help_lines(width, body)
        elif self.view == "all":
            lines = self._stack(width, body)
        elif self.view == "pools":
            lines = self._pool_lines(width, body)
        elif self.view == "checks":
            lines = self._check_lines(width, body)
        else:
            lines = self._panel.draw(width, body) if body else []
        return Frame(head + lines + foot)

    @property
    def _panel(self) -> Panel:
        """The table that keys sort and scroll."""
        panels: dict[str, Panel] = {"operations": self._operations, "queues": self._queues}
        panels |= {"pools": self._pools, "memory": self._memory, "checks": self._findings}
        return panels.get(self.view, self._requests)

    def _pause(self) -> None:
        self._paused = not self._paused
        if self._paused:
            self._requests.freeze()

    def _show(self, view: int) -> None:
        self._view = view
        self._help = False

    def _note_mounts(self) -> None:
        self._connections |= self._info.mounts.keys()
        self._mounts = {
            connection: self._glyphs.text(os.fsencode(path)) for connection, path in self._info.mounts.items()
        }

    # The lines at the top and at the bottom.

    def _head(self, width: int, height: int) -> list[Line]:
        """One line where there is little room, else two, and a third one that says what the loss of events means."""
        trace, state = self._trace_items(), self._state_items()
        lost = [Item(f"LOST {count(self._lost)}", 1, RED)] if self._lost else [Item("lost 0", 5)]
        if height < 8:
            return [item_line(state + lost + self._rate_items() + trace, width, self._glyphs)]
        head = [
            item_line(state + trace, width, self._glyphs),
            item_line(self._rate_items() + lost + [self._connection_item(width)], width, self._glyphs),
        ]
        return [*head, self._loss_line(width)] if self._lost else head

    def _state_items(self) -> list[Item]:
        elapsed = Item(_elapsed(self._now_ns - (self._began_ns or self._now_ns)), 2)
        return [Item("PAUSED", 0, REVERSE), elapsed] if self._paused else [elapsed]

    def _trace_items(self) -> list[Item]:
        info = self._info
        return [
            Item(f"furtrace: Linux {self._safe(info.kernel)}", 6, BOLD),
            Item(self._safe(info.dialect), 7),
            Item(self._safe(info.vantage), 8, DIM),
        ]

    def _safe(self, text: str) -> str:
        """Text out of a recording, which anyone may have written."""
        return self._glyphs.text(text.encode(errors="surrogateescape"))

    def _rate_items(self) -> list[Item]:
        return [
            Item(f"{rate(self._rates.of('requests'))} requests/s", 3),
            Item(f"{rate(self._rates.of('events'))} events/s", 4),
        ]

    def _connection_item(self, width: int) -> Item:
        number = len(self._connections)
        places = ", ".join(f"{each} {self._mounts.get(each, '?')}" for each in sorted(self._connections))
        text = f"{number} connection{'' if number == 1 else 's'}{': ' if places else ''}{places}"
        # It takes what the others, some 45 cells, leave: one long path must not push the rest out.
        room = max(14, width - 48)
        return Item(fitted(text, room, self._glyphs.cut).rstrip(), 9)

    def _loss_line(self, width: int) -> Line:
        number = count(self._lost)
        texts = (
            f"LOST {number} events (ring buffer full): their requests are shown as unknown, counts and rates too low",
            f"LOST {number} events: requests may be unknown, counts too low",
            f"LOST {number} events: picture incomplete",
        )
        text = next((text for text in texts if len(text) <= width), f"LOST {number}")
        return item_line([Item(text, 0, RED)], width, self._glyphs)

    def _own_keys(self) -> list[Item]:
        """What the line at the bottom says of keys that other views do not have."""
        return [Item("space go on" if self._paused else "space pause", 2)]

    def _foot(self, width: int) -> Line:
        items = [
            Item("q quit", 0),
            *self._own_keys(),
            Item(f"1-{len(self.views)} view", 3),
            Item("s/S sort", 4),
            Item("r reverse", 6),
            Item("arrows scroll", 5),
            Item("? help", 1),
            Item(f"[{self.view}]", 7, BOLD),
        ]
        return item_line([Item(item.text, item.rank, item.style or DIM) for item in items], width, self._glyphs)

    # The middle.

    def _stack(self, width: int, height: int) -> list[Line]:
        """All tables, one on the other: requests get what the others, whose lengths change rarely, leave."""
        heights = self._heights(height * 3 // 5)
        rest = height - sum(heights.values())
        lines = self._requests.draw(width, rest) if rest else []
        for panel in (self._operations, self._queues, self._pools, self._trouble, self._findings):
            if panel in heights:
                lines += panel.draw(width, heights[panel])
        return lines

    def _heights(self, room: int) -> dict[Panel, int]:
        """Share ``room`` lines fairly among the tables that have rows; if too little for all, by importance."""
        most: tuple[tuple[Panel, int], ...] = (
            *((self._findings, 6), (self._trouble, 6), (self._operations, 24)),
            *((self._queues, 24), (self._pools, 24)),
        )
        wanted = {panel: min(panel.total + _TABLE_HEAD, limit) for panel, limit in most if panel.total}
        chosen = list(wanted)[: room // (_TABLE_HEAD + 1)]
        heights: dict[Panel, int] = {}
        for place, panel in enumerate(sorted(chosen, key=lambda each: wanted[each])):
            heights[panel] = min(wanted[panel], room // (len(chosen) - place))
            room -= heights[panel]
        return heights

    def _pool_lines(self, width: int, height: int) -> list[Line]:
        """Pools, and below them what is held; the pools get what they need, and the half at least."""
        held = min(self._holdings.total + _TABLE_HEAD, height // 2)
        upper = min(max(height - held, 0), max(self._pools.total, 1) + _TABLE_HEAD)
        lower = height - upper
        return (self._pools.draw(width, upper) if upper else []) + (self._holdings.draw(width, lower) if lower else [])

    def _check_lines(self, width: int, height: int) -> list[Line]:
        """Findings, and below them the topmost one in full."""
        lower = min(_DETAIL_LINES, height // 2)
        upper = height - lower
        return (self._findings.draw(width, upper) if upper else []) + self._findings.detail(width, lower)

    def _help_lines(self, width: int, height: int) -> list[Line]:
        checks = _CHECKS if "checks" in self.views else ""
        views = ", ".join(self.views)
        said = _HELP.format(more=self.keys_help, last=len(self.views), views=views, checks=checks)
        text = [part for line in said.splitlines() for part in _wrapped(line, width)]
        self._help_first = max(0, min(self._help_first, len(text) - height))
        shown = text[self._help_first : self._help_first + height]
        lines = [[Segment(line, BOLD if line[:1] != " " else PLAIN)] for line in shown]
        return lines + [[] for _ in range(height - len(lines))]

    def _scroll_help(self, key: str) -> None:
        rows, pages = _SCROLLS.get(key, (0, 0))
        self._help_first = max(0, self._help_first + rows + 10 * pages)


def _table_key(panel: Panel, key: str) -> None:
    if key in _SCROLLS:
        panel.scroll(*_SCROLLS[key])
    elif key in {"home", "end"}:
        panel.scroll_to(end=key == "end")
    elif key in {"s", "S"}:
        panel.next_order(1 if key == "s" else -1)
    elif key == "r":
        panel.reverse()


def _wrapped(line: str, width: int) -> list[str]:
    """A line of the help, continued below its text where the width allows such an indent."""
    indent = _HELP_INDENT if line.startswith(" ") and width > 2 * _HELP_INDENT else 0
    return textwrap.wrap(line, width, subsequent_indent=" " * indent)


def _elapsed(nanoseconds: int) -> str:
    minutes, seconds = divmod(max(0, nanoseconds) // 1_000_000_000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
