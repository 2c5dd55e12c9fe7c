"""Requests, put together from their events.

A request is named by its connection and its ``unique``. Its row (:data:`REQUEST`) begins with the first event that was
seen of it and is finished by ENDED. What was not seen stays 0 in the row, and 0 means *not known*: tracing may have
begun late, an event may have been lost, or this kernel does not show it.
"""

from enum import IntEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from furtrace.trace.record import (
    NO_BUFFER,
    NO_QUEUE,
    OPERATION_OFFSET,
    PAYLOAD_SIZE_OFFSET,
    RECORD,
    Flag,
    Kind,
    Records,
    Step,
    Transport,
)
from furtrace.wire.opcodes import Opcode


class Found(IntEnum):
    """Where a request was that was under way as the trace began.

    Attributes:
        NOT: it was not found so.
        WAITS: in the kernel; ``entry`` tells whether one had it.
        SERVED: in the server's hands.
        ANSWERED: the kernel was taking its reply.

    """

    NOT = 0
    WAITS = 1
    SERVED = 2
    ANSWERED = 3


REQUEST: Final = np.dtype(
    [
        ("unique", "<u8"),
        ("node_id", "<u8"),
        ("commit_id", "<u8"),
        ("entry", "<u8"),
        ("payload", "<u8"),
        ("queued_ns", "<u8"),
        ("dry_ns", "<u8"),
        ("selected_ns", "<u8"),
        ("assigned_ns", "<u8"),
        ("registered_ns", "<u8"),
        ("delivered_ns", "<u8"),
        ("committed_ns", "<u8"),
        ("unregistered_ns", "<u8"),
        ("ended_ns", "<u8"),
        ("made_ns", "<u8"),
        ("found_ns", "<u8"),
        ("connection", "<u4"),
        ("opcode", "<u4"),
        ("error", "<i4"),
        ("queue", "<u4"),
        ("expected_queue", "<u4"),
        ("entry_index", "<i4"),
        ("client_pid", "<u4"),
        ("client_tid", "<u4"),
        ("server_pid", "<u4"),
        ("server_tid", "<u4"),
        ("reply_size", "<i8"),
        ("moved", "<i8"),
        ("page_bytes", "<i8"),
        ("fixed_bytes", "<i8"),
        ("segments", "<u4"),
        ("buffer_id", "<i4"),
        ("pool_offset", "<u4"),
        ("slot", "<i4"),
        ("buffer_waits", "<u2"),
        ("fixed_ios", "<u2"),
        ("flags", "<u2"),
        ("transport", "u1"),
        ("found", "u1"),
        ("uncertain", "?"),
        ("pooled", "?"),
        ("second", "u1"),
        ("name_size", "<u2"),
        ("operation_size", "<u2"),
        ("answer_size", "u1"),
        ("client_comm", "V16"),
        ("server_comm", "V16"),
        ("operation", "V128"),
        ("answer", "V16"),
        ("name", "V192"),
    ]
)
"""One request. Times are CLOCK_MONOTONIC in nanoseconds, 0: not known.

``dry_ns``: when it first found the pool without a free buffer. ``selected_ns``: when a buffer was taken out of the pool
for it; 0 also where its entry kept the one of the request before. ``assigned_ns``: when an entry took it, see
:class:`Requests`. ``registered_ns``, ``unregistered_ns``: when its pages came into a slot of the server's ring and when
they left it.

``found_ns``: when it was found under way, as the trace began; ``found``: where it was then (:class:`Found`);
``made_ns``: when the kernel had made it, to a tick of its clock (``fuse_req.create_time``), which not every kernel
keeps. All three 0: it was not found so.

``queue``: ``NO_QUEUE`` if none or not known; ``expected_queue``: the CPU that its client ran on. ``entry_index``: the
entry's number within its queue in the order of their first use, -1: none. ``client_pid``: 0 if not known, then
``client_tid`` may be. ``error``: meant if ``ended_ns``. ``reply_size``: bytes of payload in the reply, -1: not known.
``moved``: bytes that a READ, READDIR or READLINK brought or a WRITE or COPY_FILE_RANGE wrote, -1: none or not known.

``pooled``: its queue takes payload buffers from a pool. ``buffer_id``: -1: none; ``pool_offset``: where that buffer
starts in the pool, in bytes. ``buffer_waits``: how often none was free for it. ``slot``: the one that its pages are in
for zero-copy, -1: none. ``page_bytes``: their size, -1: not known; ``segments``: in how many pieces, 0: not known.
``fixed_bytes``: what the server's own I/O moved from or to that slot before the request ended, in ``fixed_ios``
operations; -1: none was seen.

``flags``: :class:`~furtrace.trace.record.Flag`. ``uncertain``: events were lost while it was under way. ``operation``:
the operation's header as the kernel made it (``fuse_write_in`` and the like). ``answer``: the first ``answer_size``
bytes, 16 at most, of the reply's first structure as the kernel took it (``fuse_open_out``, the node id of
``fuse_entry_out`` and the like); none where the request failed. ``name``: as ``extra`` of QUEUED.
"""

