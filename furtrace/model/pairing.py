"""Requests put together from events in brief: what statistics need of them, and nothing else.

The rules are those of :class:`~furtrace.model.requests.Requests`, and tests hold the two against each other. That one
keeps all that can be said of a request; this one is several times as fast.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from furtrace.model.briefs import Briefs_
from furtrace.model.numbering import Numbering
from furtrace.model.requests import (
    ABOUT_COPYING,
    BRINGERS,
    GIVEN_UP,
    MOST_OPEN,
    REQUEST,
    UNANSWERED,
    ZERO_COPY,
    Events,
    Places,
    first_seen,
)
from furtrace.trace.record import NO_BUFFER, NO_QUEUE, Flag, Kind, Step, Transport
from furtrace.wire.opcodes import Opcode

_COLUMNS: Final = (
    *("unique", "node_id", "entry"),
    *("queued_ns", "dry_ns", "selected_ns", "assigned_ns", "registered_ns"),
    *("delivered_ns", "committed_ns", "unregistered_ns", "ended_ns"),
    *("connection", "opcode", "error", "queue", "expected_queue", "client_pid", "client_tid", "server_pid"),
    *("reply_size", "moved", "buffer_waits", "flags", "transport", "found", "uncertain", "pooled", "client_comm"),
)
PAIRED: Final = np.dtype([(name, REQUEST[name]) for name in _COLUMNS])
"""A request: members of :data:`~furtrace.model.requests.REQUEST`, meaning the same.

