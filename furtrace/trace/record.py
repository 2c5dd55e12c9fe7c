"""The event record, as numpy sees it: ``struct ft_record`` of ``probes/record.h``, one fixed size for all kinds.

What each member holds stands there. A batch of records is one structured array of :data:`RECORD`.
"""

from collections.abc import Iterable
from enum import IntEnum, IntFlag
from typing import Final

import numpy as np
import numpy.typing as npt

HEADER_SIZE = 288
COMMAND_SIZE = 80
EXTRA_SIZE = 192
NO_QUEUE = 0xFFFFFFFF
NO_BUFFER = 0xFFFFFFFF
NO_CPU = 0xFFFF
NOT_COUNTED = 0xFFFFFFFF
INIT_SIZE = 64
"""Bytes of fuse_init_in, and of fuse_init_out after it, in the ``extra`` of INIT."""
ARGUMENT_OFFSET = 64
"""Where ENDED of RENAME, RENAME2 and LINK has the request's first argument in ``header``, whatever its size says."""
ARGUMENT_SIZE = 16
"""Bytes of that."""
PART_SIZE = HEADER_SIZE + EXTRA_SIZE
"""Most bytes of payload in one ENTRIES, and in a record of :data:`PAYLOADS`; most bytes of a MOUNTED's path."""
OPERATION_OFFSET = 128
"""Where the operation's own header starts in ``header`` (``fuse_uring_req_header.op_in``)."""
PAYLOAD_SIZE_OFFSET = 256 + 16
"""Where ``fuse_uring_ent_in_out.payload_sz`` stands in ``header``: 4 bytes."""


class Kind(IntEnum):
    """``enum ft_kind``: the protocol event that a record tells."""

    INIT = 1
    ADD_QUEUE = 2
    ADD_BUFPOOL = 3
    REGISTER = 4
    READY = 5
    QUEUED = 6
    SELECTED = 7
    PAGES_REGISTERED = 8
    COPIED = 9
    DELIVERED = 10
    FIXED_IO = 11
    COMMITTED = 12
    RETURNED = 13
    PAGES_UNREGISTERED = 14
    PAGES_RELEASED = 15
    RECYCLED = 16
    ENDED = 17
    REFUSED = 18
    STOPPED = 19
    LOST = 20
    NAMED = 21
    ENTRIES = 22
    STEP = 23
    MOUNTED = 24
    REQUEST_PAYLOAD = 25
    REPLY_PAYLOAD = 26


PAYLOADS: Final = (Kind.REQUEST_PAYLOAD, Kind.REPLY_PAYLOAD)
"""Kinds that bring a part of a request's payload."""
HINTS: Final = (Kind.NAMED, Kind.ENTRIES, Kind.MOUNTED, *PAYLOADS)
"""Kinds that are no events of the protocol: they keep paths true where a filter hides what names inodes, say where a
connection is mounted, and bring payload."""
EVENTS: Final = tuple(kind for kind in Kind if kind not in HINTS)
"""Kinds that are."""


class Transport(IntEnum):
    """``enum ft_transport``: how a request reaches the server."""

    UNKNOWN = 0
    URING = 1
    DEV = 2


class Flag(IntFlag):
    """``enum ft_flag``."""

    CURRENT_IS_CLIENT = 1
    BACKGROUND = 2
    ZERO_COPIED = 4
    CQE_OVERFLOW = 8
    HEADER_FROM_SERVER = 16
    NAME_CUT = 32
    HAS_BUFFER = 64
    HAS_ERROR = 128
    POOL = 256
    HAS_SLOT = 512
    QUEUE_ZERO_COPY = 1024
    FILE_ZERO_COPY = 2048
    HAS_PAGES = 4096
    PAGES_READABLE = 8192
    PAGES_WRITABLE = 16384
    FIXED = 32768


class Step(IntEnum):
    """``enum ft_step``: the kernel's function that a STEP tells of."""

    NONE = 0
    QUEUE_FUSE_REQ = 1
    QUEUE_BQ_REQ = 2
    ADD_REQ_TO_RING_ENT = 3
    SEND_IN_TASK = 4
    PREPARE_SEND = 5
    COPY_HEADER_TO_RING = 6
    SET_UP_ZERO_COPY = 7
    SEND = 8
    CMD_DONE = 9
    CMD = 10
    COMMIT_FETCH = 11
    COMMIT = 12
    REQ_END = 13
    GET_NEXT_FUSE_REQ = 14
    STOP_QUEUES = 15
    ABORT_END_REQUESTS = 16
    ENTRY_TEARDOWN = 17

    @property
    def function(self) -> str:
        """The function's name in the kernel; two have had another one, which is left unsaid."""
        special = {Step.COPY_HEADER_TO_RING: "copy_header_to_ring", Step.CMD_DONE: "__io_uring_cmd_done"}
        return special.get(self, f"fuse_uring_{self.name.lower()}")