Requests_ = npt.NDArray[np.void]
"""Rows of :data:`REQUEST`."""

Places = npt.NDArray[np.intp]
"""Indices into an array."""


class Events:
    """Some records of a batch: a column is gathered when it is asked for, the rest of the records is not touched."""

    def __init__(self, batch: Records, at: Places) -> None:
        self._batch = batch
        self._at = at
        self._gathered: dict[str, npt.NDArray[Any]] = {}

    def __getitem__(self, column: str) -> npt.NDArray[Any]:
        values = self._gathered.get(column)
        if values is None:
            values = self._gathered[column] = self._batch[column][self._at]
        return values

    def only(self, chosen: npt.NDArray[np.bool_]) -> "Events":
        """Those of them that are chosen."""
        return self if chosen.all() else Events(self._batch, self._at[chosen])


MOST_OPEN: Final = 100_000
"""Requests under way that are remembered; past that the oldest are forgotten (a client that was killed while its
request waited takes it back, and no tracepoint tells)."""

_ANSWER: Final = REQUEST["answer"].itemsize
_MOST_U2: Final = 0xFFFF


def no_requests() -> Requests_:
    """Return no rows."""
    return np.empty(0, REQUEST)


def new_requests(count: int) -> Requests_:
    """Return ``count`` rows in which nothing is known."""
    return np.repeat(_UNKNOWN, count)


def _unknown() -> Requests_:
    """One row in which nothing is known."""
    row = np.zeros(1, REQUEST)
    row["queue"] = row["expected_queue"] = NO_QUEUE
    for column in ("entry_index", "reply_size", "moved", "buffer_id", "slot", "page_bytes", "fixed_bytes"):
        row[column] = -1
    return row


_UNKNOWN: Final = _unknown()