But ``reply_size`` is only known where the reply is what was read.
"""

Rows = npt.NDArray[np.void]
"""Rows of :data:`PAIRED`, or of more than its members."""
Keys = npt.NDArray[np.uint64]

_WHOLE: Final = np.dtype(f"V{PAIRED.itemsize}")


def _unknown() -> Rows:
    row = np.zeros(1, PAIRED)
    row["queue"] = row["expected_queue"] = NO_QUEUE
    row["reply_size"] = row["moved"] = -1
    return row


_UNKNOWN: Final = _unknown().view(_WHOLE)


def _taken(rows: Rows, at: "Places | npt.NDArray[np.bool_]") -> Rows:
    """Some rows; as bytes, for numpy copies a structure member by member."""
    taken: Rows = rows.view(_WHOLE)[at].view(PAIRED)
    return taken


def _joined(*parts: Rows) -> Rows:
    return np.concatenate([part.view(_WHOLE) for part in parts]).view(PAIRED)


@dataclass(frozen=True)
class Fed:
    """What a part of a batch has told.

    ``rows``: the requests that it tells of, as they are after it. ``ended``: which of them ended in it, in that order.
    ``known``, ``known_at``: those of them that were under way before, as they were, and where they are in ``rows``.
    ``assigned``: ``assigned_ns`` of ``rows`` as far as it was seen, and does not only follow from their end.
    """

    rows: Rows
    ended: Places
    known: Rows
    known_at: Places
    assigned: Keys

    @property
    def finished(self) -> Rows:
        """The requests that ended, in the order in which they did."""
        return _taken(self.rows, self.ended)


class Pairing:
    """Puts requests together, a batch of events at a time; see :class:`~furtrace.model.requests.Requests`.

    Args:
        whole: all requests of an entry are fed; False: a filter lets only some pass, so ``assigned_ns`` is not derived.
    """

    def __init__(self, *, whole: bool = True) -> None:
        self._whole = whole
        self._open: Rows = np.empty(0, PAIRED)
        self._open_keys: Keys = np.empty(0, np.uint64)
        self._connections: dict[int, int] = {}
        self._entries = Entries()
        self.forgotten = 0
        """Requests under way that were dropped because there were more than :data:`MOST_OPEN`."""

    @property
    def under_way(self) -> Rows:
        """Requests that have not ended, in no particular order."""
        return self._open

    def entries(self) -> dict[tuple[int, int], int]:
        """How many entries were seen in use, by connection and queue."""
        return self._entries.used(self._open)

    def begin(self, events: Briefs_, lost: bool = False) -> None:
        """Forget what does not hold any more in what comes next; to be called before each :meth:`feed`.

        Args:
            events: what comes next; an INIT among them is the first.
            lost: some events are missing before, after or between these.
        """
        if lost:
            self._open["uncertain"] = True
            self._entries.forget()
        if len(events) and events["kind"][0] == Kind.INIT:
            self._forget_connection(int(events["connection"][0]), int(events["ns"][0]))

    def feed(self, events: Briefs_, lost: bool = False) -> Fed:
        """Take in a part of a batch; see :meth:`begin`."""
        at, kinds = _telling(events)
        if not len(at):
            return _NOTHING
        keys, targets = grouped(self._keys(events, at))
        rows, open_at, known_at = self._rows(keys)
        known = _taken(self._open, open_at)
        for kind, fill in _FILLS.items():
            mine = np.flatnonzero(kinds == kind)
            if len(mine):
                fill(rows, Events(events, at[mine]), targets[mine])
        _fill_about(rows, events, at, targets)
        if lost:
            rows["uncertain"] = True
        has_ended = rows["ended_ns"] != 0
        ended = np.flatnonzero(has_ended)
        ended = ended[np.argsort(rows["ended_ns"][ended], kind="stable")]
        assigned = rows["assigned_ns"].copy()
        if self._whole and not lost:
            self._entries.assign(rows, ended)
        else:
            self._entries.note(rows, ended)
        self._keep(keys, rows, has_ended, open_at)
        return Fed(rows, ended, known, known_at, assigned)

    def _keys(self, events: Briefs_, at: Places) -> Keys:
        """One number a request: its unique, and above it (from bit 48) the connection's running number."""
        connections = events["connection"][at]
        first = int(connections[0])
        numbers = np.full(len(at), self._number(first), np.uint64)
        if (connections != first).any():
            for connection in np.unique(connections).tolist():
                numbers[connections == connection] = self._number(connection)
        return (events["unique"][at] & _UNIQUE) | (numbers << _UNIQUE_BITS)

    def _number(self, connection: int) -> int:
        return self._connections.setdefault(connection, len(self._connections))

    def _rows(self, keys: Keys) -> tuple[Rows, Places, Places]:
        """A row for each key; which of the open ones are among them, and where."""
        rows = np.repeat(_UNKNOWN, len(keys)).view(PAIRED)
        rows["unique"] = keys & _UNIQUE
        rows["connection"] = np.array(list(self._connections), np.uint32)[keys >> _UNIQUE_BITS]
        at = np.searchsorted(keys, self._open_keys).clip(max=len(keys) - 1)
        known = np.flatnonzero(keys[at] == self._open_keys)
        at = at[known]
        rows.view(_WHOLE)[at] = self._open.view(_WHOLE)[known]
        return rows, known, at

    def _keep(self, keys: Keys, rows: Rows, has_ended: npt.NDArray[np.bool_], open_at: Places) -> None:
        """Merge what is still under way into the table, sorted by key."""
        untouched = np.ones(len(self._open), np.bool_)
        untouched[open_at] = False
        left = np.flatnonzero(~has_ended)
        all_keys = np.concatenate([self._open_keys[untouched], keys[left]])
        all_rows = _joined(_taken(self._open, untouched), _taken(rows, left))
        if len(all_keys) > MOST_OPEN:
            newest = np.argsort(first_seen(all_rows))[-MOST_OPEN:]
            self.forgotten += len(all_keys) - MOST_OPEN
            all_keys, all_rows = all_keys[newest], _taken(all_rows, newest)
        order = np.argsort(all_keys)
        self._open_keys, self._open = all_keys[order], _taken(all_rows, order)

    def _forget_connection(self, connection: int, began: int) -> None:
        """A new INIT: the connection's number is used anew, and what was under way under it is gone."""
        gone = (self._open["connection"] == connection) & (self._open["ended_ns"] == 0)
        gone &= (first_seen(self._open) < began) & (self._open["opcode"] != Opcode.INIT)
        self._entries.note(self._open, np.flatnonzero(gone))
        self._open, self._open_keys = _taken(self._open, ~gone), self._open_keys[~gone]
        self._entries.forget_connection(connection)


