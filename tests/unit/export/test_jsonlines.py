"""JSON lines, field by field."""

import json
import os
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from furtrace.export.jsonlines import event_object, json_lines, request_objects, summary_object
from furtrace.model.conversation import Conversation
from furtrace.model.inodes import NO_INODE
from furtrace.model.paths import Subject
from furtrace.model.requests import new_requests
from furtrace.trace.record import NO_QUEUE, NOT_COUNTED, Flag, Kind, Records, Step, Transport, lost_record
from furtrace.wire.opcodes import Opcode
from tests.unit.events import (
    after_loss,
    batch,
    committed,
    delivered,
    ended,
    entry_out,
    event,
    found,
    one_name,
    operation_header,
    queued,
    read_in,
    removed,
    two_names,
    whole,
)

DEV_END: dict[str, Any] = {"transport": Transport.DEV, "queue": NO_QUEUE}


def _request(*parts: Records) -> dict[str, Any]:
    conversation = Conversation()
    finished = conversation.feed(batch(*parts))
    if len(finished):
        (found,) = request_objects(finished, conversation.paths.subjects(finished))
    else:
        rows = conversation.requests.under_way
        (found,) = request_objects(rows, conversation.paths.present(rows))
    return found


_OF_PATHS = ("path", "path_sure", "path_deleted", "other_path")


def _last(*parts: Records, lost: int = 0) -> dict[str, Any]:
    """The last of several requests; ``lost``: before the last batch, which is the last part."""
    conversation = Conversation()
    conversation.feed(batch(*parts[:-1]))
    finished = conversation.feed(after_loss(parts[-1], lost))
    return list(request_objects(finished, conversation.paths.subjects(finished)))[-1]


def _paths(*parts: Records, lost: int = 0) -> tuple[Any, ...]:
    found_ = _last(*parts, lost=lost)
    return tuple(found_[name] for name in _OF_PATHS)


def _through_json(item: dict[str, Any]) -> dict[str, Any]:
    (line,) = json_lines([item])
    assert "\n" not in line
    line.encode("ascii")
    back: dict[str, Any] = json.loads(line)
    return back


def test_a_request_of_which_all_is_known() -> None:
    found_ = _last(
        found(6, 900, Opcode.LOOKUP, 1, b"f", 5),
        *whole(8, 1000, Opcode.READ),
        queued(10, 1200, Opcode.READ, **one_name(b"n"), header=read_in(65536, 8192)),
        delivered(10, 1210, Opcode.READ, commit_id=11),
        committed(10, 1220, Opcode.READ, 4096, commit_id=11),
        ended(10, 1230, Opcode.READ),
    )
    assert found_ == {
        "type": "request",
        "unique": 10,
        "op": "READ",
        "opcode": 15,
        "error": 0,
        "connection": 7,
        "transport": "uring",
        "queue": 3,
        "entry": 0,
        "commit_id": 11,
        "node_id": 5,
        "path": "/f",
        "path_sure": True,
        "path_deleted": False,
        "other_path": None,
        "arguments": {
            "fh": 1,
            "offset": 65536,
            "size": 8192,
            "read_flags": 0,
            "lock_owner": 0,
            "flags": 0,
            "padding": 0,
        },
        "answer": None,
        "names": ["n"],
        "names_cut": False,
        "background": False,
        "client_pid": 40,
        "client_tid": 41,
        "client_comm": "client",
        "server_pid": 900,
        "server_tid": 901,
        "server_comm": "server",
        "queued_ns": 1200,
        "dry_ns": None,
        "selected_ns": None,
        "assigned_ns": 1200,
        "registered_ns": None,
        "delivered_ns": 1210,
        "committed_ns": 1220,
        "unregistered_ns": None,
        "ended_ns": 1230,
        "found": None,
        "made_ns": None,
        "buffer": None,
        "buffer_offset": None,
        "buffer_waits": 0,
        "slot": None,
        "page_bytes": None,
        "segments": None,
        "fixed_bytes": None,
        "fixed_ios": 0,
        "zero_copied": False,
        "copied_because": None,
        "reply_size": 4096,
        "moved": 4096,
        "uncertain": False,
    }


