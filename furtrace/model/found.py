"""Requests that were under way as a trace began, as a snapshot of their connection has them."""

from collections.abc import Callable, Collection, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from furtrace.model.requests import Found, Requests_, new_requests
from furtrace.model.snapshot import Entry, InList, Queue, Request, Snapshot
from furtrace.trace.record import Flag, Transport

Process = Callable[[int], tuple[int, bytes] | None]

_FOUND: Final = {
    InList.USERSPACE: Found.SERVED,
    InList.PROCESSING: Found.SERVED,
    InList.COMMIT: Found.ANSWERED,
}
"""Where the lists of the kernel are whose requests do not wait."""


def found_requests(snapshot: Snapshot, process: Process) -> Requests_:
    """Rows of the requests of a connection.

    Args:
        snapshot: of the connection.
        process: tells of which process a thread is, and the thread's name; None: it is gone.
    """
    found = list(_found(snapshot))
    rows = new_requests(len(found))
    for row, (request, place) in zip(rows, found, strict=True):
        _fill(row, snapshot, request, process)
        if place is not None:
            _set_entry(row, *place)
    return rows


def _found(snapshot: Snapshot) -> Iterator[tuple[Request, tuple[Queue, Entry] | None]]:
    """All requests, each with the entry that has it."""
    for request in snapshot.requests:
        yield request, None
    for queue in snapshot.queues.values():
        for request in queue.waiting:
            yield request, None
        for entry in queue.entries:
            if entry.request is not None:
                yield entry.request, (queue, entry)


def wanted(
    rows: Requests_, client: int | None, opcodes: Collection[int], queues: Collection[int]
) -> npt.NDArray[np.bool_]:
    """Which rows pass the filters of a trace, as events of theirs would; empty or None: no limit.

    Args:
        rows: of :func:`found_requests`.
        client: a process.
        opcodes: operations.
        queues: of the ring.
    """
    chosen = np.ones(len(rows), np.bool_)
    if client is not None:
        chosen &= rows["client_pid"] == client
    if opcodes:
        chosen &= np.isin(rows["opcode"], list(opcodes))
    if queues:
        chosen &= np.isin(rows["expected_queue"], list(queues))
    return chosen


def _fill(row: np.void, snapshot: Snapshot, request: Request, process: Process) -> None:
    row["unique"], row["connection"] = request.unique, snapshot.number
    row["opcode"], row["node_id"] = request.opcode, request.node_id
    row["found_ns"], row["found"] = snapshot.ns, _FOUND.get(request.where, Found.WAITS)
    if request.age_s is not None:
        row["made_ns"] = max(1, snapshot.ns - round(request.age_s * 1e9))
    row["flags"] = Flag.BACKGROUND if "FR_BACKGROUND" in request.flags else 0
    row["transport"] = _transport(request)
    if request.queue is not None:
        row["expected_queue"] = request.queue
    _set_client(row, request, process)
    _set_server(row, snapshot)


def _transport(request: Request) -> Transport:
    if request.queue is not None:
        return Transport.URING
    return Transport.UNKNOWN if request.where == InList.BACKGROUND else Transport.DEV  # it may yet go by a ring


def _set_client(row: np.void, request: Request, process: Process) -> None:
    row["client_tid"] = request.client_tid
    client = process(request.client_tid) if request.client_tid else None
    if client is not None:
        row["client_pid"], row["client_comm"] = client[0], np.void(client[1].ljust(16, b"\0"))


def _set_server(row: np.void, snapshot: Snapshot) -> None:
    """The server's process, where there is but one; which of its threads it is can't be known."""
    if row["found"] != Found.WAITS and len(snapshot.servers) == 1:
        ((pid, name),) = snapshot.servers.items()
        row["server_pid"], row["server_comm"] = pid, np.void(name.ljust(16, b"\0"))


def _set_entry(row: np.void, queue: Queue, entry: Entry) -> None:
    """What the entry has for the request."""
    row["queue"], row["entry"], row["payload"] = queue.number, entry.address, entry.payload
    row["commit_id"] = row["unique"]  # fuse_uring_args_to_ring() in fs/fuse/dev_uring.c
    row["pooled"] = queue.pool is not None
    if queue.pool is not None and entry.buffer is not None:
        row["buffer_id"], row["pool_offset"] = entry.buffer, entry.buffer * queue.pool.buffer_size
    if entry.zero_copied and entry.slot is not None:
        row["slot"] = entry.slot
        row["flags"] |= np.uint16(Flag.ZERO_COPIED | Flag.HAS_SLOT)
