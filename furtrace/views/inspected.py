"""The state of a connection for the terminal: what it is, its queues, their memory, who waits, and what is wrong."""

import os
from collections import Counter
from collections.abc import Iterator
from typing import Final

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from furtrace.checks.standing import Seen, Verdict
from furtrace.model.moves import Moves
from furtrace.model.snapshot import Connected, Entry, InList, Queue, Request, Snapshot
from furtrace.trace.tasks import Task
from furtrace.views.boxes import boxes, gauge
from furtrace.views.fitting import drawn_width
from furtrace.views.severities import STYLES
from furtrace.views.wrapping import wrapped
from furtrace.wire.opcodes import opcode_name
from furtrace.wire.text import printable

MOST_REQUESTS: Final = 50
"""Requests that are shown."""
_MOST_BUFFERS: Final = 64
_MOST_VERDICTS: Final = 5
"""Of a rule, that are shown."""
_HANG: Final = 4
"""By how many columns a line that goes on is set in."""
_WHERE: Final = {
    InList.AVAILABLE: "idle",
    InList.WITH_REQUEST: "sent",
    InList.COMMIT: "commit",
    InList.USERSPACE: "server",
    InList.RELEASED: "released",
    InList.QUEUED: "queued",
    InList.QUEUED_BACKGROUND: "queued, bg",
    InList.PENDING: "unread",
    InList.BACKGROUND: "queued, bg",
    InList.PROCESSING: "server",
    InList.IO: "copied",
}
"""Where an entry or a request is, in words."""


class InspectedView:
    """Draws a connection.

    Args:
        seen: its state.
        clients: of its requests, by their thread.
        found: what is wrong.
        moved: since an earlier snapshot; None: there is none.
        memory: with the picture of each queue's memory.
    """

    def __init__(
        self,
        seen: Seen,
        clients: dict[int, Task | None],
        found: list[Verdict],
        moved: Moves | None = None,
        *,
        memory: bool,
    ) -> None:
        self._seen, self._clients, self._found, self._moved, self._memory = seen, clients, found, moved, memory

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._parts(drawn_width(options.max_width))

    def _parts(self, width: int) -> Iterator[RenderableType]:
        snapshot = self._seen.snapshot
        yield from _lines(_title(snapshot), width, "bold")
        for about in _about(snapshot):
            yield from _lines(f"  {about}", width)
        if snapshot.queues:
            yield Text("")
            yield _queues(snapshot)
        for queue in snapshot.queues.values() if self._memory else ():
            yield Text("")
            yield from (Text(line, no_wrap=True, overflow="ignore") for line in _memory(queue, self._seen, width))
        requests = snapshot.all_requests()
        if requests:
            yield Text("")
            yield self._requests(requests)
        if len(requests) > MOST_REQUESTS:
            yield Text(f"  and {len(requests) - MOST_REQUESTS} more requests, which --json has.")
        if self._moved is not None:
            yield Text("")
            yield from _lines(_moves(self._moved), width)
        if self._found and self._seen.threads:
            yield Text("")
            yield _threads(self._seen)
        yield Text("")
        yield from self._verdict(width)

    def _requests(self, requests: list[Request]) -> Table:
        table = _table("age", "unique", "operation", "queue", "where", "client", "sleeps in")
        for request in requests[:MOST_REQUESTS]:
            client = self._clients.get(request.client_tid)
            table.add_row(
                (">" if request.at_least else "") + _age(request.age_s),
                str(request.unique),
                opcode_name(request.opcode),
                "dev" if request.queue is None else str(request.queue),
                _WHERE[request.where] + (", given up" if "FR_INTERRUPTED" in request.flags else ""),
                _client(request, client),
                "" if client is None else "".join(client.sleeps_in[:1]),
            )
        return table

    def _verdict(self, width: int) -> Iterator[Text]:
        if not self._found:
            yield from _lines(_nothing(self._seen), width, "bold")
        shown: Counter[str] = Counter()
        for verdict in self._found:
            rule = verdict.finding.rule
            shown[rule.id] += 1
            if shown[rule.id] > _MOST_VERDICTS:
                continue
            for line in _lines(f"{rule.severity.name} {rule.id}: {verdict.finding.sentence}", width):
                line.highlight_regex(rf"^{rule.severity.name}\b", STYLES[rule.severity])
                line.highlight_regex(rf"(?<= ){rule.id}(?=:)", "bold")
                yield line
        for rule_id, count in shown.items():
            if count > _MOST_VERDICTS:
                yield from _lines(f"and {count - _MOST_VERDICTS} more of the rule {rule_id}, which --json has.", width)


