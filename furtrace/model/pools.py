"""Buffer pools and zero-copy slots of queues: what is free, who holds what, and who waits.

A queue of Linux 7.3 may take its payload buffers from a pool. An entry takes one with a request that has payload, keeps
it for its next request if that comes at once, and gives it back when there is none (``fuse_uring_select_buffer()`` and
``fuse_uring_recycle_buffer()`` of ``fs/fuse/dev_uring.c``). For zero-copy the pages of a request are put into a slot of
the server's ring while the server has the request.

Where both are seen as events (SELECTED and RECYCLED, PAGES_REGISTERED and PAGES_UNREGISTERED), a buffer or slot is held
until it is given back. Elsewhere DELIVERED and COMMITTED alone tell of them, and nothing is known of them once their
request has ended.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from furtrace.model.requests import Events, Places, Requests_, is_delivered, is_queued
from furtrace.model.snapshot import Entry, Snapshot
from furtrace.model.snapshot import Queue as FoundQueue
from furtrace.model.zerocopy import CopiedBecause, copied_because
from furtrace.trace.record import NOT_COUNTED, Flag, Kind, Records


@dataclass
class Holding:
    """A buffer of a pool, or a slot of the ring, that an entry has.

    ``number``: of the buffer or slot. ``entry``: its address. ``unique``, ``opcode``: of the request that has it, or
    had it last. ``since_ns``: when the entry got it, or, if that was not seen, when it was first seen to have it.
    ``offset``: of a buffer, in the pool, in bytes. ``size``: of the pages in a slot, in bytes; None: not known.
    ``kept``: its entry kept it from one request to the next. ``ended_ns``: when its request ended; None: it has not.
    """

    number: int
    entry: int
    unique: int
    opcode: int
    since_ns: int
    offset: int = 0
    size: int | None = None
    kept: bool = False
    ended_ns: int | None = None


@dataclass
class Pool:
    """The pool of a queue, and its zero-copy, as they were at the end of the last batch.

    ``pooled``: it takes buffers from a pool; False: its requests were to be zero-copied, on a queue that is not made
    for that. ``buffers``, ``free``: how many there are, and how many of them are free, by the kernel's own count;
    None: not known. ``peak``: the most that were seen in use at a time. ``selected``, ``recycled``: how often one was
    taken and given back; kept ones are not among these. ``dry``: how often none was free for a request;
    ``dry_since_ns``: since when none is; None: one was free when last seen. ``waiting``: requests that are queued
    while none is free. ``held``, ``slots``: buffers and slots that are known to be in use, by number.

    ``registered``: requests whose pages came into a slot; ``failed``: those where that failed. ``zero_copied_bytes``:
    bytes that zero-copied requests moved. ``because``: how many requests that ended were copied, and why.
    ``added``: how often ADD_BUFPOOL was seen, and not refused. ``watched``: SELECTED or RECYCLED was seen;
    ``slots_watched``: PAGES_REGISTERED was.
    """

    connection: int
    queue: int
    pooled: bool = False
    buffers: int | None = None
    free: int | None = None
    peak: int = 0
    selected: int = 0
    recycled: int = 0
    dry: int = 0
    dry_since_ns: int | None = None
    waiting: int = 0
    registered: int = 0
    failed: int = 0
    zero_copied_bytes: int = 0
    added: int = 0
    watched: bool = False
    slots_watched: bool = False
    held: dict[int, Holding] = field(default_factory=dict)
    slots: dict[int, Holding] = field(default_factory=dict)
    because: dict[CopiedBecause, int] = field(default_factory=dict)

    @property
    def in_use(self) -> int:
        """Buffers in use: by the kernel's count, or at least so many, see :attr:`counted`."""
        return self.buffers - self.free if self.buffers is not None and self.free is not None else len(self.held)

    @property
    def counted(self) -> bool:
        """Whether :attr:`in_use` is exact."""
        return self.buffers is not None and self.free is not None

    @property
    def zero_copied(self) -> int:
        """Requests that ended and were zero-copied."""
        return self.because.get(CopiedBecause.ZERO_COPIED, 0)

    def idle(self) -> Iterator[Holding]:
        """Buffers that are held although their request has ended; for a moment that is as it should be."""
        return (holding for holding in self.held.values() if holding.ended_ns is not None)

    def forget_holdings(self) -> None:
        """What is held is no longer known."""
        self.held.clear()
        self.slots.clear()
        self.free = self.dry_since_ns = None

    def count_anew(self) -> None:
        """Count from here on."""
        self.peak = self.in_use
        self.selected = self.recycled = self.dry = self.registered = self.failed = self.zero_copied_bytes = 0
        self.because = {}

    def settle(self, lost: int) -> None:
        """After a batch: what can't be so is not known."""
        if lost:
            self.forget_holdings()
        elif self.counted and len(self.held) > self.in_use:  # RECYCLED is not seen here
            self.held = {number: holding for number, holding in self.held.items() if holding.ended_ns is None}


