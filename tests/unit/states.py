"""States of connections, made by hand."""

from furtrace.checks.standing import Seen
from furtrace.model.snapshot import Connected, Entry, EntryState, InList, PayloadMode, Pool, Queue, Request, Snapshot
from furtrace.wire.opcodes import Opcode

WELL = Connected.CONNECTED | Connected.INITIALIZED | Connected.WANTS_URING | Connected.HAS_RING | Connected.READY


def asked(unique: int, where: InList, age: float | None = 10.0, opcode: int = Opcode.READ) -> Request:
    outside = where in (InList.PENDING, InList.PROCESSING, InList.BACKGROUND)
    return Request(unique, opcode, 1, 80, 4711, 0, (), age, where, None if outside else 0)


def entry(where: InList, request: Request | None = None) -> Entry:
    return Entry(1, where, EntryState.AVAILABLE, 0x1000, 0, 0, None, None, zero_copied=False, request=request)


def queue(*entries: Entry, waiting: tuple[Request, ...] = (), pool: Pool | None = None) -> Queue:
    made = Queue(0, stopped=False, zero_copy=False, mode=PayloadMode.UNSET, active_background=0, pool=pool)
    made.entries, made.waiting = list(entries), list(waiting)
    for one in entries:
        made.lengths[one.where] = made.lengths.get(one.where, 0) + 1
    return made


def seen(*queues: Queue, flags: Connected = WELL, requests: tuple[Request, ...] = (), waiting: int = 1) -> Seen:
    snapshot = Snapshot(7, 0, flags, 0, 0, 45, 12, 0, 0, waiting, max(1, len(queues)), 0, 131072, {42: b"server"})
    snapshot.queues = dict(enumerate(queues))
    snapshot.requests = list(requests)
    return Seen(snapshot)
