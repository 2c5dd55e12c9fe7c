"""JSON lines: an object a request, or an event, and a summary at the end. null is what is not known.

Times are CLOCK_MONOTONIC in nanoseconds.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields, is_dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

from furtrace.export.codes import FOUND, FUNCTIONS, KINDS, TIMES, TRANSPORTS
from furtrace.model.conversation import Conversation
from furtrace.model.inodes import Path
from furtrace.model.paths import Subject
from furtrace.model.pools import Holding, Pool
from furtrace.model.requests import REQUEST, Requests_
from furtrace.model.zerocopy import CopiedBecause, copied_because
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import NO_CPU, NO_QUEUE, NOT_COUNTED, RECORD, Flag, Kind, Step, comm, names
from furtrace.wire.bodies import REPLIES, REQUESTS
from furtrace.wire.opcodes import command_name, fixed_io_name, header_part_name, opcode_name

_Members = dict[str, Any]
"""A record or row by the names of its members, its bytes as bytes."""


def _known(value: int, unknown: int = 0) -> int | None:
    return None if value == unknown else value


def _text(name: bytes) -> str:
    """The exact name: bytes that are not UTF-8 become lone surrogates (PEP 383), which JSON carries as escapes."""
    return name.decode("utf-8", "surrogateescape")


def _path(path: Path | None) -> str | None:
    return _text(path.raw) if path is not None and path.known else None


def _value(value: Any) -> Any:
    """A field as JSON has it: a structure within as an object, bytes in hex."""
    if type(value) is int:  # as most are
        return value
    names_of = _field_names(value.__class__)
    if names_of is not None:
        return {name: _value(getattr(value, name)) for name in names_of}
    return value.hex() if isinstance(value, bytes) else value


@lru_cache
def _field_names(kind: Any) -> tuple[str, ...] | None:
    """Names of a structure's fields; None: it is none."""
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else None


def _arguments(row: _Members) -> dict[str, Any] | None:
    """The operation's structure, by the kernel's names of its fields; None if there is none or it is not known."""
    body, size = REQUESTS.get(row["opcode"]), row["operation_size"]
    forms = (*body.structures[:1], *body.shorter) if body else ()
    form = next((form for form in forms if form.size <= size), None)
    fields_of: dict[str, Any] | None = _value(form.unpack(row["operation"])) if form else None
    return fields_of


def _answer(row: _Members) -> dict[str, Any] | None:
    """The first fields of the reply's first structure, as many as the trace keeps of it."""
    body, size = REPLIES.get(row["opcode"]), row["answer_size"]
    if not size or body is None or not body.structures:
        return None
    structure = body.structures[0]
    value = _value(structure.unpack(row["answer"].ljust(structure.size, b"\0")))
    return {one.name: value[one.attribute] for one in structure.members if one.offset + one.size <= size}


def request_objects(rows: Requests_, subjects: Iterable[Subject]) -> Iterator[dict[str, Any]]:
    """Requests, ended or under way, each with what it is about (:class:`~furtrace.model.paths.Paths`)."""
    # All members at once: one by one, as a numpy scalar gives them, they cost ten times as much.
    for members, subject, reason in zip(rows.tolist(), subjects, copied_because(rows).tolist(), strict=True):
        yield _request(dict(zip(_COLUMNS, members, strict=True)), subject) | _WHY_COPIED[reason]