class Requests:
    """Puts requests together, a batch of events at a time.

    STEP tells when an entry took a request (``ADD_REQ_TO_RING_ENT``). No tracepoint does, but two others imply it: an
    entry takes the next request when it is free, and it is free from the end of its last one. So ``assigned_ns`` is
    the later of QUEUED and the end of the entry's previous request. That holds for foreground requests on a queue
    without a buffer pool (a background request may be held back by ``max_background``, one on a pool by a lack of
    buffers) whose entry's previous request was seen; for all others it stays unknown.

    Events that may come after ENDED (RECYCLED, PAGES_RELEASED, FIXED_IO of a server that still uses the pages) begin no
    request, or there would be one that never ends.

    Args:
        whole: all requests of an entry are fed; False: a filter lets only some pass, so ``assigned_ns`` is not derived.
    """

    def __init__(self, *, whole: bool = True) -> None:
        self._whole = whole
        self._open = no_requests()
        self._open_keys: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._connections: dict[int, int] = {}
        self._entries: dict[tuple[int, int], dict[int, int]] = {}
        self._entry_since: dict[tuple[int, int], int] = {}
        self._entry_free: dict[tuple[int, int], int] = {}
        self.forgotten = 0
        """Requests under way that were dropped because there were more than :data:`MOST_OPEN`."""

    @property
    def under_way(self) -> Requests_:
        """Requests that have not ended, in no particular order."""
        return self._open

    def entries(self) -> dict[tuple[int, int], int]:
        """Number of entries that were seen in use, by connection and queue."""
        return {place: len(known) for place, known in self._entries.items()}

    def entry_index(self, connection: int, queue: int, entry: int) -> int | None:
        """The number of an entry within its queue, by its address; None if it was not seen with a request yet."""
        return self._entries.get((connection, queue), {}).get(entry)

    def entry_since(self, connection: int, entry: int) -> int:
        """When an entry was first seen with a request, in nanoseconds; 0: it was not."""
        return self._entry_since.get((connection, entry), 0)

    def add_found(self, rows: Requests_) -> None:
        """Take in requests that were found under way as the trace began, before any event is fed."""
        keys = self._keys(rows, np.arange(len(rows)))
        keys, first = np.unique(keys, return_index=True)
        fresh = rows[first]
        self._number_entries(fresh)
        self._keep(keys, fresh, np.zeros(len(fresh), np.bool_))

    def feed(self, batch: Records, lost: bool = False) -> Requests_:
        """Take in a batch and return the requests that ended in it, in the order in which they ended.

        Args:
            batch: dtype RECORD, in the order of the ring buffer.
            lost: some events are missing before, after or between these.
        """
        finished = [self._feed(part, lost) for part in cut_at_inits(batch)]
        return finished[0] if len(finished) == 1 else np.concatenate(finished)

    def _feed(self, batch: Records, lost: bool) -> Requests_:
        if lost:
            self._open["uncertain"] = True
            self._entry_free.clear()
        kinds = np.ascontiguousarray(batch["kind"])
        if len(kinds) and kinds[0] == Kind.INIT:
            self._forget_connection(int(batch["connection"][0]), int(batch["ns"][0]))
        places = _places_of(batch, kinds)
        if Kind.FIXED_IO in places:
            places[Kind.FIXED_IO] = self._in_time(batch, places)
        told = np.concatenate([np.empty(0, np.intp), *places.values()])
        if not len(told):
            return no_requests()
        keys, inverse = np.unique(self._keys(batch, told), return_inverse=True)
        rows = self._rows(keys)
        self._fill(rows, batch, places, inverse)
        if lost:
            rows["uncertain"] = True
        self._number_entries(rows)
        ended = rows["ended_ns"] != 0
        at = np.flatnonzero(ended)
        finished: Requests_ = rows[at[np.argsort(rows["ended_ns"][at], kind="stable")]]
        if self._whole and not lost:
            self._derive_assignment(finished)
        self._keep(keys, rows, ended)
        return finished

    def _keys(self, batch: Records, told: Places) -> npt.NDArray[np.uint64]:
        """One number a request: its unique, and above it (from bit 48) the connection's running number."""
        connections = batch["connection"][told]
        numbers = np.zeros(len(told), np.uint64)
        for connection in np.unique(connections):
            number = self._connections.setdefault(int(connection), len(self._connections))
            numbers[connections == connection] = number
        return (batch["unique"][told] & np.uint64((1 << 48) - 1)) | (numbers << np.uint64(48))

    def _rows(self, keys: npt.NDArray[np.uint64]) -> Requests_:
        rows = new_requests(len(keys))
        if len(self._open_keys):
            at = np.searchsorted(self._open_keys, keys).clip(max=len(self._open_keys) - 1)
            known = self._open_keys[at] == keys
            rows[known] = self._open[at[known]]
        return rows

    def _in_time(self, batch: Records, places: dict[Kind, Places]) -> Places:
        """Where FIXED_IO is of a request that is under way there: begun in this batch or before, and not ended."""
        at = places.pop(Kind.FIXED_IO)
        wanted = self._keys(batch, at)
        begins = np.sort(np.concatenate([np.empty(0, np.intp), *places.values()]))
        begun = _looked_up(self._keys(batch, begins), begins, wanted, len(batch))
        begun[np.isin(wanted, self._open_keys)] = -1
        ends = places.get(Kind.ENDED, begins[:0])
        ended = _looked_up(self._keys(batch, ends), ends, wanted, len(batch))
        in_time: Places = at[(begun < at) & (at < ended)]
        return in_time

    def _fill(self, rows: Requests_, batch: Records, places: dict[Kind, Places], inverse: Places) -> None:
        start = 0
        for kind, source in places.items():
            target = inverse[start : start + len(source)]
            start += len(source)
            if len(source):
                events = Events(batch, source)
                _fill_about(rows, events, target, whole=kind in _FATES)
                _FILLS[kind](rows, events, target)

    def _number_entries(self, rows: Requests_) -> None:
        fresh = np.flatnonzero((rows["entry"] != 0) & (rows["entry_index"] < 0))
        if not len(fresh):
            return
        uses = first_of(rows, fresh, _USES)
        order = np.argsort(uses, kind="stable")
        fresh, uses = fresh[order], uses[order]
        _, first, inverse = np.unique(_entries_of(rows, fresh), return_index=True, return_inverse=True)
        numbers = np.empty(len(first), np.int32)
        for at in np.argsort(first).tolist():
            numbers[at] = self._entry_number(rows[fresh[first[at]]], int(uses[first[at]]))
        rows["entry_index"][fresh] = numbers[inverse]

    def _entry_number(self, row: np.void, used_ns: int) -> int:
        connection, entry = int(row["connection"]), int(row["entry"])
        known = self._entries.setdefault((connection, int(row["queue"])), {})
        if entry not in known:
            self._entry_since[connection, entry] = used_ns
        return known.setdefault(entry, len(known))

    def _derive_assignment(self, finished: Requests_) -> None:
        """Set ``assigned_ns``; see the class."""
        at = np.flatnonzero(finished["entry"] != 0)
        if not len(at):
            return
        entries = _entries_of(finished, at)
        sorting = np.argsort(entries, kind="stable")
        order, entries = at[sorting], entries[sorting]
        ended = finished["ended_ns"][order]
        free = np.zeros(len(order), np.uint64)
        starts = np.flatnonzero(np.r_[True, entries[1:] != entries[:-1]])
        free[1:] = ended[:-1]
        heads = finished[order[starts]]
        names = list(zip(heads["connection"].tolist(), heads["entry"].tolist(), strict=True))
        free[starts] = [self._entry_free.get(name, 0) for name in names]
        self._entry_free.update(zip(names, ended[np.r_[starts[1:] - 1, len(order) - 1]].tolist(), strict=True))
        queued = finished["queued_ns"][order]
        sure = (free != 0) & (queued != 0) & (finished["flags"][order] & Flag.BACKGROUND == 0)
        sure &= ~finished["pooled"][order]
        assigned = np.where(sure, np.maximum(free, queued), 0)
        assigned[assigned > finished["delivered_ns"][order]] = 0
        exact = finished["assigned_ns"][order]
        finished["assigned_ns"][order] = np.where(exact != 0, exact, assigned)

    def _keep(self, keys: npt.NDArray[np.uint64], rows: Requests_, ended: npt.NDArray[np.bool_]) -> None:
        """Merge what is still under way into the table, sorted by key."""
        untouched = ~np.isin(self._open_keys, keys, assume_unique=True)
        all_keys = np.concatenate([self._open_keys[untouched], keys[~ended]])
        all_rows = np.concatenate([self._open[untouched], rows[~ended]])
        if len(all_keys) > MOST_OPEN:
            newest = np.argsort(first_seen(all_rows))[-MOST_OPEN:]
            self.forgotten += len(all_keys) - MOST_OPEN
            all_keys, all_rows = all_keys[newest], all_rows[newest]
        order = np.argsort(all_keys)
        self._open_keys, self._open = all_keys[order], all_rows[order]

    def _forget_connection(self, connection: int, began: int) -> None:
        """A new INIT: the connection's number is used anew, and what was under way under it is gone."""
        gone = (self._open["connection"] == connection) & (self._open["ended_ns"] == 0)
        gone &= (first_seen(self._open) < began) & (self._open["opcode"] != Opcode.INIT)
        self._open, self._open_keys = self._open[~gone], self._open_keys[~gone]
        for place in [place for place in self._entries if place[0] == connection]:
            del self._entries[place]
        for times in (self._entry_free, self._entry_since):
            for entry in [entry for entry in times if entry[0] == connection]:
                del times[entry]


