"""Batches of events made by hand, and traffic as a busy server has it."""

from typing import Any

import numpy as np

from furtrace.trace.info import TraceInfo
from furtrace.trace.record import NO_QUEUE, RECORD, Flag, Kind, Records, Transport
from furtrace.wire.opcodes import Opcode

MS = 1_000_000
SECOND = 1_000_000_000
NOW = 1000 * SECOND
CONNECTION = 54


def info(**changes: Any) -> TraceInfo:
    """A setting of a trace."""
    known: dict[str, Any] = {
        "kernel": "7.3.0-test",
        "dialect": "bufpool",
        "vantage": "tracepoints",
        "realtime_offset_ns": 0,
        "mounts": {CONNECTION: "/mnt/demo"},
    }
    return TraceInfo(**(known | changes))


def event(kind: Kind, unique: int, ns: int, **members: Any) -> Records:
    """One event; bytes are put into ``comm`` and ``extra`` (with ``extra_size``) as they are."""
    record = np.zeros(1, RECORD)
    record["queue"] = NO_QUEUE
    record["kind"], record["unique"], record["ns"], record["connection"] = kind, unique, ns, CONNECTION
    extra = members.get("extra")
    if extra is not None:
        record["extra_size"] = len(extra)
    for name, value in members.items():
        padded = value.ljust(RECORD[name].itemsize, b"\0") if isinstance(value, bytes) else value
        record[name] = np.void(padded) if isinstance(value, bytes) else padded
    return record


def queued(unique: int, ns: int, opcode: int = Opcode.READ, **members: Any) -> Records:
    """A client asks."""
    members = {"pid": 4711, "tid": 4711, "comm": b"cat", "cpu": 3, "node_id": 17} | members
    return event(Kind.QUEUED, unique, ns, opcode=opcode, flags=int(Flag.CURRENT_IS_CLIENT), **members)


def delivered(unique: int, ns: int, opcode: int = Opcode.READ, **members: Any) -> Records:
    """An entry of the ring brings it to the server."""
    members = {"entry": 0xFFFF0000 + unique, "queue": 3, "pid": 900, "comm": b"server", "node_id": 17} | members
    return event(Kind.DELIVERED, unique, ns, opcode=opcode, transport=Transport.URING, **members)


def committed(unique: int, ns: int, opcode: int = Opcode.READ, **members: Any) -> Records:
    """The server replies."""
    members = {"flags": int(Flag.HEADER_FROM_SERVER), "header_size": 288} | members
    members = {"entry": 0xFFFF0000 + unique, "queue": 3, "pid": 900, "comm": b"server", "node_id": 17} | members
    return event(Kind.COMMITTED, unique, ns, opcode=opcode, transport=Transport.URING, **members)


def ended(unique: int, ns: int, opcode: int = Opcode.READ, **members: Any) -> Records:
    """The client may go on."""
    return event(Kind.ENDED, unique, ns, opcode=opcode, transport=Transport.URING, **({"node_id": 17} | members))


def whole(unique: int, ns: int, opcode: int = Opcode.READ, error: int = 0, server_ns: int = MS) -> Records:
    """A request from its beginning to its end: it waits 100 us, and the server takes ``server_ns``."""
    taken = ns + MS // 10
    done = taken + server_ns
    return batch(
        queued(unique, ns, opcode),
        delivered(unique, taken, opcode),
        committed(unique, done, opcode),
        ended(unique, done + 1000, opcode, error=error),
    )


def made(node: int, name: bytes, ns: int = NOW - 9 * SECOND) -> Records:
    """A directory is made in the root."""
    reply = bytes(128) + node.to_bytes(8, "little").ljust(128, b"\0")
    return ended(2, ns, Opcode.MKDIR, node_id=1, extra=name + b"\0", header=reply, header_size=len(reply))


def batch(*parts: Records) -> Records:
    """One batch of them all."""
    return np.concatenate(parts)


_OPCODES = (
    *(Opcode.READ,) * 8,
    *(Opcode.WRITE,) * 4,
    *(Opcode.LOOKUP, Opcode.GETATTR) * 2,
    *(Opcode.OPEN, Opcode.RELEASE, Opcode.FLUSH, Opcode.READDIRPLUS, Opcode.GETXATTR, Opcode.CREATE, Opcode.UNLINK),
)


class Traffic:
    """Requests of many clients and kinds on eight queues, a batch at a time; the last ones are still under way."""

    def __init__(self, seed: int = 1, queues: int = 8) -> None:
        self._random = np.random.default_rng(seed)
        self._queues = queues
        self._unique = 2
        self._late = np.empty(0, RECORD)

    def next(self, begin_ns: int, end_ns: int, requests: int) -> Records:
        """Events of ``requests`` new requests between two times, and what of older ones happens until then."""
        rows = self._requests(requests)
        queued_ns = np.sort(self._random.integers(begin_ns, end_ns, requests))
        steps = [queued_ns]
        for scale in (20_000, 150_000, 5_000):
            steps.append(steps[-1] + 1000 + self._random.exponential(scale, requests).astype(np.int64))
        events = [rows.copy() for _ in range(4)]
        kinds = (Kind.QUEUED, Kind.DELIVERED, Kind.COMMITTED, Kind.ENDED)
        for part, kind, ns in zip(events, kinds, steps, strict=True):
            part["kind"], part["ns"] = kind, ns
        asked, _, replied, _ = events
        asked["flags"], asked["entry"], asked["queue"] = Flag.CURRENT_IS_CLIENT, 0, NO_QUEUE
        replied["flags"], replied["header_size"] = Flag.HEADER_FROM_SERVER, 288
        for part in events[1:]:
            part["transport"] = Transport.URING
        every = np.concatenate([self._late, *events])
        every = every[np.argsort(every["ns"], kind="stable")]
        self._late = every[every["ns"] >= end_ns]
        return every[every["ns"] < end_ns]

    def _requests(self, requests: int) -> Records:
        rows = np.zeros(requests, RECORD)
        rows["unique"] = self._unique + 2 * np.arange(requests)
        self._unique += 2 * requests
        rows["connection"] = CONNECTION
        rows["opcode"] = self._random.choice(_OPCODES, requests)
        rows["node_id"] = self._random.integers(1, 1000, requests)
        rows["queue"] = rows["cpu"] = self._random.integers(0, self._queues, requests)
        rows["entry"] = (
            0xFFFF0000 + rows["queue"].astype(np.uint64) * 16 + self._random.integers(0, 16, requests).astype("u8")
        )
        rows["pid"] = rows["tid"] = self._random.integers(2000, 2050, requests)
        rows["error"] = np.where(self._random.random(requests) < 0.01, -2, 0)
        rows["comm"] = np.void(b"fio".ljust(16, b"\0"))
        rows["extra"] = np.void(b"file.dat".ljust(192, b"\0"))
        rows["extra_size"] = 9
        return rows