def _moves(moved: Moves) -> str:
    if moved.stands_still:
        one = len(moved.stayed) == 1
        all_ = "the one request is where it was" if one else f"all {len(moved.stayed)} requests are where they were"
        return f"In {moved.seconds:.1f} s nothing moved: {all_}."
    parts = {"ended": moved.ended, "came and wait": moved.came, "moved on": moved.moved, "stayed": moved.stayed}
    counts = ", ".join(f"{len(requests)} {what}" for what, requests in parts.items())
    return f"In {moved.seconds:.1f} s, of the requests that were seen: {counts}."


def _lines(text: str, width: int, style: str = "") -> Iterator[Text]:
    """A text, broken where it does not fit."""
    for at, line in enumerate(wrapped(text, width, _HANG)):
        yield Text(f"{' ' * _HANG if at else ''}{line}", style, no_wrap=True, overflow="ignore")


def _nothing(seen: Seen) -> str:
    if not seen.snapshot.flags & Connected.CONNECTED:
        return "The connection has ended: it was unmounted or aborted, or its server is gone."
    requests = seen.snapshot.all_requests()
    if any(request.age_s is None or request.at_least for request in requests):
        return "Nothing is found wrong; but how old requests are this kernel does not keep: --watch tells which stay."
    oldest = f"; the oldest is {_age(requests[0].age_s)} old" if requests else ""
    return f"Nothing is found wrong: no request waits for {seen.least_s:g} s or longer{oldest}."


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _age(seconds: float | None) -> str:
    return "?" if seconds is None else f"{seconds:.1f}s"


def _title(snapshot: Snapshot) -> str:
    mounts = ", ".join(printable(os.fsencode(path)) for path in snapshot.mountpoints)
    servers = ", ".join(f"{printable(comm)}[{pid}]" for pid, comm in sorted(snapshot.servers.items()))
    return f"Connection {snapshot.number}{f' on {mounts}' if mounts else ', mounted nowhere here'}, served by {servers}"


def _about(snapshot: Snapshot) -> Iterator[str]:
    flags = snapshot.flags
    state = "connected" if flags & Connected.CONNECTED else "not connected any more"
    state += ", aborted" if flags & Connected.ABORTED else ""
    state += "" if flags & Connected.INITIALIZED else ", INIT is not answered"
    state += ", new requests are held back" if flags & Connected.BLOCKED else ""
    yield f"{state}; protocol 7.{snapshot.minor}, max_write {snapshot.max_write}, max_pages {snapshot.max_pages}"
    if snapshot.has_ring:
        ready = "ready" if snapshot.ready else "not ready"
        yield (
            f"io_uring: {ready}, {snapshot.nr_queues} queues, {snapshot.references} entries, "
            f"payload buffers of {snapshot.max_payload} bytes at least"
        )
    else:
        wants = "agreed in INIT, and nothing is registered" if flags & Connected.WANTS_URING else "not used"
        yield f"io_uring: {wants}"
    yield (
        f"requests: {snapshot.waiting}; background: {snapshot.num_background} of {snapshot.max_background}, "
        f"{snapshot.active_background} under way"
    )
    if snapshot.bits:
        yield f"set in fuse_conn: {', '.join(snapshot.bits)}"
    if snapshot.moved:
        yield f"{snapshot.moved} of the entries moved from one list to another while these were read"
    if snapshot.changed:
        yield f"changed while it was read: {', '.join(sorted(where.name.lower() for where in snapshot.changed))}"


