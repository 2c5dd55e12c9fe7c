"""The whole of what was seen: requests, operations, queues, pools, connections, trouble, and what was lost."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from furtrace.model.operations import Operations
from furtrace.model.paths import Paths
from furtrace.model.pools import Pools
from furtrace.model.queues import Queues
from furtrace.model.requests import Requests, Requests_, cut_at_inits
from furtrace.trace.record import HINTS, Kind, Records

_REMEMBERED: Final = 200


@dataclass
class Conversation:
    """State of a trace; :meth:`feed` moves it on, everything else reads it.

    ``trouble`` holds the newest REFUSED and STOPPED events and CQE overflows, as records. ``lost_by_cpu``: where the
    ``lost`` events found no room, as far as the source tells; ``passed_over``: how many of them the kernel ran no probe
    for.
    """

    requests: Requests = field(default_factory=Requests)
    operations: Operations = field(default_factory=Operations)
    queues: Queues = field(default_factory=Queues)
    pools: Pools = field(default_factory=Pools)
    paths: Paths = field(default_factory=Paths)
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

    def feed(self, batch: Records, lost: int = 0) -> Requests_:
        """Take in a batch and return the requests that ended in it, oldest end first.

        Args:
            batch: events in the order of the ring buffer.
            lost: how many the kernel could not write since the last batch.
        """
        parts = [self._feed(part, lost) for part in cut_at_inits(batch)]
        finished = parts[0] if len(parts) == 1 else np.concatenate(parts)
        self.paths.feed(batch, lost)
        self.events += len(batch) - int(np.isin(batch["kind"], HINTS).sum())
        self.lost += lost
        self.ended += len(finished)
        self.errors += int((finished["error"] != 0).sum())
        self.operations.add(finished)
        self._note_trouble(batch)
        for transport, count in zip(*np.unique(finished["transport"], return_counts=True), strict=True):
            self.by_transport[int(transport)] = self.by_transport.get(int(transport), 0) + int(count)
        return finished

    def _feed(self, batch: Records, lost: int) -> Requests_:
        finished = self.requests.feed(batch, lost)
        self.queues.update(batch, finished, self.requests.under_way, self.requests.entries())
        self.pools.update(batch, finished, self.requests.under_way, lost)
        return finished

    def _note_trouble(self, batch: Records) -> None:
        overflow = (batch["flags"] & _CQE_OVERFLOW) != 0
        refused, stopped = batch["kind"] == Kind.REFUSED, batch["kind"] == Kind.STOPPED
        self.refused += int(refused.sum())
        self.stopped += int(stopped.sum())
        self.overflows += int(overflow.sum())
        self.trouble.extend(batch[refused | stopped | overflow])


_CQE_OVERFLOW: Final = 8