Place = tuple[int, int]
"""Connection and queue."""


class Pools:
    """All pools seen."""

    def __init__(self) -> None:
        self._pools: dict[Place, Pool] = {}

    def table(self) -> list[Pool]:
        """All pools, by connection and queue."""
        return [pool for _, pool in sorted(self._pools.items())]

    def update(self, batch: Records, finished: Requests_, under_way: Requests_, lost: bool = False) -> None:
        """Take in a batch.

        Args:
            batch: its events; an INIT can only be the first of them.
            finished: the requests that ended in it.
            under_way: the requests under way after it.
            lost: events lost before or within it: what is held is not known then.
        """
        kinds = np.ascontiguousarray(batch["kind"])
        there = np.bincount(kinds, minlength=len(Kind) + 1)
        if there[_SETUPS].any():
            self._setups(batch[np.isin(kinds, _SETUPS)])
        flags = batch["flags"]
        if there[_OF_POOLS].any() or (flags & _POOLED).any():
            self._buffers(batch, kinds, flags)
            self._slots(batch, kinds, flags)
        self._ended(finished)
        if there[Kind.STOPPED]:
            self._stopped(batch[kinds == Kind.STOPPED])
        for pool in self._pools.values():
            pool.settle(lost)
        self._waiting(under_way)

    def add_found(self, snapshot: Snapshot) -> None:
        """Take in the pools and slots of a connection as they were when the trace began, before any event is."""
        for number, queue in snapshot.queues.items():
            if queue.pool is not None or queue.zero_copy:
                _find(self._pool((snapshot.number, number)), queue, snapshot.ns)

    def count_anew(self) -> None:
        """Count from here on."""
        for pool in self._pools.values():
            pool.count_anew()

    def _pool(self, place: Place) -> Pool:
        return self._pools.setdefault(place, Pool(*place))

    def _setups(self, events: Records) -> None:
        for event in events:
            place = int(event["connection"]), int(event["queue"])
            kind = event["kind"]
            if kind == Kind.INIT:
                for old in [old for old in self._pools if old[0] == place[0]]:
                    del self._pools[old]
            elif kind == Kind.ADD_BUFPOOL:
                pool = self._pool(place)
                pool.pooled = True
                pool.added += 1
            elif event["command_op"] == _ADD_BUFPOOL and place in self._pools:
                self._refused(place)

    def _refused(self, place: Place) -> None:
        """The kernel refused an ADD_BUFPOOL: it has made no pool, or there is the one from before."""
        self._pools[place].added -= 1
        if self._pools[place] == Pool(*place, pooled=True):
            del self._pools[place]

    def _stopped(self, events: Records) -> None:
        """A ring that ends gives nothing back."""
        for pair in zip(events["connection"].tolist(), events["queue"].tolist(), strict=True):
            if pair in self._pools:
                self._pools[pair].forget_holdings()

    # ---- buffers ----

    def _buffers(self, batch: Records, kinds: npt.NDArray[np.uint8], flags: npt.NDArray[np.uint16]) -> None:
        chosen = (kinds == Kind.SELECTED) | (kinds == Kind.RECYCLED)
        has_buffer = (flags & Flag.HAS_BUFFER) != 0
        pooled = (flags & (Flag.HAS_BUFFER | Flag.POOL)) != 0
        at = np.flatnonzero(chosen | (pooled & ((kinds == Kind.DELIVERED) | (kinds == Kind.COMMITTED))))
        kinds, has_buffer, events = kinds[at], has_buffer[at], Events(batch, at)
        chosen = (kinds == Kind.SELECTED) & (events["error"] == 0)
        dry = (kinds == Kind.SELECTED) & ~chosen
        for place, mine in _by_place(events):
            pool = self._pool(place)
            pool.pooled = True
            if (chosen | dry | (kinds == Kind.RECYCLED))[mine].any():
                _count(pool, events, mine, (chosen, kinds == Kind.RECYCLED, dry))
            told = mine[~dry[mine] & (has_buffer | chosen | (kinds == Kind.RECYCLED))[mine]]
            _hold_buffers(pool, events, told, kinds[told])
            if not pool.counted:
                pool.peak = max(pool.peak, len(pool.held))

    # ---- slots ----

    def _slots(self, batch: Records, kinds: npt.NDArray[np.uint8], flags: npt.NDArray[np.uint16]) -> None:
        has_slot = (flags & _IN_SLOT) == _IN_SLOT
        told = np.isin(kinds, (Kind.PAGES_REGISTERED, Kind.PAGES_UNREGISTERED))
        at = np.flatnonzero(told | (has_slot & ((kinds == Kind.DELIVERED) | (kinds == Kind.COMMITTED))))
        kinds, events = kinds[at], Events(batch, at)
        failed = (events["error"] != 0) & told[at]
        for place, mine in _by_place(events):
            pool = self._pool(place)
            registered = kinds[mine] == Kind.PAGES_REGISTERED
            pool.slots_watched |= bool(registered.any())
            pool.failed += int((registered & failed[mine]).sum())
            pool.registered += int((registered & ~failed[mine]).sum())
            fine = mine[~failed[mine]]
            _hold_slots(pool, events, fine, kinds[fine])

    # ---- requests ----

    def _ended(self, finished: Requests_) -> None:
        if not len(finished):
            return
        asked = (finished["flags"] & (Flag.QUEUE_ZERO_COPY | Flag.FILE_ZERO_COPY)) != 0
        if asked.any():
            self._reasons(finished[["connection", "queue", *_REASONED]][asked])
        if any(pool.held or pool.slots for pool in self._pools.values()):
            self._end_holdings(finished)

    def _reasons(self, rows: Requests_) -> None:
        reasons = copied_because(rows)
        for place, mine in _by_place(rows):
            pool = self._pool(place)
            for reason, number in zip(*np.unique(reasons[mine], return_counts=True), strict=True):
                because = CopiedBecause(int(reason))
                pool.because[because] = pool.because.get(because, 0) + int(number)
            moved = rows["moved"][mine[reasons[mine] == CopiedBecause.ZERO_COPIED]]
            pool.zero_copied_bytes += int(moved[moved > 0].sum())

    def _end_holdings(self, finished: Requests_) -> None:
        for place, mine in _by_place(finished):
            pool = self._pools.get(place)
            if pool is None or not (pool.held or pool.slots):
                continue
            ended = dict(zip(*(finished[name][mine].tolist() for name in ("unique", "ended_ns")), strict=True))
            aborted = set(finished["unique"][mine[finished["error"][mine] == _ECONNABORTED]].tolist())
            _end(pool.held, ended, aborted, watched=pool.watched)
            _end(pool.slots, ended, aborted, watched=pool.slots_watched)

    def _waiting(self, under_way: Requests_) -> None:
        dry = False
        for pool in self._pools.values():
            pool.waiting = 0
            dry |= pool.dry_since_ns is not None
        if not dry:
            return
        waits = (under_way["entry"] == 0) & ~is_delivered(under_way) & is_queued(under_way)
        waits &= ~under_way["uncertain"]
        waiting = under_way[["connection", "expected_queue"]][waits]
        for place, mine in _by_place(waiting, "expected_queue"):
            if place in self._pools and self._pools[place].dry_since_ns is not None:
                self._pools[place].waiting = len(mine)