def cut_at_inits(batch: Records) -> list[Records]:
    """The batch in parts, each INIT the first event of one: what comes before it is of an older connection."""
    cuts = np.flatnonzero(batch["kind"] == Kind.INIT)
    return np.split(batch, cuts[cuts > 0]) if len(cuts) else [batch]


_USES: Final = ("selected_ns", "assigned_ns", "registered_ns", "delivered_ns", "committed_ns")
"""Times of a request at which it has an entry, in the order of the kernel."""
_TIMES: Final = ("queued_ns", "made_ns", "found_ns", "dry_ns", *_USES, "unregistered_ns", "ended_ns")


def first_seen(rows: Requests_) -> npt.NDArray[np.uint64]:
    """When each request was first seen: the first of its times that is known, in nanoseconds.

    Args:
        rows: of :data:`REQUEST`, or of :data:`~furtrace.model.pairing.PAIRED`, which has not all of these times.
    """
    there = tuple(name for name in _TIMES if name in (rows.dtype.names or ()))
    return first_of(rows, np.arange(len(rows)), there)


def begin_of(row: np.void) -> int:
    """The same of one request."""
    return int(first_seen(np.array([row], REQUEST))[0])


def first_of(rows: Requests_, at: Places, columns: tuple[str, ...]) -> npt.NDArray[np.uint64]:
    """The first of these columns that is not 0, for each row at ``at``."""
    first: npt.NDArray[np.uint64] = rows[columns[0]][at]
    unknown = np.flatnonzero(first == 0)
    for column in columns[1:]:
        if not len(unknown):
            break
        first[unknown] = rows[column][at[unknown]]
        unknown = unknown[first[unknown] == 0]
    return first


