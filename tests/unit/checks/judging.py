"""What checks say of events made by hand."""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from furtrace.checks.checker import Checker
from furtrace.checks.findings import Finding
from furtrace.checks.seen import Limits
from furtrace.model.conversation import Conversation
from furtrace.model.found import found_requests
from furtrace.model.snapshot import Snapshot
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import HEADER_SIZE, Flag, Kind, Records
from furtrace.wire.opcodes import Opcode
from tests.unit.events import batch, committed, delivered, ended, event, queued, reply_header

SECOND = 1_000_000_000
CPUS = 4


def judged(
    *events: Records,
    until: int | None = None,
    cpus: int = CPUS,
    filters: str = "",
    dialect: str = "plain",
    alive: Callable[[int], bool] | None = None,
    begun: Snapshot | None = None,
) -> list[Finding]:
    """All findings, the trace's end at ``until`` or at its last event; ``begun``: how it found its connection."""
    info = TraceInfo("6.18", dialect, "tracepoints", 0, cpus=cpus, filters=filters)
    conversation = Conversation()
    if begun is not None:
        conversation.add_found(begun, found_requests(begun, lambda _tid: None))
    checker = Checker(info, conversation, Limits(), alive)
    found = list(checker.feed(batch(*events)))
    if until is not None:
        found += checker.tick(until)
    return found + list(checker.end())


def rules(*events: Records, **how: Any) -> list[str]:
    """The rules that are broken, in the order in which that was found."""
    return [finding.rule.id for finding in judged(*events, **how)]


def out_header(unique: int, error: int = 0, payload_size: int = 0) -> bytes:
    """A header slot as the server commits it: ``fuse_out_header`` and ``payload_sz``."""
    whole = bytearray(reply_header(payload_size, unique))
    whole[:16] = struct.pack("<IiQ", 16 + payload_size, error, unique)
    return bytes(whole)


def replied(unique: int, ns: int, opcode: int = Opcode.GETATTR, **reply: Any) -> Records:
    """A COMMITTED with a reply: ``given`` is its unique if it is another one; then its error and size of payload."""
    given = reply.pop("given", unique)
    error, size = reply.pop("error", 0), reply.pop("size", 0)
    flags = Flag.HEADER_FROM_SERVER | Flag.HAS_ERROR
    return committed(unique, ns, opcode, flags=flags, error=error, header=out_header(given, error, size), **reply)


def conversation(unique: int, ns: int, opcode: int, *, end: int = 0, asked: bytes = b"", **reply: Any) -> list[Records]:
    """A request with this reply, which the kernel ends with ``end``."""
    return [
        queued(unique, ns, opcode, header=asked) if asked else queued(unique, ns, opcode),
        delivered(unique, ns + 10, opcode),
        replied(unique, ns + 100, opcode, **reply),
        ended(unique, ns + 110, opcode, end),
    ]


def refused(ns: int, command_op: int, error: int, **members: Any) -> Records:
    """The kernel refuses a command."""
    known = {"queue": 3, "command": 0xC0, "user_data": 5, "flags": Flag.HAS_ERROR}
    return event(Kind.REFUSED, ns, **({"command_op": command_op, "error": error} | known | members))


def repeated(events: list[Records], count: int, step: int) -> Records:
    """The events of one request, made those of so many, each ``step`` ns after the one before, on its queue's CPU."""
    one = batch(*events)
    one["cpu"] = one["queue"]
    numbers = np.repeat(np.arange(count, dtype=np.uint64), len(one))
    many: Records = np.tile(one, count)
    many["ns"] += numbers * np.uint64(step)
    for name in ("unique", "commit_id"):
        many[name] += np.where(many[name] != 0, numbers * np.uint64(2), 0).astype(np.uint64)
    # The server's header slot has the unique as well, at 8 of its fuse_out_header.
    heads = many["header"].copy().view(np.uint8).reshape(len(many), HEADER_SIZE)
    with_header = many["header_size"] != 0
    heads[with_header, 8:16] = many["unique"][with_header].view(np.uint8).reshape(-1, 8)
    many["header"] = heads.view(many["header"].dtype)[:, 0]
    return many