def test_a_request_of_which_nothing_is_known() -> None:
    known = {"type": "request", "unique": 0, "op": "OP_0", "opcode": 0, "connection": 0, "node_id": 0, "names": []}
    known |= dict.fromkeys(("names_cut", "background", "uncertain", "path_deleted"), False)
    known |= {"path_sure": True, "buffer_waits": 0, "fixed_ios": 0}
    (found_,) = request_objects(new_requests(1), [Subject(NO_INODE)])
    assert {name: value for name, value in found_.items() if value is not None} == known
    unknown = {name for name, value in found_.items() if value is None}
    assert unknown == {
        *("path", "other_path", "arguments", "answer"),
        *("error", "transport", "queue", "entry", "commit_id", "reply_size", "moved"),
        *(f"{who}_{what}" for who in ("client", "server") for what in ("pid", "tid", "comm")),
        *(f"{when}_ns" for when in ("queued", "assigned", "delivered", "committed", "ended")),
        *(f"{when}_ns" for when in ("dry", "selected", "registered", "unregistered")),
        *("buffer", "buffer_offset", "slot", "page_bytes", "segments", "fixed_bytes"),
        *("zero_copied", "copied_because", "found", "made_ns"),
    }


def test_zeroes_that_are_known() -> None:
    found_ = _request(
        queued(10, 1, Opcode.READ),
        delivered(10, 2, Opcode.READ, queue=0),
        committed(10, 3, Opcode.READ, 0, queue=0),
        ended(10, 4, Opcode.READ, queue=0),
    )
    assert [found_[name] for name in ("queue", "entry", "reply_size", "moved", "error")] == [0] * 5


def test_under_way_there_is_no_error_yet() -> None:
    assert _request(queued(10, 1))["error"] is None
    assert _request(queued(10, 1), ended(10, 2))["error"] == 0
    assert _request(queued(10, 1), ended(10, 2, error=-2))["error"] == -2


def test_by_dev() -> None:
    found_ = _request(queued(10, 1, Opcode.READ), ended(10, 2, Opcode.READ, length=20, **DEV_END))
    assert (found_["transport"], found_["queue"], found_["moved"]) == ("dev", None, 4)


def test_marks() -> None:
    found = _request(queued(10, 1, flags=Flag.BACKGROUND | Flag.NAME_CUT), ended(10, 2))
    assert (found["background"], found["names_cut"]) == (True, True)
    assert _last(queued(10, 1), ended(10, 2), lost=1)["uncertain"] is True


_NAME = st.binary(min_size=1, max_size=90).map(lambda name: name.replace(b"\0", b"x"))


@given(_NAME, _NAME)
def test_names_come_back_byte_for_byte(first: bytes, second: bytes) -> None:
    item = _request(queued(10, 1, Opcode.RENAME, **two_names(first, second)))
    assert [os.fsencode(name) for name in _through_json(item)["names"]] == [first, second]


@given(st.binary(min_size=1, max_size=15).map(lambda name: name.replace(b"\0", b"x")))
def test_task_names_come_back_byte_for_byte(comm: bytes) -> None:
    item = _through_json(_request(queued(10, 1, comm=comm), delivered(10, 2, comm=comm[::-1])))
    assert os.fsencode(item["client_comm"]) == comm
    assert os.fsencode(item["server_comm"]) == comm[::-1]
    assert os.fsencode(_through_json(event_object(queued(10, 1, comm=comm)[0]))["comm"]) == comm


def test_a_name_that_is_not_utf8_is_escaped() -> None:
    (line,) = json_lines([_request(queued(10, 1, Opcode.LOOKUP, **one_name(b"\xff\x1b\n\xc3\xa9")))])
    assert r'"names":["\udcff\u001b\n\u00e9"]' in line


