"""What is in a recording, counted and measured: millions of events a second, in little memory.

Requests are put together by :class:`~furtrace.model.pairing.Pairing` and counted as they end. What is kept grows with
the requests that are under way, and with what they are about, up to a bound; not with their number.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from furtrace.model.backlogs import Backlogs
from furtrace.model.briefs import Briefs, Briefs_
from furtrace.model.choosing import Choice, Taken, cut_at_beginnings
from furtrace.model.conversation import cut_at_losses
from furtrace.model.groups import COARSE, FINE, MOST_GROUPS, PHASE_NAMES, Facts, Group, Groups, together
from furtrace.model.histograms import Distribution
from furtrace.model.holdings import Holdings
from furtrace.model.inodes import Path
from furtrace.model.naming import Naming
from furtrace.model.pairing import Pairing, Rows
from furtrace.model.paths import changing
from furtrace.model.pools import Place, Pool, Pools
from furtrace.model.requests import Requests, Requests_, cut_at_inits
from furtrace.model.zerocopy import CopiedBecause, copied_because
from furtrace.trace.record import HINTS, NO_CPU, Flag, Kind, Records, among, is_event, is_lost

DIMENSIONS: Final = ("op", "queue", "client", "file", "connection")
"""What requests can be grouped by."""
SHORT: Final = ("wait", "server", "total")
"""Phases that are measured of clients, files and connections."""
OF_QUEUES: Final = ("buffer", *SHORT)
"""Phases that are measured of queues."""


class Chooser(Protocol):
    """Says which requests and events count."""

    def take(self, piece: Records, lost: bool) -> npt.NDArray[np.bool_]:
        """Take in events, a connection can only begin with the first; which of them count."""

    def ended(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Which of the requests that ended in the last events count; they are given in their order."""

    def has(self, place: Place) -> bool:
        """Whether a queue is shown."""


