"""What is too small, or not used: pools that run dry, queues out of balance, zero-copy that does not happen."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from furtrace.checks.findings import Finding, Rule, Severity
from furtrace.checks.seen import Check, Seen
from furtrace.model.pools import Pool
from furtrace.model.requests import Requests_
from furtrace.model.zerocopy import CopiedBecause
from furtrace.trace.record import Transport

DRY: Final = Rule(
    "pool-dry",
    Severity.NOTE,
    "requests wait for a buffer of the pool",
    "None of the queue's buffers was free when an entry was. A request waits until another one is committed, even if "
    "entries are idle (fuse_uring_select_buffer() in fs/fuse/dev_uring.c).",
    "Give the pool as many buffers more as the finding says: so many requests waited at a time.",
)
IMBALANCE: Final = Rule(
    "queue-imbalance",
    Severity.NOTE,
    "requests wait for an entry of one queue while another queue is idle",
    "A request goes to the queue of the CPU that its client runs on, and waits for an entry of that one only "
    "(fuse_uring_queue_fuse_req() in fs/fuse/dev_uring.c).",
    "Register more entries a queue, let the server answer from several threads, or spread the clients over the CPUs.",
)
NO_ZERO_COPY: Final = Rule(
    "zero-copy-missing",
    Severity.NOTE,
    "data is copied although zero-copy was asked for",
    "A READ or WRITE is zero-copied if its queue was made with FUSE_URING_ZERO_COPY and its file was opened with "
    "FOPEN_IO_URING_ZERO_COPY (can_zero_copy_req() in fs/fuse/dev_uring.c). One of the two is missing.",
    "Set both: the flag of ADD_QUEUE, and that of the reply to OPEN or CREATE.",
)

_ENOUGH: Final = 10
_LONG_TOGETHER: Final = 1_000_000_000
"""Nanoseconds that fewer than that have waited, all together."""
_MANY: Final = 100
_PERIOD: Final = 5_000_000_000
"""Nanoseconds over which queues are compared."""
_LONG: Final = 1_000_000
"""Nanoseconds that a request waits for an entry, from which on it counts."""
_IDLE: Final = 0.25
"""Share of its entries' time that an idle queue uses at most."""
_REMEMBERED: Final = 10_000
Place = tuple[int, int]


@dataclass
class _Waits:
    """Requests of a queue that found the pool dry; ``spans``: from when to when the newest of them waited."""

    requests: int = 0
    waited_ns: int = 0
    told: int = 0
    spans: list[tuple[int, int]] = field(default_factory=list)

    def add(self, begin: int, end: int) -> None:
        """One more waited."""
        self.requests += 1
        self.waited_ns += end - begin
        self.spans.append((begin, end))
        del self.spans[: len(self.spans) - _REMEMBERED]

    def is_worth_a_word(self) -> bool:
        """Whether there are many, or they have waited for long; after that, ten times as many."""
        if not self.told:
            return self.requests >= _ENOUGH or self.waited_ns >= _LONG_TOGETHER
        return self.requests >= self.told * 10

    @property
    def at_a_time(self) -> int:
        """How many of them waited at a time, at most."""
        changes = sorted([(begin, 1) for begin, _ in self.spans] + [(end, -1) for _, end in self.spans])
        return int(np.cumsum([change for _, change in changes]).max(initial=0))


@dataclass
class _Use:
    """A queue in one period: requests that waited for an entry, how long, and the time that its entries were in use."""

    waited: int = 0
    waited_ns: int = 0
    used_ns: int = 0