def test_numbers_come_back_exactly() -> None:
    most = (1 << 64) - 1
    item = _through_json(_request(queued(10, most, node_id=most)))
    assert (item["queued_ns"], item["node_id"]) == (most, most)


# ---- paths ----

_FILE = found(2, 1, Opcode.CREATE, 1, b"f", 5)


def test_paths() -> None:
    assert _paths(_FILE, ended(10, 5)) == ("/f", True, False, None)
    assert _paths(ended(10, 5)) == (None, True, False, None)
    assert _paths(ended(10, 5, node_id=1)) == ("/", True, False, None)
    assert _paths(_FILE, ended(10, 5), lost=1) == ("/f", False, False, None)
    assert _paths(_FILE, removed(4, 2, 1, b"f"), ended(10, 5)) == ("/f", True, True, None)


def test_two_paths() -> None:
    def asked(opcode: int, names: dict[str, Any], node: int, other: int) -> tuple[Records, Records]:
        begun = queued(10, 3, opcode, node_id=node, header=operation_header(struct.pack("<QQ", other, 0)), **names)
        return begun, ended(10, 5, opcode, node_id=node)

    directory = found(4, 1, Opcode.MKDIR, 1, b"d", 6)
    rename = asked(Opcode.RENAME2, two_names(b"a", b"b"), 1, 6)
    assert _paths(directory, *rename) == ("/a", True, False, "/d/b")
    assert _paths(_FILE, directory, *asked(Opcode.LINK, one_name(b"n"), 6, 5)) == ("/d/n", True, False, "/f")
    assert _paths(_FILE, *asked(Opcode.RENAME, two_names(b"a", b"b"), 1, 77)) == ("/a", True, False, None)
    copy = operation_header(struct.pack("<QQQQQQQ", 1, 0, 6, 2, 0, 9, 0))
    begun = queued(10, 3, Opcode.COPY_FILE_RANGE, header=copy)
    assert _paths(_FILE, directory, begun, ended(10, 5, Opcode.COPY_FILE_RANGE)) == ("/f", True, False, "/d")


def test_a_path_that_is_not_known_to_its_end_is_null() -> None:
    def path(name: bytes, flags: int) -> Any:
        begun = queued(10, 3, Opcode.LOOKUP, extra=name, flags=flags, node_id=1)
        return _paths(begun, ended(10, 5, Opcode.LOOKUP, node_id=1))[0]

    assert path(b"n" * 192, Flag.NAME_CUT) is None
    assert path(b"n" * 191 + b"\0", 0) == "/" + "n" * 191
    assert _paths(ended(10, 5, Opcode.LOOKUP, node_id=1))[0] is None


@given(_NAME.filter(lambda name: b"/" not in name and name not in (b".", b"..")))
def test_paths_come_back_byte_for_byte(name: bytes) -> None:
    item = _through_json(_last(found(2, 1, Opcode.CREATE, 1, name, 5), ended(10, 5)))
    assert os.fsencode(item["path"]) == b"/" + name


# ---- arguments and answers ----


def test_arguments_by_the_kernels_names() -> None:
    asked = struct.pack("<IIII", 0o100644, 0, 0o22, 0)
    found_ = _request(queued(10, 1, Opcode.MKNOD, header=operation_header(asked)))
    assert found_["arguments"] == {"mode": 0o100644, "rdev": 0, "umask": 0o22, "padding": 0}
    lock = struct.pack("<QQQQIIII", 7, 8, 0, 99, 1, 42, 1, 0)
    found_ = _request(queued(10, 1, Opcode.SETLK, header=operation_header(lock)))
    assert found_["arguments"] == {
        "fh": 7,
        "owner": 8,
        "lk": {"start": 0, "end": 99, "type": 1, "pid": 42},
        "lk_flags": 1,
        "padding": 0,
    }


