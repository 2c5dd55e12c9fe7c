"""Where requests are served: by the ring or past it, on which CPU, by which queue; and completions without room."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np

from furtrace.checks.findings import Finding, Rule, Severity, about, about_event, request_name
from furtrace.checks.seen import Check, Seen
from furtrace.model.requests import UNANSWERED
from furtrace.trace.record import Flag, Kind, Transport
from furtrace.wire.opcodes import Opcode

PAST_RING: Final = Rule(
    "past-the-ring",
    Severity.WARNING,
    "requests go by /dev/fuse although the ring is ready",
    "Once the ring is ready the kernel gives every request to a queue, but for FORGET, INTERRUPT and NOTIFY_REPLY. It "
    "does so until the connection ends, whatever the server does, a REGISTER that fails included "
    "(fuse_uring_do_register() in fs/fuse/dev_uring.c).",
    "Report it to the kernel's developers, with a recording.",
)
OTHER_CPU: Final = Rule(
    "other-cpu",
    Severity.NOTE,
    "a queue is served on another CPU than its own",
    "A queue takes the requests of the clients that run on its CPU. A ring thread on another CPU is woken across CPUs "
    "for each of them, and finds nothing in its caches.",
    "Bind each ring thread to the CPU whose number its queue has (sched_setaffinity).",
)
CQ_OVERFLOW: Final = Rule(
    "cq-overflow",
    Severity.WARNING,
    "the completion queue has no room",
    "A CQE found the server's completion queue full. The kernel keeps it aside and gives it out later, in a slower "
    "way (io_cqring_event_overflow() in io_uring/io_uring.c); if it has no memory for that, the CQE and with it the "
    "request are lost.",
    "Make the ring with at least as many CQ entries as there are entries registered plus other I/O "
    "(IORING_SETUP_CQSIZE).",
)

_PAST_ALL: Final = (*UNANSWERED, Opcode.NOTIFY_REPLY, Opcode.INIT, Opcode.CUSE_INIT)
_ENOUGH: Final = 200
"""Requests of a queue before something is said of its CPU."""
_MOSTLY: Final = 0.9


class Placement(Check):
    """Counts where requests are served, and tells of what is odd once a queue."""

    rules = (PAST_RING, OTHER_CPU, CQ_OVERFLOW)

    def __init__(self) -> None:
        self._ready: dict[int, int] = {}
        self._cpus: dict[tuple[int, int], Counter[int]] = {}
        self._told: set[tuple[str, int, int]] = set()

    def begun(self, connection: int) -> None:
        """Forget that its ring was ready, where its queues ran, and what was said."""
        self._ready.pop(connection, None)
        self._told = {one for one in self._told if one[1] != connection}
        self._cpus = {place: found for place, found in self._cpus.items() if place[0] != connection}

    def feed(self, seen: Seen) -> Iterator[Finding]:
        """Take in a part of the trace."""
        for event in seen.of(Kind.READY):
            self._ready.setdefault(int(event["connection"]), int(event["ns"]))
        yield from self._past_ring(seen)
        yield from self._other_cpus(seen)
        overflows = seen.batch[(seen.batch["flags"] & _OVERFLOW) != 0]
        for event in overflows:
            if self._is_first(CQ_OVERFLOW, int(event["connection"]), int(event["queue"])):
                sentence = f"The CQE of a command on queue {event['queue']} found no room in the completion queue."
                yield about_event(CQ_OVERFLOW, sentence, event)

    def _is_first(self, rule: Rule, connection: int, queue: int) -> bool:
        name = (rule.id, connection, queue)
        first = name not in self._told
        self._told.add(name)
        return first

    def _past_ring(self, seen: Seen) -> Iterator[Finding]:
        rows = seen.finished
        past = (rows["transport"] == Transport.DEV) & (rows["queued_ns"] != 0) & ~np.isin(rows["opcode"], _PAST_ALL)
        past &= (rows["delivered_ns"] != 0) | (rows["error"] == 0)  # the server had it
        for row in rows[past] if self._ready and past.any() else ():
            number = int(row["connection"])
            ready = self._ready.get(number, 0)
            if ready and row["queued_ns"] > ready and self._is_first(PAST_RING, number, 0):
                later = (int(row["queued_ns"]) - ready) / 1e6
                when = f"{later:.1f} ms after the ring was ready"
                sentence = f"{request_name(row)}, was queued {when}, and went by /dev/fuse."
                yield about(PAST_RING, sentence, int(row["queued_ns"]), row)

    def _other_cpus(self, seen: Seen) -> Iterator[Finding]:
        at = np.flatnonzero(seen.kinds == Kind.DELIVERED)
        at = at[seen.batch["entry"][at] != 0]
        connections, queues, cpus = (seen.batch[name][at].astype(np.uint64) for name in ("connection", "queue", "cpu"))
        packed = connections << np.uint64(32) | queues << np.uint64(16) | cpus
        for number, count in zip(*(part.tolist() for part in np.unique(packed, return_counts=True)), strict=True):
            place = number >> 32, number >> 16 & 0xFFFF
            self._cpus.setdefault(place, Counter())[number & 0xFFFF] += count
        for (connection, queue), counts in self._cpus.items():
            total, elsewhere = counts.total(), counts.total() - counts[queue]
            if total >= _ENOUGH and elsewhere >= _MOSTLY * total and self._is_first(OTHER_CPU, connection, queue):
                cpu, most = counts.most_common(1)[0]
                sentence = f"Of {total} requests of queue {queue} {elsewhere} came on another CPU, {most} on CPU {cpu}."
                yield Finding(OTHER_CPU, sentence, int(seen.batch["ns"][-1]), connection, queue)


_OVERFLOW: Final = np.uint16(Flag.CQE_OVERFLOW)