def _find(pool: Pool, queue: FoundQueue, ns: int) -> None:
    """Note the state of a queue's pool, and who has which buffer and slot."""
    found = queue.pool
    pool.pooled = found is not None
    if found is not None:
        pool.buffers, pool.free = found.buffers, len(found.free)
        pool.peak = pool.in_use
        pool.dry_since_ns = ns if queue.waiting and not found.free else None
    for entry in queue.entries:
        if found is not None and entry.buffer is not None and entry.buffer not in found.free:
            offset = entry.buffer * found.buffer_size
            pool.held[entry.buffer] = _found_holding(entry.buffer, entry, ns, offset)
        if entry.zero_copied and entry.slot is not None:
            pool.slots[entry.slot] = _found_holding(entry.slot, entry, ns)


def _found_holding(number: int, entry: Entry, ns: int, offset: int = 0) -> Holding:
    unique, opcode = (entry.request.unique, entry.request.opcode) if entry.request is not None else (0, 0)
    return Holding(number, entry.address, unique, opcode, ns, offset)


def _count(pool: Pool, events: Events, mine: Places, which: tuple[npt.NDArray[np.bool_], ...]) -> None:
    """Take in what the kernel counted; ``which``: SELECTED with a buffer, RECYCLED, SELECTED without."""
    selected, recycled, dry = (mask[mine] for mask in which)
    pool.watched = True
    pool.selected += int(selected.sum())
    pool.recycled += int(recycled.sum())
    pool.dry += int(dry.sum())
    told = mine[selected | recycled | dry]
    buffers = events["buffers"][told]
    if buffers.any():
        pool.buffers = int(buffers[buffers != 0][-1])
    free = np.where(dry, 0, events["buffers_free"][mine])[selected | recycled | dry]
    pool.free = None if free[-1] == NOT_COUNTED else int(free[-1])
    counted = free[free != NOT_COUNTED]
    if pool.buffers is not None and len(counted):
        pool.peak = max(pool.peak, pool.buffers - int(counted.min()))
    given = np.flatnonzero(selected | recycled)
    if len(given):
        pool.dry_since_ns = None
    last = given[-1] if len(given) else -1
    after = np.flatnonzero(dry[last + 1 :]) + last + 1
    if len(after) and pool.dry_since_ns is None:
        pool.dry_since_ns = int(events["ns"][mine[after[0]]])


