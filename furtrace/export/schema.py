"""The JSON Schema of what furtrace writes as JSON lines.

It says no more than that the members are there, of which type each is, and which may be null: furtrace-live(1) explains
them.
"""

from typing import Any, Final

from furtrace.export.codes import FOUND, FUNCTIONS, TIMES, TRANSPORTS
from furtrace.model.zerocopy import CopiedBecause
from furtrace.trace.record import EVENTS

_Schema = dict[str, Any]

_BOOLEAN: Final[_Schema] = {"type": "boolean"}
_TEXT: Final[_Schema] = {"type": "string"}
_HEX: Final[_Schema] = {"type": "string", "pattern": "^([0-9a-f]{2})+$"}
_ANY_OBJECT: Final[_Schema] = {"type": "object"}
_TIME: Final[_Schema] = {"type": "integer", "minimum": 1}
_COUNT: Final[_Schema] = {"type": "integer", "minimum": 0}
_ERROR: Final[_Schema] = {"type": "integer", "minimum": -(1 << 31), "maximum": (1 << 31) - 1}
_U16: Final[_Schema] = {"type": "integer", "minimum": 0, "maximum": (1 << 16) - 1}
_U32: Final[_Schema] = {"type": "integer", "minimum": 0, "maximum": (1 << 32) - 1}
_U64: Final[_Schema] = {"type": "integer", "minimum": 0, "maximum": (1 << 64) - 1}