class ByChoice:
    """Counts what a replay would show."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice

    def take(self, piece: Records, lost: bool) -> npt.NDArray[np.bool_]:
        """As :meth:`Chooser.take`."""
        return self._taken(piece, lost).counted

    def _taken(self, piece: Records, lost: bool) -> Taken:
        return self.choice.take(piece, lost)

    def ended(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """As :meth:`Chooser.ended`."""
        return self.choice.ended(rows)

    def has(self, place: Place) -> bool:
        """As :meth:`Chooser.has`."""
        return self.choice.has(*place)


class ByWholeRequests(ByChoice):
    """The same for a choice that asks for all of a request (:class:`~furtrace.model.choosing.AtOnce`).

    Args:
        choice: the choice.
        whole: as of :class:`~furtrace.model.requests.Requests`.
    """

    def __init__(self, choice: Choice, *, whole: bool) -> None:
        super().__init__(choice)
        self._requests = Requests(whole=whole)
        self._ended: Requests_ = self._requests.under_way

    def _taken(self, piece: Records, lost: bool) -> Taken:
        taken = super()._taken(piece, lost)
        self._ended = self._requests.feed(piece, lost)
        return taken

    def ended(self, rows: Rows) -> npt.NDArray[np.bool_]:  # noqa: ARG002 - the same requests, in the same order
        """As :meth:`Chooser.ended`."""
        return super().ended(self._ended)


@dataclass
class Trouble:
    """What went wrong. ``refused``: by command and error; ``lost``: events, ``passed_over``: those of them for which
    the kernel ran no probe, ``lost_by_cpu``: where the others found no room.
    """  # noqa: D205 - one paragraph

    refused: Counter[tuple[int, int]] = field(default_factory=Counter)
    stopped: int = 0
    overflows: int = 0
    lost: int = 0
    passed_over: int = 0
    lost_by_cpu: Counter[int] = field(default_factory=Counter)


@dataclass
class Copying:
    """How the data of requests went that someone wanted zero-copied: requests and bytes, by why they were copied."""

    requests: Counter[CopiedBecause] = field(default_factory=Counter)
    moved: Counter[CopiedBecause] = field(default_factory=Counter)


@dataclass(frozen=True)
class QueueUse:
    """A queue. ``requests``: what those that ended came to. ``entries``: how many were seen in use. ``deepest``: the
    most requests that waited for one at a time. ``place``: connection and queue.
    """  # noqa: D205 - one paragraph

    place: Place
    requests: Group | None
    entries: int
    deepest: int


@dataclass(frozen=True)
class PoolUse:
    """A pool over the whole recording. ``pool``: its counts; of one that was made anew the sums of all, and the largest
    ``peak`` and ``buffers``. ``held``: how long buffers were held, where that is seen.
    """  # noqa: D205 - one paragraph

    pool: Pool
    held: Distribution | None


class Statistics:
    """Counts and measures what a recording has.

    Args:
        by: dimensions of which tables are wanted beside those of operations, queues and connections.
        whole: as of :class:`~furtrace.model.pairing.Pairing`.
        chooser: which requests and events count; None: all. State of queues and pools is that of all in either case.

    Attributes:
        events: how many, by kind.
        first_ns, last_ns: time of the first and the last of them; 0: there is none.
        failures: requests that failed, by operation and error.
        transports: requests that ended, by transport.

    """

    def __init__(self, by: Collection[str] = (), *, whole: bool = True, chooser: Chooser | None = None) -> None:
        self._by = frozenset(by)
        self._chooser = chooser
        self._pairing = Pairing(whole=whole)
        self._backlogs, self._holdings, self._pools = Backlogs(), Holdings(), Pools()
        self._earlier_pools: list[Pool] = []
        self._naming = Naming() if "file" in self._by else None
        self._pooled = False  # something told of a pool or of zero-copy
        self._doubt_until = 0
        self._begin_counts()

    def _begin_counts(self) -> None:
        self._operations = Groups(1, PHASE_NAMES, FINE)
        self._queues = Groups(2, OF_QUEUES, FINE, MOST_GROUPS)
        self._clients = Groups(3, SHORT, COARSE, MOST_GROUPS) if "client" in self._by else None
        self._files = Groups(2, SHORT, COARSE, MOST_GROUPS) if "file" in self._by else None
        self.events: Counter[Kind] = Counter()
        self.first_ns = self.last_ns = 0
        self.failures: Counter[tuple[int, int]] = Counter()
        self.transports: Counter[int] = Counter()
        self.trouble, self.copying = Trouble(), Copying()

    @property
    def needs_records(self) -> bool:
        """Whether whole records are looked at, of all events."""
        return self._chooser is not None

    def count_anew(self) -> None:
        """Count from here on; what is known stays."""
        self._begin_counts()
        self._backlogs.count_anew(self._pairing.under_way)
        self._holdings.count_anew()
        self._pools.count_anew()
        self._earlier_pools.clear()
        self._pairing.forgotten = 0

    # ---- taking in ----

    def brief(self, pieces: "list[Records]") -> Briefs:
        """Take out of records what :meth:`feed` needs, so that they need not be kept; this may be done in a thread."""
        briefs = Briefs(pieces)
        if not self.needs_records:
            briefs.keep(changing(briefs.events) if self._naming is not None else np.empty(0, np.intp))
        return briefs

    def feed(self, briefs: Briefs) -> None:
        """Take in what :meth:`brief` has made of the next records."""
        start = 0
        for events, lost in self._parts(briefs.events):
            self._feed(briefs, start, events, lost)
            start += len(events)

    def _parts(self, events: Briefs_) -> Iterator[tuple[Briefs_, bool]]:
        """Parts in each of which an INIT can only be the first; True: of this one some events may be missing."""
        for part, doubtful, until in cut_at_losses(events, self._doubt_until):
            self._doubt_until = until
            for piece in cut_at_inits(part):
                for smaller in cut_at_beginnings(piece) if self._chooser is not None else [piece]:
                    yield smaller, doubtful

    def _feed(self, briefs: Briefs, start: int, events: Briefs_, lost: bool) -> None:
        counted = None
        if self._chooser is not None:
            counted = self._chooser.take(briefs.whole(np.arange(start, start + len(events))), lost)
        self._pairing.begin(events, lost)
        before = self._pairing.under_way
        fed = self._pairing.feed(events, lost)
        self._backlogs.update(before, fed)
        finished = fed.finished
        self._update_pools(events, finished, lost)
        if self._naming is not None:
            self._naming.feed(events, lambda at: briefs.whole(at + start), lost)
        self._note(events if counted is None else events[counted])
        self._count(finished if self._chooser is None else finished[self._chooser.ended(finished)])

    def _update_pools(self, events: Briefs_, finished: Rows, lost: bool) -> None:
        """Most recordings have no pool: then there is nothing to keep up with."""
        if not self._pooled:
            flags = np.bitwise_or.reduce(events["flags"], initial=0)
            self._pooled = bool(flags & _ABOUT_POOLS) or bool(_OF_POOLS[events["kind"]].any())
        if self._pooled:
            self._forget_pools(events)
            self._pools.update(events, finished, self._pairing.under_way, lost)
            self._holdings.update(events, lost)

    def _forget_pools(self, events: Briefs_) -> None:
        """The connection begins anew: its pools are not there any more, but what they came to counts."""
        if len(events) and events["kind"][0] == Kind.INIT:
            connection = int(events["connection"][0])
            self._earlier_pools += [pool for pool in self._pools.table() if pool.connection == connection]

    def _count(self, finished: Rows) -> None:
        if not len(finished):
            return
        facts = Facts(finished)
        connections = finished["connection"]
        self._operations.add(facts, finished["opcode"])
        self._queues.add(facts, connections, finished["queue"])
        if self._clients is not None:
            self._clients.add(facts, finished["client_pid"], *_words(finished["client_comm"]))
        if self._files is not None and self._naming is not None:
            self._files.add(facts, self._naming.places(connections), finished["node_id"])
        failed = finished["opcode"][facts.failed].astype(np.int64) << 32 | -finished["error"][facts.failed].astype(
            np.int64
        )
        for pair, count in zip(*map(np.ndarray.tolist, np.unique(failed, return_counts=True)), strict=True):
            self.failures[pair >> 32, -(pair & _CONNECTION)] += count
        for transport, count in enumerate(np.bincount(finished["transport"]).tolist()):
            self.transports[transport] += count
        if self._pooled:
            self._count_copying(finished)

    def _count_copying(self, finished: Rows) -> None:
        asked = (finished["flags"] & _ASKED) != 0
        if not asked.any():
            return
        rows = finished[asked]
        reasons, moved = copied_because(rows), rows["moved"].clip(min=0)
        for reason in np.unique(reasons).tolist():
            mine = reasons == reason
            self.copying.requests[CopiedBecause(reason)] += int(mine.sum())
            self.copying.moved[CopiedBecause(reason)] += int(moved[mine].sum())

    def _note(self, events: Briefs_) -> None:
        kinds = np.ascontiguousarray(events["kind"])
        for kind, count in enumerate(np.bincount(kinds).tolist()):
            if count:
                self.events[Kind(kind)] += count
        times = events["ns"] if not _IS_NO_EVENT[kinds].any() else events["ns"][is_event(events)]
        if len(times):
            self.first_ns = min(self.first_ns or int(times[0]), int(times.min()))
            self.last_ns = max(self.last_ns, int(times.max()))
        self.trouble.overflows += int(((events["flags"] & _OVERFLOW) != 0).sum())
        if self.events[Kind.REFUSED] or self.events[Kind.LOST] or self.events[Kind.STOPPED]:
            self._note_trouble(events, kinds)

    def _note_trouble(self, events: Briefs_, kinds: npt.NDArray[np.uint8]) -> None:
        self.trouble.stopped = self.events[Kind.STOPPED]
        for event in events[kinds == Kind.REFUSED]:
            self.trouble.refused[int(event["command_op"]), int(event["error"])] += 1
        for event in events[is_lost(events)]:
            count, cpu = int(event["length"]), int(event["cpu"])
            self.trouble.lost += count
            if cpu == NO_CPU:
                self.trouble.passed_over += count
            else:
                self.trouble.lost_by_cpu[cpu] += count

    # ---- what it came to ----

    @property
    def duration_ns(self) -> int:
        """From the first event to the last."""
        return self.last_ns - self.first_ns

    @property
    def total_events(self) -> int:
        """How many events there are; hints and losses are none."""
        return sum(count for kind, count in self.events.items() if kind not in _NO_EVENTS)

    @property
    def unfinished(self) -> int:
        """Requests that were under way at the end."""
        return len(self._pairing.under_way)

    @property
    def forgotten(self) -> int:
        """Requests under way that were too many to be remembered."""
        return self._pairing.forgotten

    def overall(self) -> Group:
        """All requests that ended."""
        return self._operations.all()

    def operations(self) -> list[Group]:
        """By operation; the key is its code."""
        return self._operations.table()

    def connections(self) -> list[Group]:
        """By connection; the key is its number."""
        found: dict[tuple[int, ...] | None, list[Group]] = {}
        for group in self._queues.table():
            found.setdefault(None if group.key is None else group.key[:1], []).append(group)
        return [together(groups, key) for key, groups in found.items()]

    def clients(self) -> list[Group] | None:
        """By client; the key is that of :func:`client_of`. None: not asked for."""
        return None if self._clients is None else self._clients.table()

    def files(self) -> list[Group] | None:
        """By file; the key is for :meth:`path`. None: not asked for."""
        return None if self._files is None else self._files.table()

    def put_together(self, dimension: str) -> int:
        """How many groups of a dimension were too many to be told apart."""
        found = {"client": self._clients, "file": self._files, "queue": self._queues, "connection": self._queues}
        groups = found.get(dimension)
        return 0 if groups is None else groups.put_together

    def path(self, key: tuple[int, ...]) -> tuple[int, Path]:
        """Of a file that :meth:`files` has: its connection, and what it is called."""
        place, node = key
        assert self._naming is not None
        return place & _CONNECTION, self._naming.path((place, node))

    def queues(self) -> list[QueueUse]:
        """All queues that were used, by number; the last of a connection (``NO_QUEUE``): requests without one."""
        groups: dict[Place, Group] = {}
        for group in self._queues.table():
            if group.key is not None:
                groups[group.key[0], group.key[1]] = group
        entries, deepest = self._pairing.entries(), self._backlogs.deepest()
        return [
            QueueUse(place, groups.get(place), entries.get(place, 0), deepest.get(place, 0))
            for place in sorted({*groups, *entries})
            if place in groups or self._has(place)
        ]

    def pools(self) -> list[PoolUse]:
        """All pools, by connection and queue."""
        held = self._holdings.held()
        found: dict[Place, Pool] = {}
        for pool in [*self._earlier_pools, *self._pools.table()]:
            place = pool.connection, pool.queue
            if pool.pooled and self._has(place):
                found[place] = _together(found[place], pool) if place in found else pool
        return [PoolUse(pool, held.get(place)) for place, pool in sorted(found.items())]

    def _has(self, place: Place) -> bool:
        return self._chooser is None or self._chooser.has(place)


def client_of(key: tuple[int, ...]) -> tuple[int, bytes]:
    """The process id of a client, 0 if it is not known, and its task's name."""
    pid, *words = key
    return pid, np.array(words, np.uint64).tobytes().split(b"\0", 1)[0]