def _hold_buffers(pool: Pool, events: Events, mine: Places, kinds: npt.NDArray[np.uint8]) -> None:
    """Note who has which buffer: the last event about one decides, the last SELECTED tells since when."""
    numbers = events["buffer_id"][mine]
    for at in _last_of_each(numbers, kinds == Kind.SELECTED):
        pool.held[int(numbers[at])] = _buffer(events, mine[at])
    for at in _last_of_each(numbers):
        number = int(numbers[at])
        if kinds[at] == Kind.RECYCLED:
            pool.held.pop(number, None)
            continue
        seen, known = _buffer(events, mine[at]), pool.held.get(number)
        if known is None or known.entry != seen.entry or (known.unique != seen.unique and not pool.watched):
            pool.held[number] = seen
        elif known.unique != seen.unique:
            known.unique, known.opcode, known.kept, known.ended_ns = seen.unique, seen.opcode, True, None


def _buffer(events: Events, at: np.intp) -> Holding:
    number, offset = int(events["buffer_id"][at]), int(events["pool_offset"][at])
    return Holding(number, *_who(events, at), offset=offset)


def _who(events: Events, at: np.intp) -> tuple[int, int, int, int]:
    entry, unique, opcode, ns = (int(events[name][at]) for name in ("entry", "unique", "opcode", "ns"))
    return entry, unique, opcode, ns


def _hold_slots(pool: Pool, events: Events, mine: Places, kinds: npt.NDArray[np.uint8]) -> None:
    """As of buffers; the pages' size and the time stand in PAGES_REGISTERED."""
    numbers = events["slot"][mine]
    for at in _last_of_each(numbers, kinds == Kind.PAGES_REGISTERED):
        size = int(events["length"][mine[at]])
        pool.slots[int(numbers[at])] = Holding(int(numbers[at]), *_who(events, mine[at]), size=size)
    for at in _last_of_each(numbers):
        number = int(numbers[at])
        if kinds[at] == Kind.PAGES_UNREGISTERED:
            pool.slots.pop(number, None)
        elif number not in pool.slots or pool.slots[number].unique != events["unique"][mine[at]]:
            pool.slots[number] = Holding(number, *_who(events, mine[at]))


def _end(held: dict[int, Holding], ended: dict[int, int], aborted: set[int], *, watched: bool) -> None:
    """Requests ended: nothing is known of what they held where its return is not seen, or does not happen."""
    for number, holding in list(held.items()):
        if holding.unique in aborted or (holding.unique in ended and not watched):
            del held[number]
        elif holding.unique in ended:
            holding.ended_ns = ended[holding.unique]


def _by_place(events: Events | Requests_, queue: str = "queue") -> Iterator[tuple[Place, Places]]:
    """Where the events or rows of each queue are, in their order."""
    pairs = events["connection"].astype(np.uint64) << np.uint64(32) | events[queue]
    for pair in np.unique(pairs).tolist():
        yield (pair >> 32, pair & 0xFFFFFFFF), np.flatnonzero(pairs == pair)


def _last_of_each(numbers: npt.NDArray[np.uint32], chosen: npt.NDArray[np.bool_] | None = None) -> list[int]:
    """Where each number is last, among those that are chosen."""
    at = np.arange(len(numbers)) if chosen is None else np.flatnonzero(chosen)
    _, first = np.unique(numbers[at][::-1], return_index=True)
    places: list[int] = at[::-1][first].tolist()
    return places


_SETUPS: Final = [Kind.INIT, Kind.ADD_BUFPOOL, Kind.REFUSED]
_OF_POOLS: Final = [Kind.SELECTED, Kind.RECYCLED, Kind.PAGES_REGISTERED, Kind.PAGES_UNREGISTERED]
_POOLED: Final = int(Flag.HAS_BUFFER | Flag.POOL | Flag.HAS_SLOT)
_ADD_BUFPOOL: Final = 4
_ECONNABORTED: Final = -103
_IN_SLOT: Final = int(Flag.ZERO_COPIED | Flag.HAS_SLOT)
_REASONED: Final = ("flags", "opcode", "delivered_ns", "committed_ns", "entry", "transport", "moved")
