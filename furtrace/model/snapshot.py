"""The state of a FUSE connection at one moment: its ring, queues, entries and requests, as the kernel has them.

Members are those of struct fuse_conn (fs/fuse/fuse_i.h), fuse_chan (fs/fuse/dev.h; Linux 7.3), fuse_ring,
fuse_ring_queue, fuse_ring_ent and fuse_bufpool (fs/fuse/dev_uring_i.h), and fuse_req. It is read without any lock: what
changed meanwhile is told by :attr:`Queue.changed` and :attr:`Snapshot.changed`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from furtrace.trace.record import NO_QUEUE

Rows = npt.NDArray[np.void]
"""Of ``furtrace.probe.snapshot.ROW``."""


class RowKind(IntEnum):
    """``enum ft_row_kind`` of probes/inspected.c."""

    SERVER = 1
    CONNECTION = 2
    QUEUE = 3
    BITMAP = 4
    LIST = 5
    ENTRY = 6
    REQUEST = 7
    BITS = 8


class InList(IntEnum):
    """The lists of the kernel in which entries and requests are: ``enum ft_list`` of probes/inspected.c.

    Attributes:
        AVAILABLE: ``fuse_ring_queue.ent_avail_queue``: entries that wait for a request.
        WITH_REQUEST: ``ent_w_req_queue``: entries whose request is on its way to the server.
        COMMIT: ``ent_commit_queue``: entries whose reply the kernel is taking.
        USERSPACE: ``ent_in_userspace``: entries whose request the server has.
        RELEASED: ``ent_released``: entries of a ring that has ended.
        QUEUED: ``fuse_req_queue``: requests that wait for an entry of the queue, or for a buffer.
        QUEUED_BACKGROUND: ``fuse_req_bg_queue``: background requests that wait for their turn.
        PENDING: ``fuse_iqueue.pending``: requests that wait to be read from ``/dev/fuse``.
        BACKGROUND: ``bg_queue`` of the connection: background requests that wait for their turn.
        PROCESSING: ``fuse_pqueue.processing`` of a ``/dev/fuse``: requests that the server has read from it.
        IO: ``fuse_pqueue.io``: requests that are being copied.

    """

    AVAILABLE = 0
    WITH_REQUEST = 1
    COMMIT = 2
    USERSPACE = 3
    RELEASED = 4
    QUEUED = 5
    QUEUED_BACKGROUND = 6
    PENDING = 7
    BACKGROUND = 8
    PROCESSING = 9
    IO = 10


class EntryState(IntEnum):
    """``enum fuse_ring_req_state`` (fs/fuse/dev_uring_i.h), whose names begin with ``FRRS_``."""

    INVALID = 0
    COMMIT = 1
    AVAILABLE = 2
    FUSE_REQ = 3
    USERSPACE = 4
    TEARDOWN = 5
    RELEASED = 6


class PayloadMode(IntEnum):
    """``enum fuse_queue_payload_mode``: where the payload buffers of a queue are (Linux 7.3)."""

    UNSET = 0
    PER_ENTRY = 1
    POOL = 2


class Connected(IntFlag):
    """Flags of a connection: ``FT_IS_CONNECTED`` and so on of probes/inspected.c."""

    CONNECTED = 1
    INITIALIZED = 2
    BLOCKED = 4
    ABORTED = 8
    WANTS_URING = 16
    HAS_RING = 32
    READY = 64
    SENDS_URING = 128


_STOPPED, _ZERO_COPY, _POOL, _REGISTERED = 1, 2, 4, 8
_ZERO_COPIED, _HAS_REQUEST, _HAS_THREAD, _THREAD_ENDED = 1, 2, 4, 8
_TORN: Final = 1
_LOW: Final = 0xFFFFFFFF


@dataclass(frozen=True)
class Request:
    """A request. ``length``: of its message, in bytes. ``client_tid``: ``fuse_in_header.pid``; 0: the kernel's own.

    ``flags``: names of the bits that are set in ``fuse_req.flags`` (``FR_*``). ``age_s``: seconds since it was made;
    None: the kernel does not keep that, or its clock's rate is not known. ``at_least``: it is that old, or older.
    """

    unique: int
    opcode: int
    node_id: int
    length: int
    client_tid: int
    uid: int
    flags: tuple[str, ...]
    age_s: float | None
    where: InList
    queue: int | None = None
    at_least: bool = False


@dataclass(frozen=True)
class Entry:
    """A ring entry.

    ``state``: None: a number that is not known. ``headers``, ``payload``: addresses in the server's memory, of its
    header slot and its payload buffer; 0: none. ``buffer``: which of the pool's it is; None: none. ``slot``: where its
    zero-copied pages go; None: its queue has no zero-copy. ``zero_copied``: its request's pages are there now.
    ``thread``: whose io_uring brings it its requests, while it waits for one; None: it does not wait, or that is not
    known. ``thread_ended``: that thread has.
    """

    address: int
    where: InList
    state: EntryState | None
    headers: int
    payload: int
    payload_size: int
    buffer: int | None
    slot: int | None
    zero_copied: bool
    request: Request | None
    thread: int | None = None
    thread_ended: bool = False


@dataclass(frozen=True)
class Pool:
    """A buffer pool. ``base``: its address in the server's memory. ``free``: numbers of the buffers that are free.

    ``registered``: which of the ring's registered buffers it is; None: it is plain memory.
    """

    base: int
    buffer_size: int
    buffers: int
    free: frozenset[int]
    registered: int | None


@dataclass
class Queue:
    """A queue. ``mode``: None where the kernel has no pools. ``changed``: lists that changed while they were read."""

    number: int
    stopped: bool
    zero_copy: bool
    mode: PayloadMode | None
    active_background: int
    pool: Pool | None = None
    entries: list[Entry] = field(default_factory=list)
    waiting: list[Request] = field(default_factory=list)
    lengths: dict[InList, int] = field(default_factory=dict)
    changed: set[InList] = field(default_factory=set)

    def count(self, where: InList) -> int:
        """How long a list is."""
        return self.lengths.get(where, 0)

    @property
    def threads(self) -> set[int]:
        """The threads that bring requests to it, as far as entries that wait for one tell."""
        return {entry.thread for entry in self.entries if entry.thread is not None}


@dataclass
class Snapshot:
    """A connection.

    ``servers``: processes that hold its ``/dev/fuse`` open, by pid, with their comm as bytes. ``ready``: None: it has
    no ring. ``nr_queues``: queues that the ring needs, one a possible CPU. ``max_payload``: bytes that a payload buffer
    must have. ``ns``: CLOCK_MONOTONIC. ``requests``: those that are in no queue of the ring. ``bits``: bit fields of
    struct fuse_conn that are set, by their names: what INIT agreed on (``async_read``), and what the server was seen
    not to have (``no_open``).
    """

    number: int
    ns: int
    flags: Connected
    max_write: int
    max_pages: int
    minor: int
    max_background: int
    num_background: int
    active_background: int
    waiting: int
    nr_queues: int
    references: int
    max_payload: int
    servers: dict[int, bytes] = field(default_factory=dict)
    mountpoints: tuple[str, ...] = ()
    queues: dict[int, Queue] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    lengths: dict[InList, int] = field(default_factory=dict)
    changed: set[InList] = field(default_factory=set)
    bits: tuple[str, ...] = ()

    @property
    def has_ring(self) -> bool:
        """Whether INIT agreed on io_uring, and something was registered or the kernel has made the ring."""
        return bool(self.flags & Connected.HAS_RING)

    @property
    def ready(self) -> bool | None:
        """Whether requests go over the ring; None: there is none."""
        return bool(self.flags & Connected.READY) if self.has_ring else None

    @property
    def lacking(self) -> list[int]:
        """Queues that have no entry, so that the ring is not ready."""
        return [number for number in range(self.nr_queues) if not (self.queues.get(number) and self._entries(number))]

    def _entries(self, number: int) -> list[Entry]:
        return self.queues[number].entries

    @property
    def moved(self) -> int:
        """Entries that were in none of the lists, as they went from one to another while these were read."""
        return max(0, self.references - sum(len(queue.entries) for queue in self.queues.values()))

    def held(self) -> Iterator[Request]:
        """Requests that entries have."""
        for queue in self.queues.values():
            yield from (entry.request for entry in queue.entries if entry.request is not None)

    def all_requests(self) -> list[Request]:
        """All requests, oldest first."""
        waiting = (request for queue in self.queues.values() for request in queue.waiting)
        return sorted([*self.requests, *self.held(), *waiting], key=lambda one: (-(one.age_s or 0), one.unique))


def hertz(jiffies: int, ns: int) -> int | None:
    """How often a second the kernel counts jiffies: the rate at which that count began 5 minutes before 2**32.

    See INITIAL_JIFFIES (include/linux/jiffies.h). None: none of the usual rates fits, or more than one, as for some
    seconds about five minutes after the boot.
    """
    fitting = [rate for rate in (100, 250, 300, 1000) if _fits(rate, jiffies, ns / 1e9)]
    return fitting[0] if len(fitting) == 1 else None


def _fits(rate: int, jiffies: int, seconds: float) -> bool:
    elapsed = (jiffies - (_LOW + 1 - 300 * rate)) / rate
    return abs(elapsed - seconds) < max(1.0, seconds * 0.001)


@dataclass(frozen=True)
class Names:
    """What a kernel calls the bits that it keeps.

    ``flags``: of ``fuse_req.flags``, by the bit's number: ``enum fuse_req_flag``. ``bits``: bit fields of struct
    fuse_conn, with the bit counted from the byte in which the first of them is. ``has_modes``: its queues have a
    payload mode (Linux 7.3).
    """

    flags: dict[int, str] = field(default_factory=dict)
    bits: dict[str, int] = field(default_factory=dict)
    has_modes: bool = False


class _Decoder:
    """Makes snapshots of rows."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._found: dict[int, Snapshot] = {}
        self._servers: dict[int, dict[int, bytes]] = {}
        self._rate: int | None = None
        self._jiffies = 0

    def take(self, row: np.void) -> None:
        kind, number = int(row["kind"]), int(row["connection"])
        if kind == RowKind.SERVER:
            pid = int(row["value"][0]) & _LOW
            name = row["value"][1:3].tobytes().split(b"\0")[0]
            self._servers.setdefault(number, {})[pid] = name
        elif kind == RowKind.CONNECTION:
            self._connection(number, row)
        elif number in self._found:
            self._part(self._found[number], kind, row)

    def snapshots(self) -> list[Snapshot]:
        for snapshot in self._found.values():
            for queue in snapshot.queues.values():
                _settle(queue)
        for number, servers in self._servers.items():
            if number in self._found:
                self._found[number].servers = servers
        return [self._found[number] for number in sorted(self._found)]

    def _connection(self, number: int, row: np.void) -> None:
        values = [int(value) for value in row["value"]]
        self._jiffies, ns = values[4], values[5]
        self._rate = hertz(self._jiffies, ns)
        halves = [(value & _LOW, value >> 32) for value in values]
        (max_write, max_pages), (most, background), (active, waiting) = halves[:3]
        self._found[number] = Snapshot(
            number, ns, Connected(int(row["flags"])), max_write, max_pages, values[3], most, background, active,
            waiting, *halves[6], values[7],
        )  # fmt: skip

    def _part(self, snapshot: Snapshot, kind: int, row: np.void) -> None:
        number = int(row["queue"])
        queue = snapshot.queues.get(number)
        if kind == RowKind.BITS:
            snapshot.bits = _set_bits(row["value"], self._names.bits)
        elif kind == RowKind.QUEUE:
            snapshot.queues[number] = self._queue(number, row)
        elif kind == RowKind.LIST:
            holder = snapshot if number == NO_QUEUE else queue
            if holder is not None:
                self._list(holder, row)
        elif kind == RowKind.REQUEST:
            request = self._request(row["value"][:6], InList(int(row["list"])), None if number == NO_QUEUE else number)
            (snapshot.requests if queue is None else queue.waiting).append(request)
        elif kind == RowKind.ENTRY and queue is not None:
            queue.entries.append(self._entry(row, queue))
        elif kind == RowKind.BITMAP and queue is not None and queue.pool is not None:
            queue.pool = _with_free(queue.pool, row["value"])

    def _list(self, holder: "Snapshot | Queue", row: np.void) -> None:
        where = InList(int(row["list"]))
        holder.lengths[where] = holder.lengths.get(where, 0) + (int(row["value"][0]) & _LOW)
        if row["flags"] & _TORN:
            holder.changed.add(where)

    def _queue(self, number: int, row: np.void) -> Queue:
        flags, values = int(row["flags"]), [int(value) for value in row["value"]]
        mode = PayloadMode(int(row["state"])) if self._names.has_modes else None
        pool = None
        if flags & _POOL:
            pool = Pool(values[1], values[2], values[3], frozenset(), values[4] if flags & _REGISTERED else None)
        return Queue(number, bool(flags & _STOPPED), bool(flags & _ZERO_COPY), mode, values[0], pool)

    def _entry(self, row: np.void, queue: Queue) -> Entry:
        flags, values = int(row["flags"]), [int(value) for value in row["value"]]
        where, state = InList(int(row["list"])), int(row["state"])
        pooled = queue.pool is not None and values[1] != 0
        has = flags & _HAS_REQUEST
        return Entry(
            address=int(row["address"]),
            where=where,
            state=EntryState(state) if state in EntryState.__members__.values() else None,
            headers=values[0],
            payload=values[1],
            payload_size=values[2],
            buffer=values[3] & _LOW if pooled else None,
            slot=values[3] >> 32 if queue.zero_copy else None,
            zero_copied=bool(flags & _ZERO_COPIED),
            request=self._request(row["value"][5:11], where, queue.number) if has else None,
            thread=values[11] if flags & _HAS_THREAD else None,
            thread_ended=bool(flags & _THREAD_ENDED),
        )

    def _request(self, values: Any, where: InList, queue: int | None) -> Request:
        unique, node_id, operation, client, made, flags = (int(value) for value in values)
        age = (self._jiffies - made) / self._rate if self._rate and 0 < made <= self._jiffies else None
        return Request(
            unique=unique,
            opcode=operation & _LOW,
            node_id=node_id,
            length=operation >> 32,
            client_tid=client & _LOW,
            uid=client >> 32,
            flags=tuple(name for bit, name in sorted(self._names.flags.items()) if flags >> bit & 1),
            age_s=age,
            where=where,
            queue=queue,
        )


