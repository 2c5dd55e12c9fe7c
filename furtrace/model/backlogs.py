"""How many requests waited for an entry at a time, by queue, over a whole trace."""

from typing import Final

import numpy as np
import numpy.typing as npt

from furtrace.model.numbering import Numbering
from furtrace.model.pairing import Fed, Rows
from furtrace.model.requests import Places, first_of

_LEAVING: Final = ("registered_ns", "delivered_ns", "committed_ns", "ended_ns")
"""Times at which a request waits no more, in the kernel's order, behind those when it got a buffer and an entry."""


def _waiting(rows: Rows) -> npt.NDArray[np.bool_]:
    """Which requests are queued, and no entry is known to have them; without those that nothing sure is known of."""
    waiting: npt.NDArray[np.bool_] = (rows["queued_ns"] != 0) & (rows["entry"] == 0) & ~rows["uncertain"]
    waiting &= (rows["delivered_ns"] == 0) & (rows["committed_ns"] == 0) & (rows["ended_ns"] == 0)
    return waiting


def _left_ns(fed: Fed, left: Places) -> npt.NDArray[np.uint64]:
    """When requests left the backlog: a time that only their end tells is not used, or what came later would count."""
    times: npt.NDArray[np.uint64] = fed.rows["selected_ns"][left]
    times = np.where(times != 0, times, fed.assigned[left])
    unknown = np.flatnonzero(times == 0)
    times[unknown] = first_of(fed.rows, left[unknown], _LEAVING)
    return times


class Backlogs:
    """The deepest backlog of each queue.

    A request is in the backlog from QUEUED until an entry has it or, if none is seen to, it ends. It counts for the CPU
    that its client ran on, which is the queue that the kernel chooses.
    """

    def __init__(self) -> None:
        self._queues = Numbering(1)
        self._deepest: npt.NDArray[np.int64] = np.zeros(0, np.int64)

    def deepest(self) -> dict[tuple[int, int], int]:
        """The most requests that waited at a time, by connection and queue."""
        (places,) = self._queues.keys
        return {
            divmod(place, 1 << 32): most for place, most in zip(places.tolist(), self._deepest.tolist(), strict=True)
        }

    def count_anew(self, under_way: Rows) -> None:
        """Count from here on; ``under_way``: the requests that are."""
        depths = np.bincount(self._numbers(under_way, np.flatnonzero(_waiting(under_way))), minlength=len(self._queues))
        self._deepest = depths.astype(np.int64)

    def update(self, before: Rows, fed: Fed) -> None:
        """Take in a part of a batch.

        Args:
            before: the requests under way before it.
            fed: what it told.
        """
        waits, queued = np.zeros((2, len(fed.rows)), np.bool_)
        waits[fed.known_at], queued[fed.known_at] = _waiting(fed.known), fed.known["queued_ns"] != 0
        came = np.flatnonzero(~queued & (fed.rows["queued_ns"] != 0) & ~fed.rows["uncertain"])
        waits[came] = True
        left = np.flatnonzero(waits & ~_waiting(fed.rows))
        both = np.concatenate([came, left])
        times = np.concatenate([fed.rows["queued_ns"][came], _left_ns(fed, left)])
        changes = np.repeat(np.array([1, -1]), [len(came), len(left)])
        order = np.argsort(times, kind="stable")
        depths = np.bincount(self._numbers(before, np.flatnonzero(_waiting(before))), minlength=len(self._deepest))
        self._go(self._numbers(fed.rows, both)[order], changes[order], depths)

    def _numbers(self, rows: Rows, at: Places) -> Places:
        """Numbers of the queues for which requests wait."""
        numbers = self._queues.of(rows["connection"][at].astype(np.uint64) << _QUEUE_BITS | rows["expected_queue"][at])
        missing = len(self._queues) - len(self._deepest)
        self._deepest = np.concatenate([self._deepest, np.zeros(missing, np.int64)])
        return numbers

    def _go(self, queues: Places, changes: npt.NDArray[np.int64], depths: npt.NDArray[np.int64]) -> None:
        """Add up what came and left, in the order of time; ``depths``: of each queue, before."""
        if not len(queues):
            return
        order = np.argsort(queues.astype(np.min_scalar_type(len(self._queues))), kind="stable")
        queues, changes = queues[order], changes[order]
        starts = np.flatnonzero(np.concatenate([[True], queues[1:] != queues[:-1]]))
        known = np.zeros(len(self._deepest), np.int64)
        known[: len(depths)] = depths
        running = np.cumsum(changes)
        running += np.repeat(
            known[queues[starts]] - running[starts] + changes[starts], np.diff(np.append(starts, len(queues)))
        )
        deepest = np.maximum.reduceat(running, starts)
        self._deepest[queues[starts]] = np.maximum(self._deepest[queues[starts]], deepest)


_QUEUE_BITS: Final = np.uint64(32)
