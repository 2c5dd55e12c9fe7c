"""Requests that were under way as a trace began, as a snapshot of their connection has them."""

from collections.abc import Callable, Collection
from typing import Final

import numpy as np
import numpy.typing as npt

from furtrace.model.requests import Found, Requests_, new_requests, no_requests
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
    rows = [_row(snapshot, request, process) for request in snapshot.requests]
    for queue in snapshot.queues.values():
        rows += [_row(snapshot, request, process) for request in queue.waiting]
        rows += [
            _with_entry(_row(snapshot, entry.request, process), queue, entry)
            for entry in queue.entries
            if entry.request is not None
        ]
    return np.concatenate([no_requests(), *rows])


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


def _row(snapshot: Snapshot, request: Request, process: Process) -> Requests_:
    row = new_requests(1)
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
    return row


def _transport(request: Request) -> Transport:
    if request.queue is not None:
        return Transport.URING
    return Transport.UNKNOWN if request.where == InList.BACKGROUND else Transport.DEV  # it may yet go by a ring


def _set_client(row: Requests_, request: Request, process: Process) -> None:
    row["client_tid"] = request.client_tid
    client = process(request.client_tid) if request.client_tid else None
    if client is not None:
        row["client_pid"], row["client_comm"] = client[0], np.void(client[1].ljust(16, b"\0"))


def _set_server(row: Requests_, snapshot: Snapshot) -> None:
    """The server's process, where there is but one; which of its threads it is can't be known."""
    if row["found"][0] != Found.WAITS and len(snapshot.servers) == 1:
        ((pid, name),) = snapshot.servers.items()
        row["server_pid"], row["server_comm"] = pid, np.void(name.ljust(16, b"\0"))


def _with_entry(row: Requests_, queue: Queue, entry: Entry) -> Requests_:
    """The row with what the entry has for it."""
    row["queue"], row["entry"], row["payload"] = queue.number, entry.address, entry.payload
    row["commit_id"] = row["unique"]  # fuse_uring_args_to_ring() in fs/fuse/dev_uring.c
    row["pooled"] = queue.pool is not None
    if queue.pool is not None and entry.buffer is not None:
        row["buffer_id"], row["pool_offset"] = entry.buffer, entry.buffer * queue.pool.buffer_size
    if entry.zero_copied and entry.slot is not None:
        row["slot"] = entry.slot
        row["flags"] |= np.uint16(Flag.ZERO_COPIED | Flag.HAS_SLOT)
    return row