def state(row: np.void) -> str:
    """Where a request under way is, as far as its events tell."""
    if row["uncertain"]:
        return "unknown, events were lost"
    if row["committed_ns"] or row["found"] == Found.ANSWERED:
        return "in the kernel, committed"
    return "in the server" if row["delivered_ns"] or row["found"] == Found.SERVED else "queued"


def is_delivered(rows: Requests_) -> npt.NDArray[np.bool_]:
    """Which requests the server has, or has had."""
    delivered: npt.NDArray[np.bool_] = (rows["delivered_ns"] != 0) | (rows["found"] >= Found.SERVED)
    return delivered


def is_answered(rows: Requests_) -> npt.NDArray[np.bool_]:
    """Which requests the server has answered by the ring."""
    answered: npt.NDArray[np.bool_] = (rows["committed_ns"] != 0) | (rows["found"] == Found.ANSWERED)
    return answered


def is_queued(rows: Requests_) -> npt.NDArray[np.bool_]:
    """Which requests are known to wait, or to have waited, in the kernel."""
    queued: npt.NDArray[np.bool_] = (rows["queued_ns"] != 0) | (rows["found"] == Found.WAITS)
    return queued


def _entries_of(rows: Requests_, at: Places) -> npt.NDArray[np.intp]:
    """A number for the entry of each row at ``at``: the same address on another connection is another entry."""
    pairs = rows["connection"][at].astype(np.uint64) << np.uint64(32) | rows["queue"][at]
    _, places = np.unique(pairs, return_inverse=True)
    addresses, entries = np.unique(rows["entry"][at], return_inverse=True)
    numbers: npt.NDArray[np.intp] = places * len(addresses) + entries
    return numbers


def _places_of(batch: Records, kinds: npt.NDArray[np.uint8]) -> dict[Kind, Places]:
    """Where each kind's events are that tell of a request; the records themselves, 648 bytes each, are never copied."""
    there = np.bincount(kinds, minlength=len(Kind) + 1)
    named = batch["unique"] != 0
    places = {kind: np.flatnonzero((kinds == kind) & named) for kind in _FILLS if there[kind]}
    if Kind.STEP in places:
        at = places[Kind.STEP]
        places[Kind.STEP] = at[batch["step"][at] == Step.ADD_REQ_TO_RING_ENT]
    return places


def _looked_up(keys: npt.NDArray[np.uint64], places: Places, wanted: npt.NDArray[np.uint64], absent: int) -> Places:
    """The first place of each wanted key, ``absent`` if it has none."""
    known, first = np.unique(keys, return_index=True)
    if not len(known):
        return np.full(len(wanted), absent, np.intp)
    at = np.searchsorted(known, wanted).clip(max=len(known) - 1)
    return np.where(known[at] == wanted, places[first[at]], absent)