@pytest.mark.parametrize(
    ("opcode", "operation"),
    [(Opcode.READ, bytes(39)), (Opcode.LOOKUP, bytes(40)), (Opcode.STATFS, b""), (99, bytes(40)), (Opcode.MKDIR, b"")],
)
def test_arguments_that_there_are_none_of(opcode: int, operation: bytes) -> None:
    assert _request(queued(10, 1, opcode, header=operation_header(operation)))["arguments"] is None


def test_a_structure_that_was_shorter_once() -> None:
    found_ = _request(queued(10, 1, Opcode.SETXATTR, header=operation_header(struct.pack("<II", 3, 1))))
    assert found_["arguments"] == {"size": 3, "flags": 1}
    longer = operation_header(struct.pack("<IIII", 3, 1, 1, 0))
    found_ = _request(queued(10, 1, Opcode.SETXATTR, header=longer))
    assert found_["arguments"] == {"size": 3, "flags": 1, "setxattr_flags": 1, "padding": 0}


def test_an_answer_is_as_much_as_is_kept_of_it() -> None:
    reply = operation_header(entry_out(9, generation=3))
    assert _request(ended(10, 5, Opcode.LOOKUP, header=reply))["answer"] == {"nodeid": 9, "generation": 3}
    opened = operation_header(struct.pack("<QIi", 4, 2, 0))
    assert _request(ended(10, 5, Opcode.OPEN, header=opened))["answer"] == {"fh": 4, "open_flags": 2, "backing_id": 0}
    assert _request(ended(10, 5, Opcode.OPEN, header=opened[:-4]))["answer"] == {"fh": 4, "open_flags": 2}


@pytest.mark.parametrize(("opcode", "error"), [(Opcode.LOOKUP, -2), (Opcode.UNLINK, 0), (99, 0)])
def test_answers_that_there_are_none_of(opcode: int, error: int) -> None:
    assert _request(ended(10, 5, opcode, error))["answer"] is None


# ---- events ----


def test_an_event_of_which_all_is_known() -> None:
    flags = Flag.HAS_ERROR | Flag.CQE_OVERFLOW
    given_ = committed(10, 1000, Opcode.READ, flags=flags, error=-5, command_op=2, header=b"\xab\xcd", extra=b"\1\2\3")
    assert event_object(given_[0]) == {
        "type": "event",
        "ns": 1000,
        "event": "COMMITTED",
        "connection": 7,
        "transport": "uring",
        "queue": 3,
        "unique": 10,
        "commit_id": 10,
        "opcode": 15,
        "op": "READ",
        "command": "COMMIT_AND_FETCH",
        "error": -5,
        "step": None,
        "header_part": None,
        "entry": 0xE0,
        "buffer": None,
        "offset": None,
        "buffers": None,
        "buffers_free": None,
        "slot": None,
        "segments": None,
        "readable": None,
        "writable": None,
        "io": None,
        "bytes": None,
        "asked": None,
        "pid": 900,
        "tid": 901,
        "comm": "server",
        "cqe_overflow": True,
        "lost": None,
        "lost_until_ns": None,
        "lost_cpu": None,
        "header": "abcd",
        "extra": "010203",
    }


def test_an_event_of_which_little_is_known() -> None:
    found_ = event_object(event(Kind.LOST, 1000)[0])
    assert {name for name, value in found_.items() if value is None} == {
        *("transport", "queue", "unique", "commit_id", "opcode", "op", "command", "error", "header", "extra"),
        *("step", "header_part", "entry", "buffer", "offset", "buffers", "buffers_free", "slot", "segments"),
        *("readable", "writable", "io", "bytes", "asked"),
    }
    assert (found_["event"], found_["cqe_overflow"], found_["comm"]) == ("LOST", False, "")