def _words(comms: npt.NDArray[np.void]) -> npt.NDArray[np.uint64]:
    """Names of 16 bytes as two numbers each."""
    return np.ascontiguousarray(comms).view("<u8").reshape(len(comms), 2).T


def _together(one: Pool, other: Pool) -> Pool:
    """Two pools that a queue had one after the other."""
    sums = {name: getattr(one, name) + getattr(other, name) for name in _SUMS}
    return Pool(
        one.connection,
        one.queue,
        pooled=True,
        buffers=max((count for count in (one.buffers, other.buffers) if count is not None), default=None),
        peak=max(one.peak, other.peak),
        watched=one.watched or other.watched,
        slots_watched=one.slots_watched or other.slots_watched,
        **sums,
    )


_SUMS: Final = ("selected", "recycled", "dry", "registered", "failed", "zero_copied_bytes", "added")
_NO_EVENTS: Final = (*HINTS, Kind.LOST)
_IS_NO_EVENT: Final = among(_NO_EVENTS)
_OF_POOLS: Final = among(
    (
        *(Kind.ADD_BUFPOOL, Kind.SELECTED, Kind.RECYCLED),
        *(Kind.PAGES_REGISTERED, Kind.PAGES_UNREGISTERED),
    )
)
_ABOUT_POOLS: Final = int(
    Flag.HAS_BUFFER | Flag.POOL | Flag.HAS_SLOT | Flag.QUEUE_ZERO_COPY | Flag.FILE_ZERO_COPY | Flag.ZERO_COPIED
)
_ASKED: Final = int(Flag.QUEUE_ZERO_COPY | Flag.FILE_ZERO_COPY)
_OVERFLOW: Final = int(Flag.CQE_OVERFLOW)
_CONNECTION: Final = (1 << 32) - 1