class Sizing(Check):
    """Counts what waits for room, and what room is not used."""

    rules = (DRY, IMBALANCE, NO_ZERO_COPY)

    def __init__(self) -> None:
        self._waits: dict[Place, _Waits] = {}
        self._uses: dict[Place, _Use] = {}
        self._began = 0
        self._told: set[tuple[str, Place]] = set()

    def begun(self, connection: int) -> None:
        """Forget what waited, what was used, and what was said."""
        self._waits = {place: waits for place, waits in self._waits.items() if place[0] != connection}
        self._uses = {place: use for place, use in self._uses.items() if place[0] != connection}
        self._told = {(rule, place) for rule, place in self._told if place[0] != connection}

    def feed(self, seen: Seen) -> Iterable[Finding]:
        """Take in the requests that ended."""
        rows = seen.finished
        for row in rows[rows["dry_ns"] != 0]:
            # An entry that keeps the buffer of the request before takes none out of the pool.
            end = int(row["selected_ns"] or row["delivered_ns"])
            if end > row["dry_ns"]:
                waits = self._waits.setdefault((int(row["connection"]), int(row["queue"])), _Waits())
                waits.add(int(row["dry_ns"]), end)
        self._use(rows)
        return ()

    def _use(self, rows: Requests_) -> None:
        ours = (rows["transport"] == Transport.URING) & (rows["entry"] != 0)
        if not ours.any():
            return
        self._began = self._began or int(rows["queued_ns"].min(where=ours & (rows["queued_ns"] != 0), initial=1 << 62))
        places = rows["connection"].astype(np.uint64) << np.uint64(32) | rows["queue"]
        used, waits = _spans(rows, "delivered_ns", "committed_ns"), _spans(rows, "queued_ns", "assigned_ns")
        for place in np.unique(places[ours]).tolist():
            mine = ours & (places == place)
            use = self._uses.setdefault((place >> 32, place & 0xFFFFFFFF), _Use())
            use.used_ns += int(used[mine].sum())
            long = mine & (waits > _LONG)
            use.waited += int(long.sum())
            use.waited_ns += int(waits[long].sum())

    def tick(self, now_ns: int, seen: Seen) -> Iterator[Finding]:
        """Tell what has become often, or is so for long."""
        for place, waits in self._waits.items():
            if waits.is_worth_a_word():
                waits.told = waits.requests
                yield _dry(place, waits, now_ns)
        for pool in seen.conversation.pools.table():
            yield from self._copied(pool, now_ns)
        if self._began and now_ns - self._began >= _PERIOD:
            yield from self._compared(now_ns, seen)
            self._uses, self._began = {}, now_ns

    def _copied(self, pool: Pool, now_ns: int) -> Iterator[Finding]:
        place = pool.connection, pool.queue
        for reason, why in _WHY.items():
            count = pool.because.get(reason, 0)
            if count >= _MANY and (NO_ZERO_COPY.id, place) not in self._told:
                self._told.add((NO_ZERO_COPY.id, place))
                sentence = f"{count} requests of queue {pool.queue} were copied: {why}."
                yield Finding(NO_ZERO_COPY, sentence, now_ns, *place)

    def _compared(self, now_ns: int, seen: Seen) -> Iterator[Finding]:
        """Queues whose requests waited, beside one that had room."""
        period = now_ns - self._began
        queues = seen.conversation.queues.table()
        entries = {(one.connection, one.queue): max(one.entries, one.registered) for one in queues}
        for place, use in self._uses.items():
            others = {
                other: self._uses.get(other, _Use()).used_ns / (count * period)
                for other, count in entries.items()
                if other[0] == place[0] and other != place and count
            }
            if use.waited < _MANY or not others or min(others.values()) > _IDLE or (IMBALANCE.id, place) in self._told:
                continue
            self._told.add((IMBALANCE.id, place))
            idle = min(others, key=lambda one: others[one])
            waited = use.waited_ns / use.waited / 1e6
            sentence = (
                f"In {period / 1e9:.1f} s {use.waited} requests waited {waited:.1f} ms each for an entry of queue "
                f"{place[1]}, while queue {idle[1]} used {others[idle]:.0%} of its entries' time."
            )
            yield Finding(IMBALANCE, sentence, now_ns, *place)


_WHY: Final = {
    CopiedBecause.FILE: "their files were not opened with FOPEN_IO_URING_ZERO_COPY",
    CopiedBecause.QUEUE: "the queue was not made with FUSE_URING_ZERO_COPY",
}


def _dry(place: Place, waits: _Waits, now_ns: int) -> Finding:
    mean, most = waits.waited_ns / waits.requests / 1000, waits.at_a_time
    sentence = (
        f"{waits.requests} requests of queue {place[1]} found no free buffer, and waited {mean:.1f} us each, at most "
        f"{most} at a time: {most} more buffer{'' if most == 1 else 's'} would have served them."
    )
    return Finding(DRY, sentence, now_ns, *place)


def _spans(rows: Requests_, begin: str, end: str) -> npt.NDArray[np.int64]:
    """Nanoseconds from one time to another, 0 where one is not known."""
    known = (rows[begin] != 0) & (rows[end] != 0)
    return np.where(known, rows[end].astype(np.int64) - rows[begin].astype(np.int64), 0)