def schema() -> _Schema:
    """A schema of one line: a request, an event, or the summary, each also by its name under ``$defs``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of furtrace export --to json, furtrace replay --json and furtrace live --json",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in ("request", "event", "summary")],
        "$defs": {
            "request": _object("A request that ended, or is under way at the end.", _REQUEST, "request"),
            "event": _object("An event of the protocol.", _EVENT, "event"),
            "summary": _object("The last line: what all came to.", _SUMMARY, "summary"),
            "pool": _object("A queue's pool of buffers, and its zero-copy.", _POOL),
            "held": _object("A buffer that is in use.", _HOLDING | {"offset": _U32}),
            "slot": _object("A slot that is in use.", _HOLDING | {"bytes": _or_null(_U32)}),
        },
    }


def _object(description: str, members: _Schema, type_: str | None = None) -> _Schema:
    """An object that has exactly these members."""
    properties = ({"type": {"const": type_}} if type_ else {}) | members
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _or_null(one: _Schema) -> _Schema:
    if "enum" in one:
        return {"enum": [*one["enum"], None]}
    return one | {"type": [one["type"], "null"]}


def _one_of(*values: str) -> _Schema:
    return {"enum": list(values)}


def _list_of(items: _Schema) -> _Schema:
    return {"type": "array", "items": items}


_REASONS: Final = [
    reason.name.lower()
    for reason in CopiedBecause
    if reason not in (CopiedBecause.NOT_APPLICABLE, CopiedBecause.ZERO_COPIED)
]
_TRANSPORT: Final = _or_null(_one_of(*TRANSPORTS.values()))
_REQUEST: Final = {
    "unique": _U64,
    "op": _TEXT,
    "opcode": _U32,
    "error": _or_null(_ERROR),
    "connection": _U32,
    "transport": _TRANSPORT,
    "queue": _or_null(_U32),
    "entry": _or_null(_COUNT),
    "commit_id": _or_null(_U64),
    "node_id": _U64,
    "path": _or_null(_TEXT),
    "path_sure": _BOOLEAN,
    "path_deleted": _BOOLEAN,
    "other_path": _or_null(_TEXT),
    "arguments": _or_null(_ANY_OBJECT),
    "answer": _or_null(_ANY_OBJECT),
    "names": _list_of(_TEXT),
    "names_cut": _BOOLEAN,
    "background": _BOOLEAN,
    "client_pid": _or_null(_U32),
    "client_tid": _or_null(_U32),
    "client_comm": _or_null(_TEXT),
    "server_pid": _or_null(_U32),
    "server_tid": _or_null(_U32),
    "server_comm": _or_null(_TEXT),
    **{step: _or_null(_TIME) for step in TIMES},
    "found": _or_null(_one_of(*FOUND.values())),
    "made_ns": _or_null(_TIME),
    "reply_size": _or_null(_COUNT),
    "moved": _or_null(_COUNT),
    "uncertain": _BOOLEAN,
    "buffer": _or_null(_COUNT),
    "buffer_offset": _or_null(_U32),
    "buffer_waits": _U16,
    "slot": _or_null(_U16),
    "page_bytes": _or_null(_COUNT),
    "segments": _or_null(_U32),
    "fixed_bytes": _or_null(_COUNT),
    "fixed_ios": _U16,
    "zero_copied": _or_null(_BOOLEAN),
    "copied_because": _or_null(_one_of(*(reason for reason in _REASONS if reason != "unknown"))),
}
_EVENT: Final = {
    "ns": _TIME,
    "event": _one_of(*(kind.name for kind in EVENTS)),
    "connection": _U32,
    "transport": _TRANSPORT,
    "queue": _or_null(_U32),
    "unique": _or_null(_U64),
    "commit_id": _or_null(_U64),
    "opcode": _or_null(_U32),
    "op": _or_null(_TEXT),
    "command": _or_null(_TEXT),
    "error": _or_null(_ERROR),
    "step": _or_null(_one_of(*FUNCTIONS.values())),
    "header_part": _or_null(_TEXT),
    "entry": _or_null(_U64),
    "buffer": _or_null(_U32),
    "offset": _or_null(_U32),
    "buffers": _or_null(_U32),
    "buffers_free": _or_null(_U32),
    "slot": _or_null(_U16),
    "segments": _or_null(_U32),
    "readable": _or_null(_BOOLEAN),
    "writable": _or_null(_BOOLEAN),
    "io": _or_null(_TEXT),
    "bytes": _or_null(_U32),
    "asked": _or_null(_U32),
    "pid": _U32,
    "tid": _U32,
    "comm": _TEXT,
    "cqe_overflow": _BOOLEAN,
    "lost": _or_null(_COUNT),
    "lost_until_ns": _or_null(_TIME),
    "lost_cpu": _or_null(_U16),
    "header": _or_null(_HEX),
    "extra": _or_null(_HEX),
}
_HOLDING: Final = {
    "number": _COUNT,
    "entry": _U64,
    "unique": _or_null(_U64),
    "since_ns": _TIME,
    "kept": _BOOLEAN,
    "ended_ns": _or_null(_TIME),
}
_POOL: Final = {
    "connection": _U32,
    "queue": _U32,
    "pooled": _BOOLEAN,
    "buffers": _or_null(_U32),
    "free": _or_null(_U32),
    "in_use": _COUNT,
    "in_use_counted": _BOOLEAN,
    "peak": _COUNT,
    "selected": _or_null(_COUNT),
    "recycled": _or_null(_COUNT),
    "dry": _or_null(_COUNT),
    "dry_since_ns": _or_null(_TIME),
    "waiting": _or_null(_COUNT),
    "registered": _or_null(_COUNT),
    "failed": _or_null(_COUNT),
    "zero_copied": _COUNT,
    "zero_copied_bytes": _COUNT,
    "copied_because": {"type": "object", "propertyNames": {"enum": _REASONS}, "additionalProperties": _COUNT},
    "held": _list_of({"$ref": "#/$defs/held"}),
    "slots": _list_of({"$ref": "#/$defs/slot"}),
}
_SUMMARY: Final = {
    "requests": _COUNT,
    "errors": _COUNT,
    "unfinished": _COUNT,
    "events": _COUNT,
    "lost": _COUNT,
    "lost_by_cpu": _list_of(_COUNT),
    "passed_over": _COUNT,
    "forgotten": _COUNT,
    "refused": _COUNT,
    "stopped": _COUNT,
    "cqe_overflows": _COUNT,
    "pools": _list_of({"$ref": "#/$defs/pool"}),
    "elapsed_ns": _COUNT,
}