_UNIQUE_BITS: Final = np.uint64(48)
_UNIQUE: Final = np.uint64((1 << 48) - 1)
_NO_ROWS: Final = np.empty(0, PAIRED)
_NOWHERE: Final = np.empty(0, np.intp)
_NOTHING: Final = Fed(_NO_ROWS, _NOWHERE, _NO_ROWS, _NOWHERE, np.empty(0, np.uint64))


def grouped(keys: Keys) -> tuple[Keys, Places]:
    """The different keys in order, and where among them each is; quick where most of them are in order already."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    is_first = np.empty(len(keys), np.bool_)
    is_first[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    places = np.empty(len(keys), np.intp)
    places[order] = np.cumsum(is_first) - 1
    return ordered[is_first], places


def _telling(events: Briefs_) -> tuple[Places, npt.NDArray[np.uint8]]:
    """Where events tell of a request, and their kinds."""
    kinds = np.ascontiguousarray(events["kind"])
    tell = _TELLS[kinds] & (events["unique"] != 0)
    steps = np.flatnonzero(kinds == Kind.STEP)
    tell[steps] &= events["step"][steps] == Step.ADD_REQ_TO_RING_ENT
    at = np.flatnonzero(tell)
    return at, kinds[at]


class Entries:
    """The entries that requests had: how many there are, and since when each is free."""

    def __init__(self) -> None:
        self._numbers = Numbering(2)  # connection and queue, address
        self._free: Keys = np.zeros(0, np.uint64)
        self._earlier: dict[tuple[int, int], int] = {}

    def used(self, under_way: Rows) -> dict[tuple[int, int], int]:
        """How many entries were seen, by connection and queue; of a number used anew, by the ring that had most."""
        self.note(under_way, np.arange(len(under_way)))
        counts = dict(self._earlier)
        for place, count in self._counts().items():
            counts[place] = max(count, counts.get(place, 0))
        return counts

    def _counts(self) -> dict[tuple[int, int], int]:
        places, counts = np.unique(self._numbers.keys[0], return_counts=True)
        return {divmod(place, 1 << 32): count for place, count in zip(places.tolist(), counts.tolist(), strict=True)}

    def note(self, rows: Rows, at: Places) -> tuple[Places, Places]:
        """Which of these rows had an entry, and the numbers of those."""
        at = at[rows["entry"][at] != 0]
        places = rows["connection"][at].astype(np.uint64) << _QUEUE_BITS | rows["queue"][at]
        numbers = self._numbers.of(places, rows["entry"][at])
        if len(self._free) < len(self._numbers):
            self._free = np.concatenate([self._free, np.zeros(len(self._numbers) - len(self._free), np.uint64)])
        return at, numbers

    def assign(self, rows: Rows, ended: Places) -> None:
        """Set ``assigned_ns`` of requests, in the order in which they ended, where it follows from what is known."""
        at, numbers = self.note(rows, ended)
        if not len(at):
            return
        order = np.argsort(numbers.astype(np.min_scalar_type(len(self._numbers))), kind="stable")
        at, numbers = at[order], numbers[order]
        ends = rows["ended_ns"][at]
        is_first = np.concatenate([[True], numbers[1:] != numbers[:-1]])
        free = np.empty(len(at), np.uint64)
        free[1:] = ends[:-1]
        free[is_first] = self._free[numbers[is_first]]
        is_last = np.concatenate([is_first[1:], [True]])
        self._free[numbers[is_last]] = ends[is_last]
        queued = rows["queued_ns"][at]
        sure = (free != 0) & (queued != 0) & (rows["flags"][at] & Flag.BACKGROUND == 0)
        sure &= ~rows["pooled"][at] & (rows["assigned_ns"][at] == 0)
        assigned = np.maximum(free, queued)
        sure &= assigned <= rows["delivered_ns"][at]
        rows["assigned_ns"][at[sure]] = assigned[sure]

    def forget(self) -> None:
        """Events were lost: when entries became free is not known."""
        self._free[:] = 0

    def forget_connection(self, connection: int) -> None:
        """The number is that of a new connection."""
        places, addresses = self._numbers.keys
        kept = places >> _QUEUE_BITS != connection
        if kept.all():
            return
        for place, count in self._counts().items():
            if place[0] == connection:
                self._earlier[place] = max(count, self._earlier.get(place, 0))
        self._free = self._free[kept]
        self._numbers = Numbering(2)
        self._numbers.of(places[kept], addresses[kept])


_QUEUE_BITS: Final = np.uint64(32)


# What each kind's events tell of a request; see the functions of the same names in furtrace.model.requests.


def _fill_about(rows: Rows, events: Briefs_, at: Places, targets: Places) -> None:
    """Operation and node of requests of which neither QUEUED nor ENDED told them."""
    unknown = rows["opcode"] == 0
    if unknown.any():
        mine = unknown[targets]
        at, targets = at[mine], targets[mine]
        at, targets = at[events["opcode"][at] != 0], targets[events["opcode"][at] != 0]
        rows["opcode"][targets], rows["node_id"][targets] = events["opcode"][at], events["node_id"][at]


def _fill_queued(rows: Rows, events: Events, at: Places) -> None:
    is_client = (events["flags"] & Flag.CURRENT_IS_CLIENT) != 0
    rows["queued_ns"][at] = events["ns"]
    rows["expected_queue"][at] = events["cpu"]
    rows["flags"][at] |= events["flags"]
    rows["opcode"][at], rows["node_id"][at] = events["opcode"], events["node_id"]
    rows["client_tid"][at] = np.where(is_client, events["tid"], events["client_tid"])
    rows["client_pid"][at] = np.where(is_client, events["pid"], 0)
    rows["client_comm"][at[is_client]] = events.only(is_client)["comm"]


def _fill_selected(rows: Rows, events: Events, at: Places) -> None:
    rows["pooled"][at] = True
    rows["flags"][at] |= np.uint16(Flag.POOL)
    dry = events["error"] != 0
    if dry.any():
        first, where, times = np.unique(at[dry], return_index=True, return_counts=True)
        rows["buffer_waits"][first] = np.minimum(rows["buffer_waits"][first] + times, _MOST_U2)
        known = rows["dry_ns"][first]
        rows["dry_ns"][first] = np.where(known != 0, known, events["ns"][dry][where])
        events, at = events.only(~dry), at[~dry]
    rows["selected_ns"][at] = events["ns"]
    _fill_entry(rows, events, at)


def _fill_entry(rows: Rows, events: Events, at: Places) -> None:
    known = events["entry"] != 0
    rows["entry"][at[known]] = events["entry"][known]
    rows["queue"][at[known]] = events["queue"][known]


def _fill_assigned(rows: Rows, events: Events, at: Places) -> None:
    rows["assigned_ns"][at] = events["ns"]
    _fill_entry(rows, events, at)


def _fill_registered(rows: Rows, events: Events, at: Places) -> None:
    _fill_entry(rows, events, at)
    fine = events["error"] == 0
    rows["registered_ns"][at[fine]] = events["ns"][fine]
    rows["flags"][at[fine]] |= ZERO_COPY


def _fill_unregistered(rows: Rows, events: Events, at: Places) -> None:
    fine = events["error"] == 0
    rows["unregistered_ns"][at[fine]] = events["ns"][fine]


def _fill_delivered(rows: Rows, events: Events, at: Places) -> None:
    rows["delivered_ns"][at] = events["ns"]
    rows["flags"][at] |= events["flags"] & ~np.uint16(Flag.CURRENT_IS_CLIENT)
    rows["server_pid"][at] = events["pid"]
    rows["transport"][at] = events["transport"]
    _fill_place(rows, events, at)
    _fill_client(rows, events, at)
    unanswered = _among(_IS_UNANSWERED, events["opcode"])
    if unanswered.any():
        rows["ended_ns"][at[unanswered]] = events["ns"][unanswered]


def _fill_client(rows: Rows, events: Events, at: Places) -> None:
    unknown = rows["client_tid"][at] == 0
    if unknown.any():
        rows["client_tid"][at[unknown]] = events["client_tid"][unknown]


def _fill_place(rows: Rows, events: Events, at: Places) -> None:
    _fill_entry(rows, events, at)
    pooled = ((events["flags"] & _POOLED) != 0) | (events["buffer_id"] == NO_BUFFER)
    if pooled.any():
        pooled &= events["entry"] != 0
        rows["pooled"][at[pooled]] = True


def _fill_committed(rows: Rows, events: Events, at: Places) -> None:
    rows["committed_ns"][at] = events["ns"]
    copying = events["flags"] & ABOUT_COPYING
    if copying.any():
        rows["flags"][at] |= copying
    rows["transport"][at] = events["transport"]
    rows["server_pid"][at] = events["pid"]
    _fill_place(rows, events, at)
    told = events["answer"] >= 0
    rows["reply_size"][at[told]] = events["answer"][told]


def _fill_ended(rows: Rows, events: Events, at: Places) -> None:
    rows["ended_ns"][at] = events["ns"]
    rows["opcode"][at], rows["node_id"][at] = events["opcode"], events["node_id"]
    rows["error"][at] = events["error"]
    rows["transport"][at] = events["transport"]
    has_queue = events["queue"] != NO_QUEUE
    rows["queue"][at[has_queue]] = events["queue"][has_queue]
    _fill_client(rows, events, at)
    by_device = events["transport"] == Transport.DEV
    if by_device.any():
        replied = by_device & ~np.isin(events["error"], GIVEN_UP)
        _fill_dev_reply(rows, events.only(replied), at[replied])
    fine = events["error"] == 0
    brought = at[fine & _among(_IS_BRINGER, events["opcode"])]
    rows["moved"][brought] = rows["reply_size"][brought]
    wrote = fine & (events["answer"] >= 0)
    rows["moved"][at[wrote]] = events["answer"][wrote]


def _fill_dev_reply(rows: Rows, events: Events, at: Places) -> None:
    rows["server_pid"][at] = events["pid"]
    answered = (events["error"] == 0) & (events["length"] >= 16)
    rows["reply_size"][at[answered]] = events["length"][answered] - 16


def _table(opcodes: Iterable[int]) -> npt.NDArray[np.bool_]:
    """Which operations are among these; the last place stands for all that are not known."""
    table = np.zeros(max(Opcode) + 2, np.bool_)
    table[list(opcodes)] = True
    return table


def _among(table: npt.NDArray[np.bool_], opcodes: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = table[np.minimum(opcodes, len(table) - 1)]
    return found


_IS_UNANSWERED: Final = _table(UNANSWERED)
_IS_BRINGER: Final = _table(BRINGERS)


_FILLS: Final[dict[Kind, Callable[[Rows, Events, Places], None]]] = {
    Kind.QUEUED: _fill_queued,
    Kind.SELECTED: _fill_selected,
    Kind.STEP: _fill_assigned,
    Kind.PAGES_REGISTERED: _fill_registered,
    Kind.DELIVERED: _fill_delivered,
    Kind.COMMITTED: _fill_committed,
    Kind.PAGES_UNREGISTERED: _fill_unregistered,
    Kind.ENDED: _fill_ended,
}
"""Applied in this order, which is the kernel's."""
_TELLS: Final = np.isin(np.arange(256), list(_FILLS))
_MOST_U2: Final = 0xFFFF
_POOLED: Final = np.uint16(Flag.HAS_BUFFER | Flag.POOL)