def _request(row: _Members, subject: Subject) -> dict[str, Any]:
    return {
        "type": "request",
        "unique": row["unique"],
        "op": opcode_name(row["opcode"]),
        "opcode": row["opcode"],
        "error": row["error"] if row["ended_ns"] else None,
        "connection": row["connection"],
        "transport": TRANSPORTS.get(row["transport"]),
        "queue": _known(row["queue"], NO_QUEUE),
        "entry": _known(row["entry_index"], -1),
        "commit_id": _known(row["commit_id"]),
        "node_id": row["node_id"],
        "path": _path(subject.path),
        "path_sure": subject.path.sure,
        "path_deleted": subject.path.deleted,
        "other_path": _path(subject.other),
        "arguments": _arguments(row),
        "answer": _answer(row),
        "names": [_text(name) for name in names(row["name"], row["name_size"], row["second"])],
        "names_cut": bool(row["flags"] & _NAME_CUT),
        "background": bool(row["flags"] & _BACKGROUND),
        "client_pid": _known(row["client_pid"]),
        "client_tid": _known(row["client_tid"]),
        "client_comm": _text(comm(row["client_comm"])) or None,
        "server_pid": _known(row["server_pid"]),
        "server_tid": _known(row["server_tid"]),
        "server_comm": _text(comm(row["server_comm"])) or None,
        **{step: _known(row[step]) for step in TIMES},
        "found": FOUND.get(row["found"]),
        "made_ns": _known(row["made_ns"]),
        "reply_size": _known(row["reply_size"], -1),
        "moved": _known(row["moved"], -1),
        "uncertain": row["uncertain"],
        "buffer": _known(row["buffer_id"], -1),
        "buffer_offset": row["pool_offset"] if row["buffer_id"] >= 0 else None,
        "buffer_waits": row["buffer_waits"],
        "slot": _known(row["slot"], -1),
        "page_bytes": _known(row["page_bytes"], -1),
        "segments": _known(row["segments"]),
        "fixed_bytes": _known(row["fixed_bytes"], -1),
        "fixed_ios": row["fixed_ios"],
    }


_COLUMNS: Final = REQUEST.names or ()
_NAME_CUT, _BACKGROUND = int(Flag.NAME_CUT), int(Flag.BACKGROUND)


def _why_copied(reason: CopiedBecause) -> dict[str, Any]:
    """Whether it was zero-copied, and why not; None: not known, or nobody asked for it."""
    known = reason not in (CopiedBecause.NOT_APPLICABLE, CopiedBecause.UNKNOWN)
    zero_copied = reason == CopiedBecause.ZERO_COPIED
    return {
        "zero_copied": None if reason == CopiedBecause.UNKNOWN else zero_copied,
        "copied_because": reason.name.lower() if known and not zero_copied else None,
    }


_WHY_COPIED: Final = {int(reason): _why_copied(reason) for reason in CopiedBecause}


def event_object(record: np.void) -> dict[str, Any]:
    """An event; ``header`` and ``extra`` in hex, as far as they are valid."""
    # As for requests: all members at once.
    event: _Members = dict(zip(_MEMBERS, record.item(), strict=True))
    flags = event["flags"]
    return {
        "type": "event",
        "ns": event["ns"],
        "event": KINDS[event["kind"]],
        "connection": event["connection"],
        "transport": TRANSPORTS.get(event["transport"]),
        "queue": _known(event["queue"], NO_QUEUE),
        "unique": _known(event["unique"]),
        "commit_id": _known(event["commit_id"]),
        "opcode": _known(event["opcode"]),
        "op": opcode_name(event["opcode"]) if event["opcode"] else None,
        "command": _command(event),
        "error": event["error"] if flags & _HAS_ERROR else None,
        "step": _function(event),
        "header_part": header_part_name(event["command_op"]) if _is_copy(event) else None,
        **_ring(event),
        "pid": event["pid"],
        "tid": event["tid"],
        "comm": _text(comm(event["comm"])),
        "cqe_overflow": bool(flags & _CQE_OVERFLOW),
        **_loss(event),
        "header": event["header"][: event["header_size"]].hex() or None,
        "extra": event["extra"][: event["extra_size"]].hex() or None,
    }


_MEMBERS: Final = RECORD.names or ()
# Plain numbers: an operation with an IntFlag makes an object of its class.
_HAS_ERROR, _CQE_OVERFLOW, _HAS_BUFFER, _HAS_SLOT, _READABLE, _WRITABLE = (
    *(int(Flag.HAS_ERROR), int(Flag.CQE_OVERFLOW), int(Flag.HAS_BUFFER)),
    *(int(Flag.HAS_SLOT), int(Flag.PAGES_READABLE), int(Flag.PAGES_WRITABLE)),
)


def _loss(event: _Members) -> dict[str, Any]:
    """Of LOST: how many events, until when, and on which CPU they found no room; None there: no probe was run."""
    if event["kind"] != Kind.LOST:
        return _NO_LOSS
    return {"lost": event["length"], "lost_until_ns": event["user_data"], "lost_cpu": _known(event["cpu"], NO_CPU)}


_NO_LOSS: Final = {"lost": None, "lost_until_ns": None, "lost_cpu": None}


def _is_copy(event: _Members) -> bool:
    """A step whose ``command_op`` is a part of the header."""
    return bool(event["kind"] == Kind.STEP and event["step"] == Step.COPY_HEADER_TO_RING)