def _settle(queue: Queue) -> None:
    """An entry that went from one list to another meanwhile is in both, or in none: the last place is kept."""
    last = {entry.address: entry for entry in queue.entries}
    if len(last) == len(queue.entries):
        return
    queue.changed |= {entry.where for entry in queue.entries if last[entry.address] is not entry}
    queue.changed |= {last[entry.address].where for entry in queue.entries if last[entry.address] is not entry}
    queue.entries = list(last.values())


def _set_bits(values: Any, names: dict[str, int]) -> tuple[str, ...]:
    """Names of the bits that are set, in the order of the bits."""
    bits = np.unpackbits(np.ascontiguousarray(values).view(np.uint8), bitorder="little")
    return tuple(name for name, at in sorted(names.items(), key=lambda one: one[1]) if at < len(bits) and bits[at])


def _with_free(pool: Pool, values: Any) -> Pool:
    """The pool with what a part of its bitmap says: bit 1: the buffer is free."""
    first, words = int(values[0]) * 64, np.ascontiguousarray(values[1:9])
    bits = np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little")) + first
    fresh = frozenset(int(bit) for bit in bits if bit < pool.buffers)
    return Pool(pool.base, pool.buffer_size, pool.buffers, pool.free | fresh, pool.registered)


def decode(rows: Rows, names: Names) -> list[Snapshot]:
    """The snapshots of all connections, by number.

    Args:
        rows: as the iterator wrote them.
        names: of the kernel that they are of.
    """
    decoder = _Decoder(names)
    for row in rows:
        decoder.take(row)
    return decoder.snapshots()