def _fill_about(rows: Requests_, events: Events, at: Places, *, whole: bool) -> None:
    """Which request it is; ``whole``: events of this kind always know its operation and node."""
    rows["unique"][at] = events["unique"]
    rows["connection"][at] = events["connection"]
    opcodes = events["opcode"]
    if not whole:
        known = opcodes != 0
        at, events, opcodes = at[known], events.only(known), opcodes[known]
    rows["opcode"][at] = opcodes
    rows["node_id"][at] = events["node_id"]


def _fill_queued(rows: Requests_, events: Events, at: Places) -> None:
    flags, sizes = events["flags"], events["header_size"]
    is_client = (flags & Flag.CURRENT_IS_CLIENT) != 0
    rows["queued_ns"][at] = events["ns"]
    rows["found"][at] = Found.NOT  # all of it is seen, so events know better
    rows["expected_queue"][at] = events["cpu"]
    rows["flags"][at] |= flags
    rows["client_tid"][at] = np.where(is_client, events["tid"], events["client_tid"])
    rows["client_pid"][at] = np.where(is_client, events["pid"], 0)
    rows["client_comm"][at[is_client]] = events.only(is_client)["comm"]
    name_sizes = events["extra_size"]
    has_name = name_sizes != 0
    if has_name.any():
        named = events.only(has_name)
        rows["name"][at[has_name]] = named["extra"]
        rows["name_size"][at] = name_sizes
        rows["second"][at] = events["second"]
    has_operation = sizes > OPERATION_OFFSET
    if has_operation.any():
        rows["operation"][at[has_operation]] = _part(events.only(has_operation)["header"], OPERATION_OFFSET, 128)
        rows["operation_size"][at[has_operation]] = sizes[has_operation] - OPERATION_OFFSET


def _fill_selected(rows: Requests_, events: Events, at: Places) -> None:
    rows["pooled"][at] = True
    rows["flags"][at] |= np.uint16(Flag.POOL)
    dry = events["error"] != 0
    if dry.any():
        _fill_dry(rows, events.only(dry), at[dry])
        events, at = events.only(~dry), at[~dry]
    rows["selected_ns"][at] = events["ns"]
    for column in ("buffer_id", "pool_offset", "payload"):
        rows[column][at] = events[column]
    _fill_entry(rows, events, at)


def _fill_dry(rows: Requests_, events: Events, at: Places) -> None:
    """The pool had no buffer for it; the first time counts."""
    first, where, times = np.unique(at, return_index=True, return_counts=True)
    rows["buffer_waits"][first] = np.minimum(rows["buffer_waits"][first] + times, _MOST_U2)
    known = rows["dry_ns"][first]
    rows["dry_ns"][first] = np.where(known != 0, known, events["ns"][where])


def _fill_entry(rows: Requests_, events: Events, at: Places) -> None:
    """The entry that takes it."""
    entries = events["entry"]
    known = entries != 0
    rows["entry"][at[known]] = entries[known]
    rows["queue"][at[known]] = events.only(known)["queue"]


def _fill_assigned(rows: Requests_, events: Events, at: Places) -> None:
    rows["assigned_ns"][at] = events["ns"]
    _fill_entry(rows, events, at)


def _fill_registered(rows: Requests_, events: Events, at: Places) -> None:
    _fill_entry(rows, events, at)
    fine = events["error"] == 0
    events, at = events.only(fine), at[fine]
    rows["registered_ns"][at] = events["ns"]
    rows["flags"][at] |= ZERO_COPY
    for column, source in (("slot", "slot"), ("page_bytes", "length"), ("segments", "segments")):
        rows[column][at] = events[source]


def _fill_unregistered(rows: Requests_, events: Events, at: Places) -> None:
    fine = events["error"] == 0
    rows["unregistered_ns"][at[fine]] = events.only(fine)["ns"]


def _fill_fixed(rows: Requests_, events: Events, at: Places) -> None:
    """I/O of the server's own on the request's pages: an error moved nothing."""
    touched, times = np.unique(at, return_counts=True)
    rows["fixed_bytes"][touched] = np.maximum(rows["fixed_bytes"][touched], 0)
    rows["fixed_ios"][touched] = np.minimum(rows["fixed_ios"][touched] + times, _MOST_U2)
    fine = events["error"] == 0
    np.add.at(rows["fixed_bytes"], at[fine], events.only(fine)["length"])


