"""Batches of events made by hand."""

import struct
from typing import Any

import numpy as np

from furtrace.trace.record import (
    ARGUMENT_OFFSET,
    NO_QUEUE,
    OPERATION_OFFSET,
    RECORD,
    Flag,
    Kind,
    Records,
    Transport,
    lost_record,
)
from furtrace.wire.opcodes import Opcode

CONNECTION = 7
SERVER: dict[str, Any] = {"pid": 900, "tid": 901, "comm": b"server"}
_ROOM = 96
"""Where the second of two names starts in ``extra``."""


def event(kind: Kind, ns: int, **members: Any) -> Records:
    """One event. Bytes are padded to their field; ``header`` and ``extra`` set the size of what is valid."""
    record = np.zeros(1, RECORD)
    known: dict[str, Any] = {"kind": kind, "ns": ns, "queue": NO_QUEUE, "connection": CONNECTION} | members
    for name in ("header", "extra"):
        if name in known:
            known.setdefault(f"{name}_size", len(known[name]))
    for name, value in known.items():
        record[name] = np.void(value.ljust(RECORD[name].itemsize, b"\0")) if isinstance(value, bytes) else value
    return record


def queued(unique: int, ns: int, opcode: int = Opcode.GETATTR, **members: Any) -> Records:
    """A client asks: process 40, thread 41, on CPU 3."""
    known: dict[str, Any] = {"pid": 40, "tid": 41, "client_tid": 41, "comm": b"client", "cpu": 3, "node_id": 5}
    known |= {"flags": Flag.CURRENT_IS_CLIENT}
    return event(Kind.QUEUED, ns, **({"unique": unique, "opcode": opcode} | known | members))


def delivered(unique: int, ns: int, opcode: int = Opcode.GETATTR, **members: Any) -> Records:
    """Entry 0xE0 of queue 3 brings it to the server."""
    known: dict[str, Any] = {"entry": 0xE0, "queue": 3, "transport": Transport.URING, "commit_id": unique, "node_id": 5}
    known |= {"client_tid": 41, "flags": 0}
    return event(Kind.DELIVERED, ns, **({"unique": unique, "opcode": opcode} | known | SERVER | members))


def committed(unique: int, ns: int, opcode: int = Opcode.GETATTR, payload_size: int = 0, **members: Any) -> Records:
    """The server replies with so many bytes of payload."""
    known: dict[str, Any] = {"entry": 0xE0, "queue": 3, "transport": Transport.URING, "commit_id": unique, "node_id": 5}
    known |= {"flags": Flag.HEADER_FROM_SERVER, "header": reply_header(payload_size, unique)}
    return event(Kind.COMMITTED, ns, **({"unique": unique, "opcode": opcode} | known | SERVER | members))


def ended(unique: int, ns: int, opcode: int = Opcode.GETATTR, error: int = 0, **members: Any) -> Records:
    """The client may go on."""
    known: dict[str, Any] = {
        "queue": 3,
        "transport": Transport.URING,
        "node_id": 5,
        "client_tid": 41,
        "flags": Flag.HAS_ERROR,
    }
    return event(
        Kind.ENDED,
        ns,
        **({"unique": unique, "opcode": opcode, "error": error, "length": 16} | known | SERVER | members),
    )


def whole(unique: int, ns: int, opcode: int = Opcode.GETATTR, *, error: int = 0, **place: Any) -> list[Records]:
    """The four events of a request: at ``ns``, 10, 110 and 115 nanoseconds later."""
    cpu = {"cpu": place["queue"]} if "queue" in place else {}
    connection = {"connection": place["connection"]} if "connection" in place else {}
    return [
        queued(unique, ns, opcode, **cpu, **connection),
        delivered(unique, ns + 10, opcode, **place),
        committed(unique, ns + 110, opcode, **place),
        ended(
            unique, ns + 115, opcode, error, **{name: place[name] for name in ("queue", "connection") if name in place}
        ),
    ]


def batch(*parts: Records) -> Records:
    """One batch of them all."""
    return np.concatenate([np.empty(0, RECORD), *parts])


def after_loss(events: Records, count: int) -> Records:
    """The batch of a time in which so many others were lost."""
    if not count:
        return events
    begin, end = (int(events["ns"].min()), int(events["ns"].max())) if len(events) else (0, 0)
    return batch(lost_record(begin, end, count, cpu=0), events)


def reply_header(payload_size: int, unique: int = 0) -> bytes:
    """``fuse_uring_req_header`` as a server commits it."""
    return bytes(256) + struct.pack("<QQIIQ", 0, unique, payload_size, 0, 0)


def operation_header(operation: bytes) -> bytes:
    """The ``header`` of QUEUED or ENDED: what the operation says of its own."""
    return bytes(OPERATION_OFFSET) + operation


def read_in(offset: int, size: int) -> bytes:
    """``header`` with a ``fuse_read_in``; a ``fuse_write_in`` begins alike."""
    return operation_header(struct.pack("<QQIIQII", 1, offset, size, 0, 0, 0, 0))


def entry_out(node: int, *, generation: int = 0, mode: int = 0o100644, links: int = 2) -> bytes:
    """``fuse_entry_out``; with two links, so that nothing follows from their number."""
    return struct.pack("<QQ84xII20x", node, generation, mode, links)


def found(unique: int, ns: int, opcode: int, directory: int, name: bytes, node: int, **members: Any) -> Records:
    """The end of a request after which a name leads to an inode; ``reply``: its ``fuse_entry_out`` if another one."""
    reply = members.pop("reply", entry_out(node))
    known: dict[str, Any] = {"node_id": directory, "header": operation_header(reply)} | one_name(name)
    return ended(unique, ns, opcode, **(known | members))


def removed(unique: int, ns: int, directory: int, name: bytes, **members: Any) -> Records:
    """The end of UNLINK, or of another ``opcode`` that removes a name."""
    return ended(unique, ns, **({"opcode": Opcode.UNLINK, "node_id": directory} | one_name(name) | members))


def renamed(
    unique: int, ns: int, old: tuple[int, bytes], new: tuple[int, bytes], flags: int | None = None, **members: Any
) -> Records:
    """The end of RENAME, or of RENAME2 if there are flags."""
    header = bytes(ARGUMENT_OFFSET) + struct.pack("<QII", new[0], flags or 0, 0)
    known: dict[str, Any] = {"node_id": old[0], "header": header.ljust(OPERATION_OFFSET, b"\0")} | two_names(
        old[1], new[1]
    )
    opcode = Opcode.RENAME if flags is None else Opcode.RENAME2
    return ended(unique, ns, opcode, **(known | members))


def one_name(name: bytes) -> dict[str, Any]:
    """Members of a QUEUED that brings a name."""
    return {"extra": name + b"\0"}


def two_names(first: bytes, second: bytes) -> dict[str, Any]:
    """Members of a QUEUED that brings two names."""
    return {"extra": (first + b"\0").ljust(_ROOM, b"\0") + second + b"\0", "second": _ROOM}