def _queues(snapshot: Snapshot) -> Table:
    table = _table("queue", "entries", "idle", "sent", "server", "commit", "queued", "bg", "buffers free", "")
    for number, queue in sorted(snapshot.queues.items()):
        pool = queue.pool
        lists = (InList.AVAILABLE, InList.WITH_REQUEST, InList.USERSPACE, InList.COMMIT)
        table.add_row(
            str(number),
            str(len(queue.entries)),
            *(str(queue.count(where)) for where in lists),
            str(queue.count(InList.QUEUED)),
            str(queue.count(InList.QUEUED_BACKGROUND)),
            "" if pool is None else f"{len(pool.free)} of {pool.buffers}",
            _remarks(queue),
        )
    return table


def _remarks(queue: Queue) -> str:
    registered = queue.pool.registered if queue.pool is not None else None
    words = {
        "stopped": queue.stopped,
        "zero-copy": queue.zero_copy,
        f"pool is registered buffer {registered}": registered is not None,
        "changed while it was read": bool(queue.changed),
    }
    return ", ".join(word for word, so in words.items() if so)


def _memory(queue: Queue, seen: Seen, width: int) -> Iterator[str]:
    """Header slots and payload buffers of a queue, and who has them, as the document draws them."""
    busy = sum(entry.request is not None for entry in queue.entries)
    yield f"Queue {queue.number}: {len(queue.entries)} header slots"
    yield f"{gauge(busy, len(queue.entries))} entries have a request"
    yield from boxes([_slot(entry, seen) for entry in sorted(queue.entries, key=lambda one: one.headers)], width)
    pool = queue.pool
    if pool is None:
        return
    yield f"Payload buffer pool: {pool.buffers} buffers of {pool.buffer_size} bytes at {pool.base:#x}"
    yield f"{gauge(pool.buffers - len(pool.free), pool.buffers)} in use"
    holders = {entry.buffer: entry for entry in queue.entries if entry.buffer is not None}
    shown = range(min(pool.buffers, _MOST_BUFFERS))
    yield from boxes([_buffer(number, holders.get(number), free=number in pool.free) for number in shown], width)
    if pool.buffers > _MOST_BUFFERS:
        yield f"and {pool.buffers - _MOST_BUFFERS} more buffers, which --json has."


def _slot(entry: Entry, seen: Seen) -> list[str]:
    lines = [f"header {entry.headers:#x}"]
    if entry.payload and entry.buffer is None:
        lines.append(f"payload {entry.payload:#x}")
    if entry.request is None:
        return [*lines, "free"]
    lines += [f"{opcode_name(entry.request.opcode)} unique={entry.request.unique}", _WHERE[entry.where]]
    if entry.zero_copied:
        lines.append(f"pages in slot {entry.slot}")
    reply = seen.replies.get(entry.request.unique)
    return lines if reply is None else [*lines, f"reply, error {reply.error}, not committed"]


def _buffer(number: int, holder: Entry | None, *, free: bool) -> list[str]:
    title = f"buf {number}"
    if free:
        return [title, "free"]
    if holder is None:
        return [title, "in use"]
    request = holder.request
    return [title, f"{opcode_name(request.opcode)} unique={request.unique}" if request else "kept by an idle entry"]


def _client(request: Request, client: Task | None) -> str:
    if not request.client_tid:
        return "the kernel"
    if client is None:
        return f"{request.client_tid}, not here"
    words = printable(client.command or client.comm)
    return f"{words if len(words) <= 40 else words[:39] + '~'}[{client.tid}] {client.state}"


def _sleeps(task: Task | None) -> str:
    return "" if task is None else " < ".join(task.sleeps_in[:2])


def _threads(seen: Seen) -> Table:
    """The server's threads; of those that entries wait in, the queues of these."""
    table = _table("server's thread", "state", "queue", "sleeps in")
    for thread in seen.threads:
        served = [str(number) for number, queue in sorted(seen.snapshot.queues.items()) if thread.tid in queue.threads]
        table.add_row(f"{printable(thread.comm)}[{thread.tid}]", thread.state, ", ".join(served), _sleeps(thread))
    return table