@pytest.mark.parametrize(("flags", "error"), [(0, None), (Flag.HAS_ERROR, 0)])
def test_an_error_counts_where_it_is_meant(flags: int, error: int | None) -> None:
    assert event_object(ended(10, 1, flags=flags)[0])["error"] == error


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_by_its_name(kind: Kind) -> None:
    assert _through_json(event_object(event(kind, 1)[0]))["event"] == kind.name


# ---- buffers, slots, steps ----

_ON_POOL = Flag.POOL | Flag.HAS_BUFFER | Flag.QUEUE_ZERO_COPY | Flag.HAS_PAGES
_BUFFER: dict[str, Any] = {"buffer_id": 3, "pool_offset": 98304, "queue": 3, "entry": 0xE0}


def test_a_request_with_a_buffer() -> None:
    place = _BUFFER | {"flags": _ON_POOL}
    taken = event(Kind.SELECTED, 3, unique=10, buffers=8, buffers_free=4, **_BUFFER | {"flags": Flag.HAS_BUFFER})
    dry = event(Kind.SELECTED, 2, unique=10, error=-105, queue=3, buffers=8, flags=Flag.HAS_ERROR)
    found_ = _request(queued(10, 1, Opcode.READ), dry, taken, delivered(10, 4, Opcode.READ, **place))
    expected: dict[str, Any] = {
        "dry_ns": 2,
        "selected_ns": 3,
        "buffer": 3,
        "buffer_offset": 98304,
        "buffer_waits": 1,
        "slot": None,
    }
    expected |= {"zero_copied": False, "copied_because": "file"}
    assert {name: found_[name] for name in expected} == expected


def test_a_zero_copied_request() -> None:
    slot = {"flags": Flag.HAS_SLOT, "slot": 0, "queue": 3, "entry": 0xE0, "unique": 10}
    found_ = _request(
        event(Kind.PAGES_REGISTERED, 2, length=8192, segments=2, **slot),
        event(Kind.FIXED_IO, 3, length=4096, command_op=4, **slot),
        event(Kind.FIXED_IO, 4, error=-5, command_op=4, **slot),
        event(Kind.PAGES_UNREGISTERED, 5, **slot),
        ended(10, 6, Opcode.READ),
    )
    expected: dict[str, Any] = {"registered_ns": 2, "unregistered_ns": 5, "slot": 0, "page_bytes": 8192, "segments": 2}
    expected |= {"fixed_bytes": 4096, "fixed_ios": 2, "zero_copied": True, "copied_because": None}
    assert {name: found_[name] for name in expected} == expected


def _event(kind: Kind, *names: str, **members: Any) -> list[Any]:
    found_ = event_object(event(kind, 1, **members)[0])
    return [found_[name] for name in names]


def test_events_of_buffers_and_slots() -> None:
    names: tuple[str, ...] = ("buffer", "offset", "buffers", "buffers_free", "entry")
    has = _BUFFER | {"flags": Flag.HAS_BUFFER}
    assert _event(Kind.SELECTED, *names, buffers=8, buffers_free=4, **has) == [3, 98304, 8, 4, 0xE0]
    assert _event(Kind.RECYCLED, *names[2:4], buffers=8, buffers_free=NOT_COUNTED, **has) == [8, None]
    names = ("slot", "bytes", "segments", "readable", "writable")
    flags = Flag.HAS_SLOT | Flag.PAGES_WRITABLE
    assert _event(Kind.PAGES_REGISTERED, *names, slot=0, length=9, segments=1, flags=flags) == [0, 9, 1, False, True]
    assert _event(Kind.PAGES_UNREGISTERED, *names, slot=2, flags=Flag.HAS_SLOT) == [2, None, None, None, None]
    names = ("io", "slot", "bytes", "asked", "offset", "command")
    fixed = {"command_op": 4, "length": 5, "slot": 2}
    assert _event(Kind.FIXED_IO, *names, **fixed) == ["READ_FIXED", 2, 5, None, None, None]
    assert _event(Kind.FIXED_IO, *names, **fixed, payload_size=8, pool_offset=0)[3:5] == [8, 0]


