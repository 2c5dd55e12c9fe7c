"""JSON lines: an object a request, or an event, and a summary at the end. null is what is not known.

Times are CLOCK_MONOTONIC in nanoseconds.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any, Final

import numpy as np

from furtrace.model.conversation import Conversation
from furtrace.model.inodes import Path
from furtrace.model.paths import Subject
from furtrace.trace.record import NO_QUEUE, Flag, Kind, Transport, comm, names
from furtrace.wire.bodies import REPLIES, REQUESTS
from furtrace.wire.opcodes import command_name, opcode_name

_TRANSPORTS: Final = {Transport.URING: "uring", Transport.DEV: "dev"}


def _known(value: int, unknown: int = 0) -> int | None:
    return None if value == unknown else value


def _text(name: bytes) -> str:
    """The exact name: bytes that are not UTF-8 become lone surrogates (PEP 383), which JSON carries as escapes."""
    return name.decode("utf-8", "surrogateescape")


def _path(path: Path | None) -> str | None:
    return _text(path.raw) if path is not None and path.known else None


def _value(value: Any) -> Any:
    """A field as JSON has it: a structure within as an object, bytes in hex."""
    if is_dataclass(value):
        return {field.name: _value(getattr(value, field.name)) for field in fields(value)}
    return value.hex() if isinstance(value, bytes) else value


def _arguments(row: np.void) -> dict[str, Any] | None:
    """The operation's structure, by the kernel's names of its fields; None if there is none or it is not known."""
    body = REQUESTS.get(int(row["opcode"]))
    size = int(row["operation_size"])
    forms = (*body.structures[:1], *body.shorter) if body else ()
    form = next((form for form in forms if form.size <= size), None)
    fields_of: dict[str, Any] | None = _value(form.unpack(row["operation"].tobytes())) if form else None
    return fields_of


def _answer(row: np.void) -> dict[str, Any] | None:
    """The first fields of the reply's first structure, as many as the trace keeps of it."""
    body, size = REPLIES.get(int(row["opcode"])), int(row["answer_size"])
    if not size or body is None or not body.structures:
        return None
    structure = body.structures[0]
    value = _value(structure.unpack(row["answer"].tobytes().ljust(structure.size, b"\0")))
    return {one.name: value[one.attribute] for one in structure.members if one.offset + one.size <= size}


def request_object(row: np.void, subject: Subject) -> dict[str, Any]:
    """A request, ended or under way; ``subject``: what it is about (:class:`~furtrace.model.paths.Paths`)."""
    ended = bool(row["ended_ns"])
    found = names(row["name"].tobytes(), int(row["name_size"]), int(row["second"]))
    return {
        "type": "request",
        "unique": int(row["unique"]),
        "op": opcode_name(int(row["opcode"])),
        "opcode": int(row["opcode"]),
        "error": int(row["error"]) if ended else None,
        "connection": int(row["connection"]),
        "transport": _TRANSPORTS.get(Transport(int(row["transport"]))),
        "queue": _known(int(row["queue"]), NO_QUEUE),
        "entry": _known(int(row["entry_index"]), -1),
        "commit_id": _known(int(row["commit_id"])),
        "node_id": int(row["node_id"]),
        "path": _path(subject.path),
        "path_sure": subject.path.sure,
        "path_deleted": subject.path.deleted,
        "other_path": _path(subject.other),
        "arguments": _arguments(row),
        "answer": _answer(row),
        "names": [_text(name) for name in found],
        "names_cut": bool(row["flags"] & Flag.NAME_CUT),
        "background": bool(row["flags"] & Flag.BACKGROUND),
        "client_pid": _known(int(row["client_pid"])),
        "client_tid": _known(int(row["client_tid"])),
        "client_comm": _text(comm(row["client_comm"].tobytes())) or None,
        "server_pid": _known(int(row["server_pid"])),
        "server_tid": _known(int(row["server_tid"])),
        "server_comm": _text(comm(row["server_comm"].tobytes())) or None,
        "queued_ns": _known(int(row["queued_ns"])),
        "assigned_ns": _known(int(row["assigned_ns"])),
        "delivered_ns": _known(int(row["delivered_ns"])),
        "committed_ns": _known(int(row["committed_ns"])),
        "ended_ns": _known(int(row["ended_ns"])),
        "reply_size": _known(int(row["reply_size"]), -1),
        "moved": _known(int(row["moved"]), -1),
        "uncertain": bool(row["uncertain"]),
    }


def event_object(event: np.void) -> dict[str, Any]:
    """An event; ``header`` and ``extra`` in hex, as far as they are valid."""
    flags = int(event["flags"])
    return {
        "type": "event",
        "ns": int(event["ns"]),
        "event": Kind(event["kind"]).name,
        "connection": int(event["connection"]),
        "transport": _TRANSPORTS.get(Transport(int(event["transport"]))),
        "queue": _known(int(event["queue"]), NO_QUEUE),
        "unique": _known(int(event["unique"])),
        "commit_id": _known(int(event["commit_id"])),
        "opcode": _known(int(event["opcode"])),
        "op": opcode_name(int(event["opcode"])) if event["opcode"] else None,
        "command": command_name(int(event["command_op"])) if event["command_op"] else None,
        "error": int(event["error"]) if flags & Flag.HAS_ERROR else None,
        "pid": int(event["pid"]),
        "tid": int(event["tid"]),
        "comm": _text(comm(event["comm"].tobytes())),
        "cqe_overflow": bool(flags & Flag.CQE_OVERFLOW),
        "header": event["header"].tobytes()[: int(event["header_size"])].hex() or None,
        "extra": event["extra"].tobytes()[: int(event["extra_size"])].hex() or None,
    }


def json_lines(objects: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Each object on a line of its own."""
    for item in objects:
        yield json.dumps(item, separators=(",", ":"))


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
        "forgotten": conversation.requests.forgotten,
        "refused": conversation.refused,
        "stopped": conversation.stopped,
        "cqe_overflows": conversation.overflows,
        "elapsed_ns": elapsed_ns,
    }
