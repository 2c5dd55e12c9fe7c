"""Requests, put together from their events.

A request is named by its connection and its ``unique``. Its row (:data:`REQUEST`) begins with the first event that was
seen of it and is finished by ENDED. What was not seen stays 0 in the row, and 0 means *not known*: tracing may have
begun late, an event may have been lost, or this kernel does not show it.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from furtrace.trace.record import NO_BUFFER, NO_QUEUE, OPERATION_OFFSET, RECORD, Flag, Kind, Records, Transport
from furtrace.wire.opcodes import Opcode

REQUEST: Final = np.dtype(
    [
        ("unique", "<u8"),
        ("node_id", "<u8"),
        ("commit_id", "<u8"),
        ("entry", "<u8"),
        ("payload", "<u8"),
        ("queued_ns", "<u8"),
        ("assigned_ns", "<u8"),
        ("delivered_ns", "<u8"),
        ("committed_ns", "<u8"),
        ("ended_ns", "<u8"),
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
        ("buffer_id", "<i4"),
        ("pool_offset", "<u4"),
        ("transport", "u1"),
        ("flags", "<u2"),
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

``assigned_ns``: when an entry took it; derived, see :class:`Requests`. ``queue``: ``NO_QUEUE`` if none or not known;
``expected_queue``: the CPU that its client ran on. ``entry_index``: the entry's number within its queue in the order
of their first use, -1: none. ``client_pid``: 0 if not known, then ``client_tid`` may be. ``error``: meant if
``ended_ns``. ``reply_size``: bytes of payload in the reply, -1: not known. ``moved``: bytes that a READ, READDIR or
READLINK brought or a WRITE or COPY_FILE_RANGE wrote, -1: none or not known. ``buffer_id``: -1: none. ``flags``:
:class:`~furtrace.trace.record.Flag`. ``uncertain``: events were lost while it was under way. ``pooled``: its queue
takes payload buffers from a pool. ``operation``: the operation's header as the kernel made it (``fuse_write_in`` and
the like). ``answer``: the first ``answer_size`` bytes, 16 at most, of the reply's first structure as the kernel took
it (``fuse_open_out``, the node id of ``fuse_entry_out`` and the like); none where the request failed. ``name``: as
``extra`` of QUEUED.
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

    def __getitem__(self, column: str) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = self._batch[column][self._at]
        return values

    def only(self, chosen: npt.NDArray[np.bool_]) -> "Events":
        """Those of them that are chosen."""
        return Events(self._batch, self._at[chosen])


MOST_OPEN: Final = 100_000
"""Requests under way that are remembered; past that the oldest are forgotten (a client that was killed while its
request waited takes it back, and no tracepoint tells)."""

_ANSWER: Final = REQUEST["answer"].itemsize
_PAYLOAD_SIZE_OFFSET: Final = 256 + 16  # fuse_uring_ent_in_out.payload_sz
_FATES: Final = (Kind.QUEUED, Kind.DELIVERED, Kind.COMMITTED, Kind.ENDED)


def no_requests() -> Requests_:
    """Return no rows."""
    return np.empty(0, REQUEST)


def new_requests(count: int) -> Requests_:
    """Return ``count`` rows in which nothing is known."""
    rows = np.zeros(count, REQUEST)
    rows["queue"] = rows["expected_queue"] = NO_QUEUE
    for column in ("entry_index", "reply_size", "moved", "buffer_id"):
        rows[column] = -1
    return rows


class Requests:
    """Puts requests together, a batch of events at a time.

    A tracepoint does not tell when an entry took a request, but two others imply it: an entry takes the next request
    when it is free, and it is free from the end of its last one. So ``assigned_ns`` is the later of QUEUED and the end
    of the entry's previous request. That holds for foreground requests on a queue without a buffer pool (a background
    request may be held back by ``max_background``, one on a pool by a lack of buffers) whose entry's previous request
    was seen; for all others it stays unknown.

    Args:
        whole: all requests of an entry are fed; False: a filter lets only some pass, and ``assigned_ns`` stays unknown.
    """

    def __init__(self, *, whole: bool = True) -> None:
        self._whole = whole
        self._open = no_requests()
        self._open_keys: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._connections: dict[int, int] = {}
        self._entries: dict[tuple[int, int], dict[int, int]] = {}
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

    def feed(self, batch: Records, lost: int = 0) -> Requests_:
        """Take in a batch and return the requests that ended in it, in the order in which they ended.

        Args:
            batch: dtype RECORD, in the order of the ring buffer.
            lost: events that the kernel could not write since the last batch.
        """
        finished = [self._feed(part, lost) for part in cut_at_inits(batch)]
        return finished[0] if len(finished) == 1 else np.concatenate(finished)

    def _feed(self, batch: Records, lost: int) -> Requests_:
        if lost:
            self._open["uncertain"] = True
            self._entry_free.clear()
        kinds = np.ascontiguousarray(batch["kind"])
        if len(kinds) and kinds[0] == Kind.INIT:
            self._forget_connection(int(batch["connection"][0]), int(batch["ns"][0]))
        named = batch["unique"] != 0
        # Where each kind's events are in the batch; the records themselves, 648 bytes each, are never copied.
        places = {kind: np.flatnonzero((kinds == kind) & named) for kind in _FATES}
        told = np.concatenate(list(places.values()))
        if not len(told):
            return no_requests()
        keys, inverse = np.unique(self._keys(batch, told), return_inverse=True)
        rows = self._rows(keys)
        self._fill(rows, batch, places, inverse)
        if lost:
            rows["uncertain"] = True
        self._number_entries(rows)
        ended = rows["ended_ns"] != 0
        finished: Requests_ = rows[ended]
        finished = finished[np.argsort(finished["ended_ns"], kind="stable")]
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

    def _fill(self, rows: Requests_, batch: Records, places: dict[Kind, Places], inverse: Places) -> None:
        fill = {
            Kind.QUEUED: _fill_queued,
            Kind.DELIVERED: _fill_delivered,
            Kind.COMMITTED: _fill_committed,
            Kind.ENDED: _fill_ended,
        }
        start = 0
        for kind, source in places.items():
            target = inverse[start : start + len(source)]
            start += len(source)
            if len(source):
                events = Events(batch, source)
                for column in ("unique", "connection", "opcode", "node_id"):
                    rows[column][target] = events[column]
                fill[kind](rows, events, target)

    def _number_entries(self, rows: Requests_) -> None:
        fresh = np.flatnonzero((rows["entry"] != 0) & (rows["entry_index"] < 0))
        if not len(fresh):
            return
        used = np.where(rows["delivered_ns"][fresh] != 0, rows["delivered_ns"][fresh], rows["committed_ns"][fresh])
        fresh = fresh[np.argsort(used, kind="stable")]
        _, first, inverse = np.unique(_entries_of(rows, fresh), return_index=True, return_inverse=True)
        numbers = np.empty(len(first), np.int32)
        for at in np.argsort(first).tolist():
            numbers[at] = self._entry_number(rows[fresh[first[at]]])
        rows["entry_index"][fresh] = numbers[inverse]

    def _entry_number(self, row: np.void) -> int:
        known = self._entries.setdefault((int(row["connection"]), int(row["queue"])), {})
        return known.setdefault(int(row["entry"]), len(known))

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
        finished["assigned_ns"][order] = assigned

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
        for entry in [entry for entry in self._entry_free if entry[0] == connection]:
            del self._entry_free[entry]


def cut_at_inits(batch: Records) -> list[Records]:
    """The batch in parts, each INIT the first event of one: what comes before it is of an older connection."""
    cuts = np.flatnonzero(batch["kind"] == Kind.INIT)
    return np.split(batch, cuts[cuts > 0]) if len(cuts) else [batch]


def first_seen(rows: Requests_) -> npt.NDArray[np.uint64]:
    """When each request was first seen: the first of its times that is known, in nanoseconds."""
    first: npt.NDArray[np.uint64] = rows["ended_ns"]
    for column in ("committed_ns", "delivered_ns", "queued_ns"):
        first = np.where(rows[column] != 0, rows[column], first)
    return first


def state(row: np.void) -> str:
    """Where a request under way is, as far as its events tell."""
    if row["uncertain"]:
        return "unknown, events were lost"
    if row["committed_ns"]:
        return "in the kernel, committed"
    if row["delivered_ns"]:
        return "in the server"
    return "queued"


def _entries_of(rows: Requests_, at: Places) -> npt.NDArray[np.intp]:
    """A number for the entry of each row at ``at``: the same address on another connection is another entry."""
    pairs = rows["connection"][at].astype(np.uint64) << np.uint64(32) | rows["queue"][at]
    _, places = np.unique(pairs, return_inverse=True)
    addresses, entries = np.unique(rows["entry"][at], return_inverse=True)
    numbers: npt.NDArray[np.intp] = places * len(addresses) + entries
    return numbers


def _fill_queued(rows: Requests_, events: Events, at: Places) -> None:
    flags, sizes = events["flags"], events["header_size"]
    is_client = (flags & Flag.CURRENT_IS_CLIENT) != 0
    rows["queued_ns"][at] = events["ns"]
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
    unanswered = np.isin(events["opcode"], _UNANSWERED)
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
    at, events = at[known], events.only(known)
    for column in ("entry", "payload", "queue", "commit_id", "pool_offset"):
        rows[column][at] = events[column]
    buffers, has_buffer = events["buffer_id"], (events["flags"] & Flag.HAS_BUFFER) != 0
    rows["buffer_id"][at[has_buffer]] = buffers[has_buffer]
    rows["pooled"][at] |= has_buffer | (buffers == NO_BUFFER)


def _fill_committed(rows: Requests_, events: Events, at: Places) -> None:
    rows["committed_ns"][at] = events["ns"]
    rows["transport"][at] = events["transport"]
    for column in ("pid", "tid", "comm"):
        rows[f"server_{column}"][at] = events[column]
    _fill_place(rows, events, at)
    whole = (events["flags"] & Flag.HEADER_FROM_SERVER) != 0
    headers = events.only(whole)["header"]
    rows["reply_size"][at[whole]] = _part(headers, _PAYLOAD_SIZE_OFFSET, 4).view("<u4")


def _fill_ended(rows: Requests_, events: Events, at: Places) -> None:
    rows["ended_ns"][at] = events["ns"]
    errors, transports, queues = events["error"], events["transport"], events["queue"]
    rows["error"][at] = errors
    rows["transport"][at] = transports
    has_queue = queues != NO_QUEUE
    rows["queue"][at[has_queue]] = queues[has_queue]
    _fill_client(rows, events, at)
    # Of a request by /dev/fuse, whoever ends it is the server that writes the reply, unless it was given up.
    replied = (transports == Transport.DEV) & ~np.isin(errors, _GIVEN_UP)
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
    brought = at[np.isin(opcodes, _BRINGERS)]
    rows["moved"][brought] = rows["reply_size"][brought]
    wrote = at[np.isin(opcodes, _WRITERS) & (sizes >= 4)]
    rows["moved"][wrote] = _part(rows["answer"][wrote], 0, 4).view("<u4")
    copied = at[(opcodes == Opcode.COPY_FILE_RANGE_64) & (sizes >= 8)]
    rows["moved"][copied] = _part(rows["answer"][copied], 0, 8).view("<i8")


_BRINGERS: Final = (Opcode.READ, Opcode.READDIR, Opcode.READDIRPLUS, Opcode.READLINK)
_WRITERS: Final = (Opcode.WRITE, Opcode.COPY_FILE_RANGE)  # their reply is a fuse_write_out: u32 size first
MOVERS: Final = (*_BRINGERS, *_WRITERS, Opcode.COPY_FILE_RANGE_64)  # the last: a u64, fuse_copy_file_range_out
"""Operations whose result is a number of bytes, ``moved``."""
_UNANSWERED: Final = (Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT)
_GIVEN_UP: Final = (-4, -103, -107)  # EINTR, ECONNABORTED, ENOTCONN


def _part(header: npt.NDArray[np.void], offset: int, size: int) -> npt.NDArray[np.void]:
    """Bytes ``offset`` to ``offset + size`` of every header."""
    whole = np.ascontiguousarray(header).view(np.uint8).reshape(len(header), header.dtype.itemsize)
    return np.ascontiguousarray(whole[:, offset : offset + size]).view(f"V{size}")[:, 0]


assert RECORD["extra"].itemsize == REQUEST["name"].itemsize
