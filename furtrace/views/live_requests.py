"""The live view's table of the requests under way."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from rich.style import Style

from furtrace.model.inodes import Path
from furtrace.model.paths import Paths, Subject
from furtrace.model.requests import Requests_, first_seen, is_answered, is_delivered, no_requests
from furtrace.trace import record
from furtrace.trace.record import NO_QUEUE, Flag, names
from furtrace.views.arguments import NAMED_BESIDES
from furtrace.views.live_table import CYAN, DIM, GREEN, PLAIN, RED, YELLOW, Cell, Column, Glyphs, Order, Panel
from furtrace.views.units import duration
from furtrace.wire.opcodes import Opcode, opcode_name

STATES: Final = ("unknown (events lost)", "queued", "in server", "in kernel")
_STATE_STYLES: Final = (RED, CYAN, YELLOW, GREEN)

_SLOW_NS: Final = 1_000_000_000
_STUCK_NS: Final = 10_000_000_000


def states(rows: Requests_) -> npt.NDArray[np.intp]:
    """Return the state of each request as an index into :data:`STATES`.

    Queued means no more than that: whether it waits for an entry or for a read of /dev/fuse can't be known yet, nor
    whether such a read took it where the kernel does not show that.
    """
    known = np.where(is_answered(rows), 3, np.where(is_delivered(rows), 2, 1))
    return np.where(rows["uncertain"], 0, known)


def top(keys: npt.NDArray[np.uint64], first: int, count: int, *, falling: bool) -> npt.NDArray[np.intp]:
    """Return where the ``count`` rows from ``first`` on are in the order of ``keys``; ties stay as they are."""
    if falling:
        keys = ~keys
    end = first + count
    if end * 4 >= len(keys):
        return np.argsort(keys, kind="stable")[first:end]
    # Of many rows only those up to the last one shown are sorted; all that equal it must be among them.
    limit = np.partition(keys, end - 1)[end - 1]
    near = np.flatnonzero(keys <= limit)
    return near[np.argsort(keys[near], kind="stable")][first:end]


class RequestsPanel(Panel):
    """Requests under way."""

    title = "Requests in flight"
    columns = (
        Column("unique", 7, 3, grow=5, right=True),
        Column("operation", 10, 0, grow=6),
        Column("path", 12, 4, grow=40),
        Column("conn", 4, 8, right=True),
        Column("queue", 5, 6, right=True),
        Column("entry", 5, 7, right=True),
        Column("state", 9, 1, grow=12),
        Column("age", 6, 2, right=True),
        Column("client", 13, 5, grow=10, middle=True),
    )
    orders = (
        Order("age"),
        Order("unique", falling=False),
        Order("operation", falling=False),
        Order("state", falling=False),
        Order("queue", falling=False),
        Order("client", falling=False),
    )

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(glyphs)
        self._rows = no_requests()
        self._paths = Paths()
        self._frozen: list[Subject] | None = None
        self._now_ns = 0

    def update(self, rows: Requests_, paths: Paths, now_ns: int) -> None:
        """Show these requests; they are read, not copied, until :meth:`freeze`."""
        self._rows, self._paths, self._frozen = rows, paths, None
        self._now_ns = now_ns

    def freeze(self) -> None:
        """Keep what is shown even when the model goes on: it marks requests as uncertain in place."""
        self._rows = self._rows.copy()
        self._frozen = self._paths.present(self._rows)

    @property
    def total(self) -> int:
        """How many requests are under way."""
        return len(self._rows)

    def rows(self, first: int, count: int) -> list[Sequence[Cell]]:
        """Make the cells of the requests that are shown."""
        order = self.order
        # "by age, falling" is the oldest first, which is the smallest time first.
        falling = order.falling != (order.name == "age")
        places = top(self._keys(order.name), first, count, falling=falling)
        chosen = self._rows[places]
        if self._frozen is None:
            subjects = self._paths.present(chosen)
        else:
            subjects = [self._frozen[place] for place in places.tolist()]
        ages = self._now_ns - first_seen(chosen).astype(np.int64)
        shown = zip(chosen, subjects, states(chosen).tolist(), ages.tolist(), strict=True)
        return [self._cells(*one) for one in shown]

    def _keys(self, order: str) -> npt.NDArray[np.uint64]:
        rows = self._rows
        if order == "age":
            return first_seen(rows)
        if order == "operation":
            return _operation_ranks(rows["opcode"])
        if order == "state":
            return states(rows).astype(np.uint64)
        if order == "queue":
            return _places(rows)
        column = "client_pid" if order == "client" else "unique"
        keys: npt.NDArray[np.uint64] = rows[column].astype(np.uint64)
        return keys

    def _cells(self, row: np.void, subject: Subject, state: int, age: int) -> Sequence[Cell]:
        entry = int(row["entry_index"])
        return (
            str(row["unique"]),
            opcode_name(int(row["opcode"])),
            self._subject(row, subject),
            str(row["connection"]),
            _queue(row),
            "-" if entry < 0 else str(entry),
            (STATES[state], _STATE_STYLES[state]),
            (duration(max(0, age)), _age_style(age)),
            self._client(row),
        )

    def _subject(self, row: np.void, subject: Subject) -> Cell:
        """The path; of RENAME and the like both, with an arrow between; an attribute's name or a link's target too."""
        paths = [self._path(path) for path in subject if path is not None]
        if row["opcode"] == Opcode.LINK:
            paths.reverse()
        text = f" {self.glyphs.arrow} ".join(paths)
        if row["name_size"] and row["opcode"] in NAMED_BESIDES:
            name = names(row["name"].tobytes(), int(row["name_size"]), int(row["second"]))[-1]
            text += f' "{self.glyphs.text(name)}"' + (self.glyphs.cut if row["flags"] & Flag.NAME_CUT else "")
        return text if subject.path.known else (text, DIM)

    def _path(self, path: Path) -> str:
        return self.glyphs.text(path.raw) + ("" if path.sure else "?") + (" (deleted)" if path.deleted else "")

    def _client(self, row: np.void) -> Cell:
        comm = self.glyphs.text(record.comm(row["client_comm"].tobytes()))
        if row["client_pid"]:
            return f"{comm}/{row['client_pid']}" if comm else str(row["client_pid"])
        return f"tid {row['client_tid']}" if row["client_tid"] else comm or "-"


def _operation_ranks(opcodes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
    """Each operation's place in the alphabet, among those that there are."""
    codes, inverse = np.unique(opcodes, return_inverse=True)
    alphabet = np.argsort(np.argsort([opcode_name(int(code)) for code in codes]))
    ranks: npt.NDArray[np.uint64] = alphabet.astype(np.uint64)[inverse]
    return ranks


def _places(rows: Requests_) -> npt.NDArray[np.uint64]:
    """Connection, queue and entry as one number; unknown queues are the greatest, unknown entries the smallest."""
    queue = rows["queue"].astype(np.uint64) & np.uint64(0xFFFF)
    entry = (rows["entry_index"] + 1).astype(np.uint64) & np.uint64(0xFFFF)
    places: npt.NDArray[np.uint64] = (
        rows["connection"].astype(np.uint64) << np.uint64(32) | queue << np.uint64(16) | entry
    )
    return places


def _queue(row: np.void) -> Cell:
    """The queue; before it is known, the one that the kernel takes for the client's CPU, with a question mark."""
    if row["queue"] != NO_QUEUE:
        return str(row["queue"])
    return (f"{row['expected_queue']}?", DIM) if row["expected_queue"] != NO_QUEUE else "-"


def _age_style(age: int) -> Style:
    return PLAIN if age < _SLOW_NS else YELLOW if age < _STUCK_NS else RED