def _command(event: _Members) -> str | None:
    if event["kind"] == Kind.FIXED_IO or _is_copy(event) or not event["command_op"]:
        return None
    return command_name(event["command_op"])


def _function(event: _Members) -> str | None:
    """The kernel's function of a STEP; None also for one that is not known."""
    return FUNCTIONS.get(event["step"]) if event["kind"] == Kind.STEP else None


def _ring(event: _Members) -> dict[str, Any]:
    """Buffer, slot and I/O of an event."""
    flags = event["flags"]
    fixed, registered = event["kind"] == Kind.FIXED_IO, event["kind"] == Kind.PAGES_REGISTERED
    has_buffer, counted = flags & _HAS_BUFFER, bool(event["buffers"])
    return {
        "entry": _known(event["entry"]),
        "buffer": event["buffer_id"] if has_buffer else None,
        "offset": event["pool_offset"] if has_buffer or (fixed and event["payload_size"]) else None,
        "buffers": event["buffers"] if counted else None,
        "buffers_free": _known(event["buffers_free"], NOT_COUNTED) if counted else None,
        "slot": event["slot"] if fixed or flags & _HAS_SLOT else None,
        "segments": _known(event["segments"]) if registered else None,
        "readable": bool(flags & _READABLE) if registered else None,
        "writable": bool(flags & _WRITABLE) if registered else None,
        "io": fixed_io_name(event["command_op"]) if fixed else None,
        "bytes": event["length"] if fixed or registered else None,
        "asked": _known(event["payload_size"]) if fixed else None,
    }


def pool_object(pool: Pool) -> dict[str, Any]:
    """A queue's pool and its zero-copy at the end of a trace."""
    return {
        "connection": pool.connection,
        "queue": pool.queue,
        "pooled": pool.pooled,
        "buffers": pool.buffers,
        "free": pool.free,
        "in_use": pool.in_use,
        "in_use_counted": pool.counted,
        "peak": pool.peak,
        "selected": pool.selected if pool.watched else None,
        "recycled": pool.recycled if pool.watched else None,
        "dry": pool.dry if pool.watched else None,
        "dry_since_ns": pool.dry_since_ns,
        "waiting": pool.waiting if pool.watched else None,
        "registered": pool.registered if pool.slots_watched or pool.failed else None,
        "failed": pool.failed if pool.slots_watched or pool.failed else None,
        "zero_copied": pool.zero_copied,
        "zero_copied_bytes": pool.zero_copied_bytes,
        "copied_because": {why.name.lower(): number for why, number in pool.because.items() if why in _COPIED},
        "held": [_holding(holding) | {"offset": holding.offset} for holding in pool.held.values()],
        "slots": [_holding(holding) | {"bytes": holding.size} for holding in pool.slots.values()],
    }


_COPIED: Final = tuple(
    why for why in CopiedBecause if why not in (CopiedBecause.NOT_APPLICABLE, CopiedBecause.ZERO_COPIED)
)


def _holding(holding: Holding) -> dict[str, Any]:
    return {
        "number": holding.number,
        "entry": holding.entry,
        "unique": _known(holding.unique),
        "since_ns": holding.since_ns,
        "kept": holding.kept,
        "ended_ns": holding.ended_ns,
    }


def json_lines(objects: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Each object on a line of its own."""
    return map(_ENCODER.encode, objects)


_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))


def summary_object(conversation: Conversation, elapsed_ns: int) -> dict[str, Any]:
    """The last line of a JSON trace."""
    return {
        "type": "summary",
        "requests": conversation.ended,
        "errors": conversation.errors,
        "unfinished": len(conversation.requests.under_way),
        "events": conversation.events,
        "lost": conversation.lost,
        "lost_by_cpu": conversation.lost_by_cpu,
        "passed_over": conversation.passed_over,
        "forgotten": conversation.requests.forgotten,
        "refused": conversation.refused,
        "stopped": conversation.stopped,
        "cqe_overflows": conversation.overflows,
        "pools": [pool_object(pool) for pool in conversation.pools.table()],
        "elapsed_ns": elapsed_ns,
    }


def recording_object(info: TraceInfo) -> dict[str, Any]:
    """What is known of a recording, but its mount points, which requests tell."""
    return {name: value for name, value in asdict(info).items() if name != "mounts"}
