"""What the state of a connection alone proves to be wrong: the rules of which no event is needed."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from furtrace.checks.findings import Finding, Rule
from furtrace.checks.standing_rules import (
    ENTRIES_GONE,
    NO_BUFFER,
    NO_ENTRY,
    NOT_FETCHED,
    NOT_READY,
    QUEUE_STOPPED,
    UNANSWERED,
)
from furtrace.model.requests import MAY_WAIT
from furtrace.model.slots import Reply
from furtrace.model.snapshot import Connected, Entry, InList, Queue, Request, Snapshot
from furtrace.trace.tasks import Task
from furtrace.wire.errnos import error_text
from furtrace.wire.opcodes import opcode_name
from furtrace.wire.text import printable


@dataclass
class Seen:
    """A connection and what belongs to it.

    ``threads``: of its servers. ``replies``: those that lie in header slots, by the unique of their request.
    ``least_s``: how old a request has to be before it is said to wait.
    """

    snapshot: Snapshot
    threads: list[Task] = field(default_factory=list)
    replies: dict[int, Reply] = field(default_factory=dict)
    least_s: float = 5.0


@dataclass(frozen=True)
class Verdict:
    """A rule that is broken, and on what: ``unique`` of a request, if there is one."""

    finding: Finding
    unique: int | None = None

    @property
    def name(self) -> tuple[str, int, int | None, int | None]:
        """What it is about: the same a moment later."""
        return self.finding.rule.id, self.finding.connection, self.finding.queue, self.unique


def verdicts(seen: Seen) -> list[Verdict]:
    """What is wrong, the causes first."""
    looks: tuple[Callable[[Seen], Iterator[Verdict]], ...] = (_stopped_queues,)
    if seen.snapshot.flags & Connected.CONNECTED:
        looks += (_ring, _entries, _served, _queued, _unread)
    return [verdict for look in looks for verdict in look(seen)]


def _told(seen: Seen, rule: Rule, sentence: str, request: Request | None = None, queue: int | None = None) -> Verdict:
    snapshot = seen.snapshot
    where = queue if request is None else request.queue
    finding = Finding(rule, sentence, snapshot.ns, snapshot.number, where)
    return Verdict(finding, None if request is None else request.unique)


def _ring(seen: Seen) -> Iterator[Verdict]:
    """INIT agreed on the ring, and it is not ready: whoever asks for something waits."""
    snapshot = seen.snapshot
    wants = Connected.INITIALIZED | Connected.WANTS_URING
    if snapshot.flags & wants != wants or snapshot.ready or not snapshot.waiting or _is_torn(snapshot):
        return
    lacking = snapshot.lacking
    if snapshot.has_ring and not lacking:
        return
    which = f"{_queues(lacking)} no entry" if snapshot.has_ring else "no queue has an entry"
    who = "1 request waits" if snapshot.waiting == 1 else f"{snapshot.waiting} requests wait"
    yield _told(seen, NOT_READY, f"INIT agreed on io_uring, but {which}: the ring is not ready, and {who} for it.")


def _queues(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"queue {numbers[0]} has"
    return f"queues {', '.join(map(str, numbers[:-1]))} and {numbers[-1]} have"


def _is_torn(snapshot: Snapshot) -> bool:
    """Whether entries may be there that were not seen, as lists changed."""
    return bool(snapshot.moved) or any(queue.changed for queue in snapshot.queues.values())


def _stopped_queues(seen: Seen) -> Iterator[Verdict]:
    """Queues that take nothing any more, and have requests."""
    for number, queue in sorted(seen.snapshot.queues.items()):
        left = [request for request in queue.waiting if _is_long(request, seen)]
        if queue.stopped and left:
            who = "1 request waits" if len(left) == 1 else f"{len(left)} requests wait"
            yield _told(seen, QUEUE_STOPPED, f"Queue {number} is stopped, and {who} in it.", queue=number)


def _entries(seen: Seen) -> Iterator[Verdict]:
    """Queues whose entries the kernel has cancelled, or let go, although the ring is ready."""
    if not seen.snapshot.ready or _is_torn(seen.snapshot):
        return
    for number, queue in sorted(seen.snapshot.queues.items()):
        for said in _losses(queue):
            yield _told(seen, ENTRIES_GONE, said, queue=number)


def _losses(queue: Queue) -> Iterator[str]:
    """What entries a queue has lost, in sentences."""
    there, cancelled = len(queue.entries), _cancelled(queue)
    ended = Counter(entry.thread for entry in queue.entries if entry.thread_ended)
    for thread, count in sorted(ended.items(), key=str):
        yield (
            f"Thread {thread} of the server has ended, which brought requests to {count} of the {there} entries of "
            f"queue {queue.number}; nothing does now."
        )
    if cancelled:
        are = "is" if cancelled == 1 else "are"
        yield (
            f"{cancelled} of the {there} entries of queue {queue.number} {are} cancelled, as when a thread of the "
            "server ends, and get no request any more."
        )
    if not there:
        yield f"Queue {queue.number} has no entry any more, as when its thread has ended."


def _is_long(request: Request, seen: Seen) -> bool:
    return request.age_s is not None and request.age_s >= seen.least_s and request.opcode not in MAY_WAIT


def _served(seen: Seen) -> Iterator[Verdict]:
    """Requests that the server has, oldest first."""
    held = [*seen.snapshot.held(), *seen.snapshot.requests]
    mine = [one for one in held if one.where in (InList.USERSPACE, InList.PROCESSING) and _is_long(one, seen)]
    for request in sorted(mine, key=_by_age):
        how = "by /dev/fuse" if request.queue is None else f"by queue {request.queue}"
        said = f"{_name(request)}, {_age(request)} old, is in the hands of {_servers(seen)}, {how}"
        yield _told(seen, UNANSWERED, f"{said}{_reply(request, seen)}.{_stopped(seen, request.queue)}", request)


def _reply(request: Request, seen: Seen) -> str:
    reply = seen.replies.get(request.unique)
    if reply is None:
        return ""
    return f"; a reply with error {error_text(reply.error)} lies in its header slot and was not committed"


def _queued(seen: Seen) -> Iterator[Verdict]:
    """Requests in queues of the ring, oldest first."""
    for queue in seen.snapshot.queues.values():
        for entry in queue.entries:
            request = entry.request
            if entry.where == InList.WITH_REQUEST and request is not None and _is_long(request, seen):
                said = f"{_name(request)}, {_age(request)} old, has an entry of queue {queue.number}"
                said += f", and {_thread(entry, seen)} has not come for it.{_stopped(seen, queue.number)}"
                yield _told(seen, NOT_FETCHED, said, request)
        for request in sorted(queue.waiting, key=_by_age):
            if request.where == InList.QUEUED and _is_long(request, seen):
                yield from _waits(seen, queue, request)


def _thread(entry: Entry, seen: Seen) -> str:
    names = (f"the server's thread {_named(thread)}" for thread in seen.threads if thread.tid == entry.thread)
    return next(names, "the server's thread")


def _waits(seen: Seen, queue: Queue, request: Request) -> Iterator[Verdict]:
    said = f"{_name(request)}, {_age(request)} old, waits in queue {queue.number}"
    if queue.changed or seen.snapshot.moved:
        return
    if queue.pool is not None and not queue.pool.free:
        yield _told(seen, NO_BUFFER, f"{said}: none of its {queue.pool.buffers} buffers is free.", request)
    elif not queue.count(InList.AVAILABLE):
        yield _told(seen, NO_ENTRY, f"{said}: {_why_no_entry(queue)}.", request)


def _why_no_entry(queue: Queue) -> str:
    """Where the entries of a queue are of which none is idle."""
    there = len(queue.entries)
    served = sum(entry.where == InList.USERSPACE and entry.request is not None for entry in queue.entries)
    gone = _cancelled(queue)
    if not there:
        return "it has no entry"
    if served == there:
        entries = "its entry is" if there == 1 else f"all of its {there} entries are"
        return f"{entries} in the server's hands"
    parts = {"in the server's hands": served, "cancelled": gone, "on their way": there - served - gone}
    return f"of its {there} entries " + ", ".join(f"{count} {where}" for where, count in parts.items() if count)


def _cancelled(queue: Queue) -> int:
    """Entries that the server was given back without a request (fuse_uring_cancel() until Linux 7.2)."""
    return sum(entry.where == InList.USERSPACE and entry.request is None for entry in queue.entries)


def _unread(seen: Seen) -> Iterator[Verdict]:
    """Requests that nobody reads from /dev/fuse, oldest first."""
    for request in sorted(seen.snapshot.requests, key=_by_age):
        if request.where == InList.PENDING and _is_long(request, seen):
            said = f"{_name(request)}, {_age(request)} old, is not read from /dev/fuse by {_servers(seen)}"
            yield _told(seen, NOT_FETCHED, f"{said}.{_stopped(seen)}", request)


def _by_age(request: Request) -> float:
    return -(request.age_s or 0)


def _name(request: Request) -> str:
    return f"{opcode_name(request.opcode)}, unique {request.unique}"


def _age(request: Request) -> str:
    return "?" if request.age_s is None else f"{'at least ' if request.at_least else ''}{request.age_s:.1f} s"


def _servers(seen: Seen) -> str:
    servers = [f"{printable(comm)}[{pid}]" for pid, comm in sorted(seen.snapshot.servers.items())]
    return " and ".join(servers) or "?"


def _stopped(seen: Seen, queue: int | None = None) -> str:
    """A word about a server that can't do anything, as a whole or where it serves this queue."""
    states = {thread.state for thread in seen.threads}
    if not seen.threads:
        return ""
    if states <= {"T", "t"}:
        return " The server is stopped: kill -CONT lets it go on."
    if states <= {"D"}:
        return " All threads of the server sleep in the kernel and can't be interrupted."
    if states <= {"Z", "X"}:
        return " The server has ended."
    queues = seen.snapshot.queues
    serving = queues[queue].threads if queue in queues else set()
    asleep = (thread for thread in seen.threads if thread.state == "D" and thread.tid in serving)
    return next((_asleep(thread) for thread in asleep), "")


def _asleep(thread: Task) -> str:
    where = thread.sleeps_in[0] if thread.sleeps_in else "the kernel"
    return f" The queue's thread {_named(thread)} sleeps in {where}, and can't be interrupted."


def _named(thread: Task) -> str:
    return f"{printable(thread.comm)}[{thread.tid}]"
