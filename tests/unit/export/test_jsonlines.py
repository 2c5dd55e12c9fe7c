"""JSON lines, field by field."""

import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from furtrace.export.jsonlines import event_object, json_lines, request_object, summary_object
from furtrace.model.conversation import Conversation
from furtrace.model.requests import Requests, new_requests
from furtrace.trace.record import NO_QUEUE, Flag, Kind, Records, Transport
from furtrace.wire.opcodes import Opcode
from tests.unit.events import batch, committed, delivered, ended, event, one_name, queued, two_names, whole

DEV_END: dict[str, Any] = {"transport": Transport.DEV, "queue": NO_QUEUE}


def _request(*parts: Records) -> dict[str, Any]:
    model = Requests()
    finished = model.feed(batch(*parts))
    (row,) = finished if len(finished) else model.under_way
    return request_object(row)


def _through_json(item: dict[str, Any]) -> dict[str, Any]:
    (line,) = json_lines([item])
    assert "\n" not in line
    line.encode("ascii")
    back: dict[str, Any] = json.loads(line)
    return back


def test_a_request_of_which_all_is_known() -> None:
    rows = Requests().feed(
        batch(
            *whole(8, 1000, Opcode.READ),
            queued(10, 1200, Opcode.READ, **one_name(b"n")),
            delivered(10, 1210, Opcode.READ, commit_id=11),
            committed(10, 1220, Opcode.READ, 4096, commit_id=11),
            ended(10, 1230, Opcode.READ),
        )
    )
    assert request_object(rows[1]) == {
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
        "assigned_ns": 1200,
        "delivered_ns": 1210,
        "committed_ns": 1220,
        "ended_ns": 1230,
        "reply_size": 4096,
        "moved": 4096,
        "uncertain": False,
    }


def test_a_request_of_which_nothing_is_known() -> None:
    (row,) = new_requests(1)
    known = {"type": "request", "unique": 0, "op": "OP_0", "opcode": 0, "connection": 0, "node_id": 0, "names": []}
    known |= dict.fromkeys(("names_cut", "background", "uncertain"), False)
    found = request_object(row)
    assert {name: value for name, value in found.items() if value is not None} == known
    unknown = {name for name, value in found.items() if value is None}
    assert unknown == {
        *("error", "transport", "queue", "entry", "commit_id", "reply_size", "moved"),
        *(f"{who}_{what}" for who in ("client", "server") for what in ("pid", "tid", "comm")),
        *(f"{when}_ns" for when in ("queued", "assigned", "delivered", "committed", "ended")),
    }


def test_zeroes_that_are_known() -> None:
    found = _request(
        queued(10, 1, Opcode.READ),
        delivered(10, 2, Opcode.READ, queue=0),
        committed(10, 3, Opcode.READ, 0, queue=0),
        ended(10, 4, Opcode.READ, queue=0),
    )
    assert [found[name] for name in ("queue", "entry", "reply_size", "moved", "error")] == [0] * 5


def test_under_way_there_is_no_error_yet() -> None:
    assert _request(queued(10, 1))["error"] is None
    assert _request(queued(10, 1), ended(10, 2))["error"] == 0
    assert _request(queued(10, 1), ended(10, 2, error=-2))["error"] == -2


def test_by_dev() -> None:
    found = _request(queued(10, 1, Opcode.READ), ended(10, 2, Opcode.READ, length=20, **DEV_END))
    assert (found["transport"], found["queue"], found["moved"]) == ("dev", None, 4)


def test_marks() -> None:
    found = _request(queued(10, 1, flags=Flag.BACKGROUND | Flag.NAME_CUT), ended(10, 2))
    assert (found["background"], found["names_cut"]) == (True, True)
    model = Requests()
    model.feed(queued(10, 1))
    assert request_object(model.feed(ended(10, 2), lost=1)[0])["uncertain"] is True


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
        "pid": 900,
        "tid": 901,
        "comm": "server",
        "cqe_overflow": True,
        "header": "abcd",
        "extra": "010203",
    }


def test_an_event_of_which_little_is_known() -> None:
    found = event_object(event(Kind.LOST, 1000)[0])
    assert {name for name, value in found.items() if value is None} == {
        *("transport", "queue", "unique", "commit_id", "opcode", "op", "command", "error", "header", "extra"),
    }
    assert (found["event"], found["cqe_overflow"], found["comm"]) == ("LOST", False, "")


@pytest.mark.parametrize(("flags", "error"), [(0, None), (Flag.HAS_ERROR, 0)])
def test_an_error_counts_where_it_is_meant(flags: int, error: int | None) -> None:
    assert event_object(ended(10, 1, flags=flags)[0])["error"] == error


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_by_its_name(kind: Kind) -> None:
    assert _through_json(event_object(event(kind, 1)[0]))["event"] == kind.name


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
            *(event(Kind.LOST, 800, flags=Flag.CQE_OVERFLOW),) * 6,
        ),
        lost=7,
    )
    conversation.lost_by_cpu = [3, 4]
    assert summary_object(conversation, 123) == {
        "type": "summary",
        "requests": 2,
        "errors": 1,
        "unfinished": 3,
        "events": 8 + 3 + 4 + 5 + 6,
        "lost": 7,
        "lost_by_cpu": [3, 4],
        "forgotten": 0,
        "refused": 4,
        "stopped": 5,
        "cqe_overflows": 6,
        "elapsed_ns": 123,
    }
