"""The whole of what was seen: requests, operations, queues, pools, memory, trouble, and what was lost."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from furtrace.model.memory import Memory
from furtrace.model.operations import Operations
from furtrace.model.paths import Paths
from furtrace.model.pools import Pools
from furtrace.model.queues import Queues
from furtrace.model.requests import Requests, Requests_, cut_at_inits, no_requests
from furtrace.model.snapshot import Snapshot
from furtrace.trace.record import NO_CPU, Kind, Records, is_event, is_lost

_REMEMBERED: Final = 200


@dataclass
class Conversation:
    """State of a trace; :meth:`feed` moves it on, everything else reads it.

    ``trouble`` holds the newest REFUSED and STOPPED events and CQE overflows, as records. ``lost_by_cpu``: where the
    ``lost`` events found no room; ``passed_over``: how many of them the kernel ran no probe for. ``payloads``: records
    with parts of payload.
    """

    requests: Requests = field(default_factory=Requests)
    operations: Operations = field(default_factory=Operations)
    queues: Queues = field(default_factory=Queues)
    pools: Pools = field(default_factory=Pools)
    paths: Paths = field(default_factory=Paths)
    memory: Memory = field(default_factory=Memory)
    trouble: deque[np.void] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    events: int = 0
    ended: int = 0
    errors: int = 0
    lost: int = 0
    lost_by_cpu: list[int] = field(default_factory=list)
    passed_over: int = 0
    refused: int = 0
    stopped: int = 0
    overflows: int = 0
    by_transport: dict[int, int] = field(default_factory=dict)
    _doubt_until: int = 0

    def add_found(self, snapshot: Snapshot, rows: Requests_) -> None:
        """Take in how a connection was as the trace began, before any event is fed.

        Args:
            snapshot: of the connection, taken when events were seen already.
            rows: its requests that are to be shown (:func:`~furtrace.model.found.found_requests`).
        """
        self.requests.add_found(rows)
        self.queues.add_found(snapshot, self.requests.under_way, self.requests.entries())
        self.pools.add_found(snapshot)
        self.memory.add_found(snapshot)

    def feed(self, batch: Records) -> Requests_:
        """Take in a batch and return the requests that ended in it, oldest end first.

        Args:
            batch: events in the order of the ring buffer; a LOST among them comes before all that it may concern.
        """
        parts = list(self.parts(batch))
        fed = [self._feed(part, doubtful) for part, doubtful in parts]
        finished = fed[0] if len(fed) == 1 else np.concatenate([no_requests(), *fed])
        self.paths.feed(batch, any(doubtful for _, doubtful in parts))
        self._count(finished)
        return finished

    def cut(self, batch: Records) -> list[Records]:
        """The next batch in parts: each to be fed, and what ended in it shown, before the next.

        So what is shown does not depend on how the events came in batches: where a connection begins anew, and where
        events may be missing, the same numbers and paths mean something else.
        """
        return [piece for part, _, _ in cut_at_losses(batch, self._doubt_until) for piece in cut_at_inits(part)]

    def parts(self, batch: Records) -> Iterator[tuple[Records, bool]]:
        """As :meth:`cut`, and note the losses; True: of this part some may be missing."""
        for part, doubtful, until in cut_at_losses(batch, self._doubt_until):
            self._doubt_until = until
            for piece in cut_at_inits(part):
                yield piece, doubtful
        for event in batch[is_lost(batch)]:
            self._note_loss(event)

    def _note_loss(self, event: np.void) -> None:
        count, cpu = int(event["length"]), int(event["cpu"])
        self.lost += count
        if cpu == NO_CPU:
            self.passed_over += count
            return
        self.lost_by_cpu += [0] * (cpu + 1 - len(self.lost_by_cpu))
        self.lost_by_cpu[cpu] += count

    def _feed(self, batch: Records, lost: bool) -> Requests_:
        finished = self.requests.feed(batch, lost)
        self._take_in(batch, finished, lost)
        self._note_events(batch)
        return finished

    def _take_in(self, batch: Records, finished: Requests_, lost: bool) -> None:
        """Move on what depends on requests; an INIT can only be the first event."""
        under_way = self.requests.under_way
        self.queues.update(batch, finished, under_way, self.requests.entries())
        self.pools.update(batch, finished, under_way, lost)
        self.memory.feed(batch)

    def _note_events(self, batch: Records) -> None:
        self.events += int(is_event(batch).sum())
        self._note_trouble(batch)

    def _count(self, finished: Requests_) -> None:
        self.ended += len(finished)
        self.errors += int((finished["error"] != 0).sum())
        self.operations.add(finished)
        for transport, count in zip(*np.unique(finished["transport"], return_counts=True), strict=True):
            self.by_transport[int(transport)] = self.by_transport.get(int(transport), 0) + int(count)

    def count_anew(self) -> None:
        """Count from here on; what is known stays."""
        self.operations, self.trouble = Operations(), deque(maxlen=_REMEMBERED)
        self.events = self.ended = self.errors = self.lost = self.passed_over = 0
        self.refused = self.stopped = self.overflows = 0
        self.lost_by_cpu, self.by_transport = [], {}
        self.requests.forgotten = 0
        self.queues.count_anew()
        self.pools.count_anew()

    def _note_trouble(self, batch: Records) -> None:
        overflow = (batch["flags"] & _CQE_OVERFLOW) != 0
        refused, stopped = batch["kind"] == Kind.REFUSED, batch["kind"] == Kind.STOPPED
        self.refused += int(refused.sum())
        self.stopped += int(stopped.sum())
        self.overflows += int(overflow.sum())
        self.trouble.extend(batch[refused | stopped | overflow])


def cut_at_losses(batch: Records, doubt_until: int) -> Iterator[tuple[Records, bool, int]]:
    """Cut a batch where losses begin and end; with each part whether some of it may be missing, and until when some is.

    ``doubt_until``: until when before the batch.
    """
    times = batch["ns"]
    start = 0
    for at in [*np.flatnonzero(is_lost(batch)).tolist(), len(batch)]:
        within = np.flatnonzero(times[start:at] <= doubt_until)
        end = start + (int(within[-1]) + 1 if len(within) else 0)
        if end > start:
            yield batch[start:end], True, doubt_until
        if at > end:
            yield batch[end:at], False, doubt_until
        if at < len(batch):
            doubt_until = max(doubt_until, int(batch["user_data"][at]))
        start = at
    if not len(batch):
        yield batch, False, doubt_until


_CQE_OVERFLOW: Final = 8