RECORD = np.dtype(
    [
        ("ns", "<u8"),
        ("unique", "<u8"),
        ("commit_id", "<u8"),
        ("node_id", "<u8"),
        ("entry", "<u8"),
        ("headers", "<u8"),
        ("payload", "<u8"),
        ("command", "<u8"),
        ("user_data", "<u8"),
        ("connection", "<u4"),
        ("opcode", "<u4"),
        ("error", "<i4"),
        ("queue", "<u4"),
        ("pid", "<u4"),
        ("tid", "<u4"),
        ("client_tid", "<u4"),
        ("command_op", "<u4"),
        ("buffer_id", "<u4"),
        ("pool_offset", "<u4"),
        ("payload_size", "<u4"),
        ("length", "<u4"),
        ("kind", "u1"),
        ("transport", "u1"),
        ("flags", "<u2"),
        ("header_size", "<u2"),
        ("extra_size", "<u2"),
        ("cpu", "<u2"),
        ("slot", "<u2"),
        ("step", "<u2"),
        ("second", "u1"),
        ("reserved", "u1"),
        ("request_flags", "<u4"),
        ("segments", "<u4"),
        ("buffers", "<u4"),
        ("buffers_free", "<u4"),
        ("comm", "V16"),
        ("header", "V288"),
        ("extra", "V192"),
    ]
)

Records = npt.NDArray[np.void]
"""A batch: one dimension, dtype :data:`RECORD`."""


def no_records() -> Records:
    """Return an empty batch."""
    return np.empty(0, RECORD)


def among(kinds: Iterable[int]) -> npt.NDArray[np.bool_]:
    """A table of all numbers that a ``kind`` can be: ``among(HINTS)[batch["kind"]]`` says where a batch has hints."""
    table = np.zeros(256, np.bool_)
    table[list(kinds)] = True
    return table


def events_only(batch: Records) -> Records:
    """Return a batch without its hints: the batch itself where it has none."""
    hints = _IS_HINT[batch["kind"]]
    return batch[~hints] if hints.any() else batch


def names(field: bytes, size: int, second: int) -> list[bytes]:
    """The names in the ``extra`` of QUEUED, without their NUL.

    Args:
        field: the whole of ``extra``.
        size: how many bytes of it are valid (``extra_size``).
        second: where the second name starts; 0: there is none.
    """
    if not size:
        return []
    if not second:
        return [field[:size].split(b"\0", 1)[0]]
    return [field[:second].split(b"\0", 1)[0], field[second:size].split(b"\0", 1)[0]]


def names_cut(field: bytes, size: int, second: int, *, cut: bool) -> list[tuple[bytes, bool]]:
    """As :func:`names`, each with whether it was cut off; ``cut``: one was, and its missing NUL tells which of two."""
    if not cut:
        return [(name, False) for name in names(field, size, second)]
    rooms = (second, size - second) if second else (size,)
    found = zip(names(field, size, second), rooms, strict=False)
    return [(name, cut and len(name) == room) for name, room in found]


def comm(field: bytes) -> bytes:
    """A task's name without the NULs that fill its field."""
    return field.split(b"\0", 1)[0]


def is_event(batch: Records) -> npt.NDArray[np.bool_]:
    """Where a batch has events that the kernel made: neither hints nor losses."""
    events: npt.NDArray[np.bool_] = _IS_EVENT[batch["kind"]]
    return events


_IS_HINT: Final = among(HINTS)
_IS_EVENT: Final = ~among((*HINTS, Kind.LOST))


def until_event(batch: Records, number: int) -> Records:
    """A batch up to and with the event of this number, counted from 1; all of it, if it has no more."""
    at = np.flatnonzero(is_event(batch))
    return batch[: at[number - 1] + 1] if len(at) >= number else batch


def is_lost(batch: Records) -> npt.NDArray[np.bool_]:
    """Where a batch tells of a loss."""
    lost: npt.NDArray[np.bool_] = batch["kind"] == Kind.LOST
    return lost


def lost_record(begin_ns: int, end_ns: int, count: int, cpu: int = NO_CPU) -> Records:
    """A LOST: so many events were lost between two times on a CPU; on :data:`NO_CPU`: no probe was run for them."""
    record = np.zeros(1, RECORD)
    record["kind"], record["ns"], record["user_data"] = Kind.LOST, begin_ns, end_ns
    record["length"], record["cpu"], record["queue"] = count, cpu, NO_QUEUE
    return record


def mounted_record(ns: int, connection: int, path: bytes) -> Records:
    """A MOUNTED: where a connection is mounted; of a longer path the first :data:`PART_SIZE` bytes."""
    record = np.zeros(1, RECORD)
    record["kind"], record["ns"], record["connection"] = Kind.MOUNTED, ns, connection
    record["header_size"], record["queue"] = min(len(path), PART_SIZE), NO_QUEUE
    set_part(record, path[:PART_SIZE])
    return record


def set_part(record: Records, data: bytes) -> None:
    """Put up to :data:`PART_SIZE` bytes into ``header`` and ``extra`` of one record."""
    record["header"] = np.void(data[:HEADER_SIZE].ljust(HEADER_SIZE, b"\0"))
    record["extra"] = np.void(data[HEADER_SIZE:].ljust(EXTRA_SIZE, b"\0"))


def part(record: np.void) -> bytes:
    """The bytes that ``header`` and ``extra`` hold as one array: of ENTRIES, MOUNTED and :data:`PAYLOADS`."""
    whole: bytes = record["header"].tobytes() + record["extra"].tobytes()
    return whole[: int(record["header_size"])]
