"""Queues of a ring: where their entries are, and how many requests wait."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from furtrace.model.requests import Requests_, is_answered, is_delivered, is_queued
from furtrace.model.snapshot import Snapshot
from furtrace.trace.record import Kind, Records, among

_IS_SETUP: Final = among((Kind.INIT, Kind.REGISTER, Kind.REFUSED))
_U32 = npt.NDArray[np.uint32]


@dataclass
class Queue:
    """One queue as it was at the end of the last batch.

    ``entries``: entries known, each seen at least once with a request. ``registered``: entries that it had as the
    trace began, and REGISTER commands seen for it that the kernel did not refuse; 0 if tracing began later, and what
    there was then is not known. ``in_server``: entries whose request the server has and
    has not committed. ``in_kernel``: entries whose commit the kernel is working on, and those that took a request which
    is not delivered yet, where that is seen. ``backlog``: requests that are queued and that no entry is known to have,
    counted for the CPU that their client ran on, which is the queue that the kernel chooses; ``deepest``: the most that
    there ever were at a time. ``delivered``: how many requests the server got from it.
    """

    connection: int
    queue: int
    entries: int = 0
    registered: int = 0
    in_server: int = 0
    in_kernel: int = 0
    backlog: int = 0
    deepest: int = 0
    delivered: int = 0

    @property
    def available(self) -> int:
        """Entries known that have no request."""
        return max(0, max(self.entries, self.registered) - self.in_server - self.in_kernel)


class Queues:
    """All queues seen."""

    def __init__(self) -> None:
        self._queues: dict[tuple[int, int], Queue] = {}
        self._found_ns: dict[tuple[int, int], int] = {}

    def table(self) -> list[Queue]:
        """All queues, by connection and number."""
        return [queue for _, queue in sorted(self._queues.items())]

    def add_found(self, snapshot: Snapshot, under_way: Requests_, entries: dict[tuple[int, int], int]) -> None:
        """Take in the queues of a connection as they were when the trace began, before any event is.

        Args:
            snapshot: of the connection.
            under_way: the requests that are, of all connections.
            entries: how many entries have a request, by connection and queue.
        """
        for number, queue in snapshot.queues.items():
            place = snapshot.number, number
            self._queue(place).registered = len(queue.entries)
            self._queue(place).entries = entries.get(place, 0)
            self._found_ns[place] = snapshot.ns
        self._states(under_way)

    def update(
        self, batch: Records, finished: Requests_, under_way: Requests_, entries: dict[tuple[int, int], int]
    ) -> None:
        """Take in a batch.

        Args:
            batch: its events.
            finished: the requests that ended in it.
            under_way: the requests under way after it.
            entries: how many entries are known, by connection and queue.
        """
        self._setups(batch)
        kinds, connections, queues = (np.ascontiguousarray(batch[name]) for name in ("kind", "connection", "queue"))
        delivered = (kinds == Kind.DELIVERED) & (batch["entry"] != 0)
        for place, count in _count(connections[delivered], queues[delivered]).items():
            self._queue(place).delivered += count
        for place, count in entries.items():
            self._queue(place).entries = count
        came = kinds == Kind.QUEUED
        # A request that ends without having been delivered waits no more, either: aborted, or gone by /dev/fuse.
        never = finished[~is_delivered(finished) & is_queued(finished)]
        places = np.where(came, batch["cpu"].astype(np.uint32), queues)
        order = np.argsort(np.concatenate([batch["ns"], never["ended_ns"]]), kind="stable")
        self._depths(
            np.concatenate([connections, never["connection"]])[order],
            np.concatenate([places, never["expected_queue"]])[order],
            np.concatenate([came.astype(np.int64) - delivered, np.full(len(never), -1)])[order],
        )
        self._states(under_way)

    def count_anew(self) -> None:
        """Count from here on."""
        for queue in self._queues.values():
            queue.delivered, queue.deepest = 0, queue.backlog

    def _queue(self, place: tuple[int, int]) -> Queue:
        return self._queues.setdefault(place, Queue(*place))

    def _setups(self, batch: Records) -> None:
        for event in batch[_IS_SETUP[batch["kind"]]]:
            connection, queue = int(event["connection"]), int(event["queue"])
            if event["kind"] == Kind.INIT:
                for place in [place for place in self._queues if place[0] == connection]:
                    del self._queues[place]
                    self._found_ns.pop(place, None)
            elif event["kind"] == Kind.REGISTER:
                was_found = event["ns"] <= self._found_ns.get((connection, queue), -1)
                self._queue((connection, queue)).registered += not was_found
            elif event["command_op"] == 1 and (connection, queue) in self._queues:
                known = self._queue((connection, queue))
                known.registered = max(0, known.registered - 1)  # the REGISTER itself may have been lost

    def _depths(self, connections: _U32, queues: _U32, change: npt.NDArray[np.int64]) -> None:
        """Deepest backlog within the batch: the running sum of requests that came (1) and that left (-1)."""
        for (connection, number), queue in self._queues.items():
            depth = queue.backlog + np.cumsum(change[(connections == connection) & (queues == number)])
            queue.deepest = max(queue.deepest, int(depth.max(initial=0)))

    def _states(self, under_way: Requests_) -> None:
        sure = under_way[~under_way["uncertain"]]
        taken = sure[sure["entry"] != 0]
        served = ~is_answered(taken) & is_delivered(taken)
        waiting = sure[(sure["entry"] == 0) & ~is_delivered(sure) & is_queued(sure)]
        in_server = _count(taken["connection"][served], taken["queue"][served])
        in_kernel = _count(taken["connection"][~served], taken["queue"][~served])
        backlog = _count(waiting["connection"], waiting["expected_queue"])
        for place, queue in self._queues.items():
            queue.in_server = in_server.get(place, 0)
            queue.in_kernel = in_kernel.get(place, 0)
            queue.backlog = backlog.get(place, 0)
            queue.deepest = max(queue.deepest, queue.backlog)


def _count(connections: _U32, queues: _U32) -> dict[tuple[int, int], int]:
    """How often each pair of connection and queue occurs."""
    pairs = connections.astype(np.uint64) << np.uint64(32) | queues
    places, counts = np.unique(pairs, return_counts=True)
    return {(int(pair) >> 32, int(pair) & 0xFFFFFFFF): int(n) for pair, n in zip(places, counts, strict=True)}