def test_steps() -> None:
    names = ("step", "header_part", "command")
    assert _event(Kind.STEP, *names, step=Step.CMD, command_op=2) == ["fuse_uring_cmd", None, "COMMIT_AND_FETCH"]
    assert _event(Kind.STEP, *names, step=Step.COPY_HEADER_TO_RING) == ["copy_header_to_ring", "IN_OUT", None]
    assert _event(Kind.STEP, *names, step=999) == [None, None, None]
    assert _event(Kind.STEP, *names, step=0) == [None, None, None]


def test_pools_of_the_summary() -> None:
    conversation = Conversation()
    taken = event(Kind.SELECTED, 3, unique=10, buffers=8, buffers_free=7, **_BUFFER | {"flags": Flag.HAS_BUFFER})
    conversation.feed(batch(taken, *whole(12, 5, Opcode.READ, flags=_ON_POOL, buffer_id=1, entry=0xE1)))
    (pool,) = _through_json(summary_object(conversation, 1))["pools"]
    held: dict[str, Any] = {
        "number": 3,
        "entry": 0xE0,
        "unique": 10,
        "since_ns": 3,
        "kept": False,
        "ended_ns": None,
        "offset": 98304,
    }
    expected: dict[str, Any] = {
        "connection": 7,
        "queue": 3,
        "pooled": True,
        "buffers": 8,
        "free": 7,
        "in_use": 1,
        "peak": 1,
    }
    expected |= {"in_use_counted": True, "selected": 1, "recycled": 0, "dry": 0, "dry_since_ns": None, "waiting": 0}
    expected |= {"registered": None, "failed": None, "zero_copied": 0, "zero_copied_bytes": 0}
    assert pool == expected | {"copied_because": {"file": 1}, "held": [held], "slots": []}


# ---- lines and summary ----


def test_an_object_a_line() -> None:
    assert list(json_lines([{"a": 1, "b": [None, True]}, {}])) == ['{"a":1,"b":[null,true]}', "{}"]
    assert list(json_lines([])) == []


def test_summary() -> None:
    conversation = Conversation()
    conversation.feed(
        batch(
            *whole(10, 100),
            *whole(12, 300, error=-2),
            queued(14, 500),
            queued(16, 501),
            queued(18, 502),
            *(event(Kind.REFUSED, 600, error=-22),) * 4,
            *(event(Kind.STOPPED, 700, error=-107),) * 5,
            *(event(Kind.STEP, 800, flags=Flag.CQE_OVERFLOW),) * 6,
            lost_record(950, 951, 3, cpu=0),
            lost_record(950, 951, 4, cpu=1),
            lost_record(950, 951, 2),
            event(Kind.NAMED, 900, unique=20, opcode=Opcode.LOOKUP, error=-2),
            event(Kind.ENTRIES, 901, unique=22, opcode=Opcode.READDIRPLUS),
        )
    )
    assert summary_object(conversation, 123) == {
        "type": "summary",
        "requests": 2,
        "errors": 1,
        "unfinished": 3,
        "events": 8 + 3 + 4 + 5 + 6,
        "lost": 9,
        "lost_by_cpu": [3, 4],
        "passed_over": 2,
        "forgotten": 0,
        "refused": 4,
        "stopped": 5,
        "cqe_overflows": 6,
        "pools": [],
        "elapsed_ns": 123,
    }


def test_a_loss() -> None:
    made = event_object(lost_record(5, 9, 17, cpu=3)[0])
    assert (made["event"], made["ns"], made["lost"], made["lost_until_ns"], made["lost_cpu"]) == ("LOST", 5, 17, 9, 3)
    made = event_object(lost_record(5, 9, 2)[0])
    assert (made["lost"], made["lost_cpu"]) == (2, None)
