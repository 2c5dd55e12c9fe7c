"""Requests that wait: in the server's hands, for an entry, for a buffer, for a server that fetches them."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from furtrace.checks.findings import Finding, Rule, Severity, about, request_name
from furtrace.checks.seen import Check, Limits, Seen
from furtrace.checks.standing_rules import NO_BUFFER, NO_ENTRY, NOT_FETCHED, UNANSWERED
from furtrace.model.queues import Queue
from furtrace.model.requests import MAY_WAIT, Found, Requests_, begin_of, first_of, is_answered, is_delivered
from furtrace.model.requests import UNANSWERED as NEVER_ANSWERED
from furtrace.trace.record import Flag, Transport, comm
from furtrace.wire.opcodes import Opcode
from furtrace.wire.text import printable

WAITING: Final = Rule(
    "waiting",
    Severity.WARNING,
    "a request waits, and the kernel does not tell for whom",
    "A server that reads /dev/fuse takes its requests unseen before Linux 7.3, which has the tracepoint "
    "fuse_request_sent. So the request is still queued, or the server has it and does not answer.",
    "See what the server's threads do: cat /proc/TID/stack. One that waits in fuse_dev_do_read() would have taken a "
    "request that is queued.",
)
SLOW: Final = Rule(
    "slow",
    Severity.NOTE,
    "the server took long for a request",
    "The time from delivery to commit, which is the server's alone.",
    "furtrace stats --by op --histogram server shows whether it is one request or all of them, furtrace flow what was "
    "waited for.",
)

INTERRUPTED: Final = Rule(
    "interrupt-ignored",
    Severity.WARNING,
    "a request that its client has given up is not answered",
    "A client that is killed, or gets a signal, has the kernel send FUSE_INTERRUPT with the unique of its request. "
    "The client waits on until the request is answered, be it with EINTR; until then it can't be killed.",
    "Read INTERRUPT from /dev/fuse (it never comes by io_uring), and end the request that it names with -EINTR. The "
    "reply to INTERRUPT itself is -EAGAIN if the request is not known yet, -ENOSYS to get no more of them.",
)

_UNIQUE: Final = 8
"""Bytes of fuse_interrupt_in."""
_MOST_INTERRUPTED: Final = 10_000
Chosen = npt.NDArray[np.bool_]


class Waiting(Check):
    """Finds requests that have waited for long, and says for whom.

    Args:
        limits: how long is long.
    """

    rules = (UNANSWERED, NO_ENTRY, NO_BUFFER, NOT_FETCHED, WAITING, SLOW, INTERRUPTED)

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._told: dict[tuple[int, int], int] = {}
        self._newest: dict[int, int] = {}
        self._interrupted: dict[tuple[int, int], int] = {}
        self._reads_shown = False  # the kernel tells when a server reads a request from /dev/fuse

    def feed(self, seen: Seen) -> Iterator[Finding]:
        """Note what was delivered, and judge what was answered late."""
        rows = seen.finished
        for part in (rows, seen.conversation.requests.under_way):
            self._note(part)
        for name in zip(rows["connection"].tolist(), rows["unique"].tolist(), strict=True) if self._told else ():
            self._told.pop(name, None)
        self._note_interrupts(rows)
        read = (rows["transport"] == Transport.DEV) & (rows["delivered_ns"] != 0)
        self._reads_shown |= bool((read & ~np.isin(rows["opcode"], NEVER_ANSWERED)).any())
        known = (rows["delivered_ns"] != 0) & (rows["committed_ns"] != 0)
        known &= ~np.isin(rows["opcode"], MAY_WAIT)
        server = rows["committed_ns"].astype(np.int64) - rows["delivered_ns"].astype(np.int64)
        for at in np.flatnonzero(known & (server > self._limits.slow)).tolist():
            row = rows[at]
            sentence = f"{request_name(row)}, was in the server's hands for {server[at] / 1e9:.1f} s, then answered."
            yield about(SLOW, sentence, int(row["committed_ns"]), row)

    def _note_interrupts(self, rows: Requests_) -> None:
        """INTERRUPT has come to the server: which request it names (fuse_interrupt_in)."""
        for row in rows[(rows["opcode"] == Opcode.INTERRUPT) & (rows["operation_size"] >= _UNIQUE)]:
            name = int(row["connection"]), int.from_bytes(row["operation"].tobytes()[:_UNIQUE], "little")
            self._interrupted[name] = int(row["delivered_ns"])
        if len(self._interrupted) > _MOST_INTERRUPTED:
            self._interrupted.clear()

    def _note(self, rows: Requests_) -> None:
        """The newest request of each queue that was fetched: what was queued before it waits no more."""
        fetched = np.flatnonzero((rows["delivered_ns"] != 0) & (rows["queued_ns"] != 0))
        connections, queues, times = (rows[name][fetched] for name in ("connection", "expected_queue", "queued_ns"))
        known, at = np.unique(connections.astype(np.uint64) << np.uint64(32) | queues, return_inverse=True)
        newest = np.zeros(len(known), np.uint64)
        np.maximum.at(newest, at, times)
        for place, ns in zip(known.tolist(), newest.tolist(), strict=True):
            self._newest[place] = max(ns, self._newest.get(place, 0))

    def tick(self, now_ns: int, seen: Seen) -> Iterator[Finding]:
        """See what waits."""
        rows = seen.conversation.requests.under_way
        if self._interrupted:
            yield from self._ignored(rows[~rows["uncertain"]], now_ns)
        rows = rows[~rows["uncertain"] & ~np.isin(rows["opcode"], MAY_WAIT)]
        if not len(rows):
            return
        began = _since(rows)
        long = (began != 0) & (now_ns - began > self._limits.unanswered) & ~is_answered(rows)
        order = np.argsort(began)
        for at in order[long[order]].tolist():
            yield from self._judged(rows[at], now_ns, int(now_ns - began[at]), seen)

    def _judged(self, row: np.void, now_ns: int, waited: int, seen: Seen) -> Iterator[Finding]:
        name = int(row["connection"]), int(row["unique"])
        stage = int(row["delivered_ns"]) or int(row["found"] == Found.SERVED)
        if self._told.get(name) == stage:
            return
        found = self._served(row, waited, seen) if stage else self._queued(row, waited, seen)
        if found is not None:
            self._told[name] = stage
            yield about(found[0], found[1], now_ns, row)

    def _ignored(self, rows: Requests_, now_ns: int) -> Iterator[Finding]:
        """Requests that a client has given up, and that are not answered."""
        for name, since in list(self._interrupted.items()):
            at = np.flatnonzero((rows["connection"] == name[0]) & (rows["unique"] == name[1]))
            if not len(at) or now_ns - since > self._limits.unanswered:
                del self._interrupted[name]
            if len(at) and now_ns - since > self._limits.unanswered:
                waited = f"{(now_ns - since) / 1e9:.1f} s"
                sentence = (
                    f"{request_name(rows[at[0]])}, is not answered {waited} after the server read INTERRUPT for it."
                )
                yield about(INTERRUPTED, sentence, now_ns, rows[at[0]])

    def _served(self, row: np.void, waited: int, seen: Seen) -> tuple[Rule, str]:
        server = f"{printable(comm(row['server_comm'].tobytes())) or '?'}[{row['server_tid'] or row['server_pid']}]"
        how = "by /dev/fuse" if row["transport"] == Transport.DEV else f"by queue {row['queue']}"
        if not row["delivered_ns"]:  # since when it has been there is not known, but how old it is
            return UNANSWERED, f"{request_name(row)}, {_age(row, waited)}, is in the hands of {server}, {how}."
        is_gone = seen.alive is not None and row["server_tid"] and not seen.alive(int(row["server_tid"]))
        said = f"{request_name(row)}, has been in the hands of {server}, {how}, for {waited / 1e9:.1f} s."
        return UNANSWERED, said + (" That thread has ended." if is_gone else "")

    def _queued(self, row: np.void, waited: int, seen: Seen) -> tuple[Rule, str] | None:
        place = (int(row["connection"]), int(row["expected_queue"]))
        began = begin_of(row)
        if self._newest.get(place[0] << 32 | place[1], 0) > began or _is_gone(row, seen):
            return None  # its client took it back, or it would have been fetched before that one
        waits = f"has been queued for {waited / 1e9:.1f} s" if row["queued_ns"] else f"{_age(row, waited)}, is queued"
        said, unsure = f"{request_name(row)}, {waits}", "" if seen.alive else _IF_ALIVE
        if row["dry_ns"]:
            return NO_BUFFER, f"{said}: the pool of queue {place[1]} has no free buffer{unsure}."
        queues = [one for one in seen.conversation.queues.table() if one.connection == place[0] and one.entries]
        if (not queues or row["transport"] == Transport.DEV) and not self._reads_shown:
            either = "it is queued, or the server has it by /dev/fuse, which this kernel does not tell"
            return WAITING, f"{request_name(row)}, has waited for {waited / 1e9:.1f} s: {either}{unsure}."
        queue = next((one for one in queues if one.queue == place[1]), None)
        where = f" for queue {place[1]}" if queue is not None else ""
        if queue is not None and _all_taken(queue):
            entries = "its entry is" if queue.in_server == 1 else f"all {queue.in_server} entries of it are"
            return NO_ENTRY, f"{said}{where}: {entries} in the server's hands{unsure}."
        return NOT_FETCHED, f"{said}{where}, and the server has not fetched it{unsure}."


def _since(rows: Requests_) -> npt.NDArray[np.int64]:
    """Since when each is where it is, or, if that was before the trace began, since when it is at all; 0: not known."""
    every, made = np.arange(len(rows)), ("made_ns", "found_ns")
    queued, delivered = (first_of(rows, every, (name, *made)) for name in ("queued_ns", "delivered_ns"))
    since: npt.NDArray[np.int64] = np.where(is_delivered(rows), delivered, queued).astype(np.int64)
    return since


def _age(row: np.void, waited: int) -> str:
    """How old a request is that was under way as the trace began."""
    return f"{waited / 1e9:.1f} s old" + ("" if row["made_ns"] else " at least")


_IF_ALIVE: Final = " (unless its client was killed meanwhile, which no event tells)"


def _is_gone(row: np.void, seen: Seen) -> bool:
    """Whether the client has ended: it took its request back, which no event tells."""
    waits_for_it = row["client_tid"] and not row["flags"] & Flag.BACKGROUND
    return bool(waits_for_it) and seen.alive is not None and not seen.alive(int(row["client_tid"]))


def _all_taken(queue: Queue) -> bool:
    """Whether all entries are known, and are in the server's hands."""
    return queue.registered > 0 and queue.in_server >= max(queue.entries, queue.registered)