def _fill_delivered(rows: Requests_, events: Events, at: Places) -> None:
    rows["delivered_ns"][at] = events["ns"]
    flags = events["flags"]
    rows["flags"][at] |= flags & ~np.uint16(Flag.CURRENT_IS_CLIENT)
    rows["server_pid"][at] = events["pid"]
    rows["server_tid"][at] = events["tid"]
    rows["server_comm"][at] = events["comm"]
    rows["transport"][at] = events["transport"]
    _fill_place(rows, events, at)
    _fill_client(rows, events, at)
    unanswered = np.isin(events["opcode"], UNANSWERED)
    if unanswered.any():
        _fill_unanswered(rows, events.only(unanswered), at[unanswered])
    whole = (rows["operation_size"][at] == 0) & ((flags & Flag.HEADER_FROM_SERVER) != 0)
    whole &= rows["queued_ns"][at] == 0
    if whole.any():
        rows["operation"][at[whole]] = _part(events.only(whole)["header"], OPERATION_OFFSET, 128)
        rows["operation_size"][at[whole]] = 128


def _fill_unanswered(rows: Requests_, events: Events, at: Places) -> None:
    """A request that has no reply is over once the server has it; its structure is in the header."""
    rows["ended_ns"][at] = events["ns"]
    sizes = events["header_size"]
    rows["operation"][at] = _part(events["header"], OPERATION_OFFSET, 128)
    rows["operation_size"][at] = np.maximum(sizes, OPERATION_OFFSET) - OPERATION_OFFSET


def _fill_client(rows: Requests_, events: Events, at: Places) -> None:
    """The client's thread, where QUEUED was not seen, from the request's header."""
    unknown = rows["client_tid"][at] == 0
    if unknown.any():
        rows["client_tid"][at[unknown]] = events.only(unknown)["client_tid"]


def _fill_place(rows: Requests_, events: Events, at: Places) -> None:
    """Where in the ring the request is: what DELIVERED and COMMITTED both tell."""
    known = events["entry"] != 0
    if not known.all():
        at, events = at[known], events.only(known)
    for column in ("entry", "payload", "queue", "commit_id", "pool_offset"):
        rows[column][at] = events[column]
    buffers, flags = events["buffer_id"], events["flags"]
    has_buffer = (flags & Flag.HAS_BUFFER) != 0
    pooled = has_buffer | (buffers == NO_BUFFER) | ((flags & Flag.POOL) != 0)
    if pooled.any():
        rows["buffer_id"][at[has_buffer]] = buffers[has_buffer]
        rows["pooled"][at[pooled]] = True
    has_slot = (flags & IN_SLOT) == IN_SLOT
    if has_slot.any():
        rows["slot"][at[has_slot]] = events.only(has_slot)["slot"]


def _fill_committed(rows: Requests_, events: Events, at: Places) -> None:
    rows["committed_ns"][at] = events["ns"]
    copying = events["flags"] & ABOUT_COPYING
    if copying.any():
        rows["flags"][at] |= copying
    rows["transport"][at] = events["transport"]
    for column in ("pid", "tid", "comm"):
        rows[f"server_{column}"][at] = events[column]
    _fill_place(rows, events, at)
    whole = (events["flags"] & Flag.HEADER_FROM_SERVER) != 0
    headers = events.only(whole)["header"]
    rows["reply_size"][at[whole]] = _part(headers, PAYLOAD_SIZE_OFFSET, 4).view("<u4")


def _fill_ended(rows: Requests_, events: Events, at: Places) -> None:
    rows["ended_ns"][at] = events["ns"]
    errors, transports, queues = events["error"], events["transport"], events["queue"]
    rows["error"][at] = errors
    rows["transport"][at] = transports
    has_queue = queues != NO_QUEUE
    rows["queue"][at[has_queue]] = queues[has_queue]
    _fill_client(rows, events, at)
    # Of a request by /dev/fuse, whoever ends it is the server that writes the reply, unless it was given up.
    replied = (transports == Transport.DEV) & ~np.isin(errors, GIVEN_UP)
    if replied.any():
        _fill_dev_reply(rows, events.only(replied), at[replied])
    fine = errors == 0
    _fill_answer(rows, events, at)
    _fill_moved(rows, events.only(fine), at[fine])


def _fill_answer(rows: Requests_, events: Events, at: Places) -> None:
    sizes = events["header_size"]
    answered = sizes > OPERATION_OFFSET
    if answered.any():
        rows["answer"][at[answered]] = _part(events.only(answered)["header"], OPERATION_OFFSET, _ANSWER)
        rows["answer_size"][at[answered]] = np.minimum(sizes[answered] - OPERATION_OFFSET, _ANSWER)


def _fill_dev_reply(rows: Requests_, events: Events, at: Places) -> None:
    for column in ("pid", "tid", "comm"):
        rows[f"server_{column}"][at] = events[column]
    lengths = events["length"]
    answered = (events["error"] == 0) & (lengths >= 16)
    rows["reply_size"][at[answered]] = lengths[answered] - 16


def _fill_moved(rows: Requests_, events: Events, at: Places) -> None:
    opcodes, sizes = events["opcode"], rows["answer_size"][at]
    brought = at[np.isin(opcodes, BRINGERS)]
    rows["moved"][brought] = rows["reply_size"][brought]
    wrote = at[np.isin(opcodes, WRITERS) & (sizes >= 4)]
    rows["moved"][wrote] = _part(rows["answer"][wrote], 0, 4).view("<u4")
    copied = at[(opcodes == Opcode.COPY_FILE_RANGE_64) & (sizes >= 8)]
    rows["moved"][copied] = _part(rows["answer"][copied], 0, 8).view("<i8")


_FATES: Final = (Kind.QUEUED, Kind.DELIVERED, Kind.COMMITTED, Kind.ENDED)
_FILLS: Final = {
    Kind.QUEUED: _fill_queued,
    Kind.SELECTED: _fill_selected,
    Kind.STEP: _fill_assigned,
    Kind.PAGES_REGISTERED: _fill_registered,
    Kind.DELIVERED: _fill_delivered,
    Kind.COMMITTED: _fill_committed,
    Kind.PAGES_UNREGISTERED: _fill_unregistered,
    Kind.ENDED: _fill_ended,
    Kind.FIXED_IO: _fill_fixed,
}
"""What each kind's events tell of a request; applied in this order, which is the kernel's."""
IN_SLOT: Final = np.uint16(Flag.ZERO_COPIED | Flag.HAS_SLOT)
"""What an event, or a request, has whose pages are in a slot."""
ZERO_COPY: Final = IN_SLOT | np.uint16(Flag.QUEUE_ZERO_COPY | Flag.FILE_ZERO_COPY | Flag.HAS_PAGES)
"""What is so of a request whose pages are registered: ``can_zero_copy_req()`` has said yes."""
ABOUT_COPYING: Final = ZERO_COPY | np.uint16(Flag.POOL)
BRINGERS: Final = (Opcode.READ, Opcode.READDIR, Opcode.READDIRPLUS, Opcode.READLINK)
WRITERS: Final = (Opcode.WRITE, Opcode.COPY_FILE_RANGE)  # their reply is a fuse_write_out: u32 size first
MOVERS: Final = (*BRINGERS, *WRITERS, Opcode.COPY_FILE_RANGE_64)  # the last: a u64, fuse_copy_file_range_out
"""Operations whose result is a number of bytes, ``moved``."""
UNANSWERED: Final = (Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT)
MAY_WAIT: Final = (*UNANSWERED, Opcode.SETLKW, Opcode.NOTIFY_REPLY)
"""Operations that have no answer, or wait for what others do."""
GIVEN_UP: Final = (-4, -103, -107)  # EINTR, ECONNABORTED, ENOTCONN


def _part(header: npt.NDArray[np.void], offset: int, size: int) -> npt.NDArray[np.void]:
    """Bytes ``offset`` to ``offset + size`` of every header."""
    whole = np.ascontiguousarray(header).view(np.uint8).reshape(len(header), header.dtype.itemsize)
    return np.ascontiguousarray(whole[:, offset : offset + size]).view(f"V{size}")[:, 0]


assert RECORD["extra"].itemsize == REQUEST["name"].itemsize
