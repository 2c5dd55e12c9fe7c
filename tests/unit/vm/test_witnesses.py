"""A trace and a log of made-up requests: when they are the same, and each way not to be."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from tests.unit.vm.test_sequences import DEFAULT, usual
from tests.vm import witnesses
from tests.vm.sequences import BUFFER, by_request
from tests.vm.witnesses import Facts, differences

TRACED: Final = witnesses.traced_requests(usual(DEFAULT).events)
ENTRIES: Final = {0xA: 0, 0xB: 1}
LOGGED: Final = {unique: replace(facts, entry=ENTRIES[facts.entry]) for unique, facts in TRACED.items()}


def test_what_a_trace_says() -> None:
    read = {"opcode": 15, "queue": 0}
    said = dict(TRACED)
    assert said == {
        4: Facts(**read, entry=0xA, commit_id=4, error=0, offset=0, has_buffer=True, slot=None, moved=None),
        6: Facts(**read, entry=0xB, commit_id=6, error=0, offset=BUFFER, has_buffer=True, slot=None, moved=None),
        8: Facts(**read, entry=0xB, commit_id=8, error=-2, offset=BUFFER, has_buffer=True, slot=None, moved=None),
        10: Facts(**read, entry=0xB, commit_id=10, error=0, offset=0, has_buffer=False, slot=None, moved=None),
        12: Facts(**read, entry=0xB, commit_id=12, error=0, offset=0, has_buffer=False, slot=3, moved=10),
    }


def test_the_same() -> None:
    assert differences(TRACED, LOGGED) == []
    unknown = {unique: replace(facts, has_buffer=None) for unique, facts in LOGGED.items()}
    assert differences(TRACED, unknown) == []


@pytest.mark.parametrize(
    "change",
    [
        {"opcode": 16},
        {"queue": 1},
        {"commit_id": 5},
        {"error": -5},
        {"offset": 2 * BUFFER},
        {"has_buffer": False},
        {"slot": 1},
        {"moved": 0},
    ],
)
def test_a_fact_that_differs(change: dict[str, Any]) -> None:
    logged = {**LOGGED, 6: replace(LOGGED[6], **change)}
    (name,) = change
    said = differences(TRACED, logged)
    assert said[0].startswith(f"request 6: {name} is ")


def test_a_request_that_one_lacks() -> None:
    fewer = {unique: facts for unique, facts in LOGGED.items() if unique != 8}
    assert differences(TRACED, fewer) == ["request 8 is in the trace alone"]
    assert differences({unique: TRACED[unique] for unique in fewer}, LOGGED) == ["request 8 is in the log alone"]
    assert len(differences({}, LOGGED)) == len(LOGGED)


def test_a_request_that_never_ended_is_not_there() -> None:
    events = [event for event in usual(DEFAULT).events if (event["event"], event["unique"]) != ("ENDED", 8)]
    assert 8 in {unique for _, unique in by_request(events)}
    assert witnesses.traced_requests(events).keys() == {4, 6, 10, 12}


@pytest.mark.parametrize("entry", [0, 2])
def test_entries_that_do_not_go_together(entry: int) -> None:
    logged = {**LOGGED, 12: replace(LOGGED[12], entry=entry)}
    assert [complaint[:37] for complaint in differences(TRACED, logged)] == ["entries do not go together one to one"]


def test_what_the_demo_has_logged(tmp_path: Path) -> None:
    line = {"transport": "uring", "queue": 0, "entry": 1, "unique": 6, "commit_id": 6, "opcode": 15, "error": 0}
    line |= {"offset": BUFFER, "zero_copied": False, "slot": None, "moved": None}
    plain = line | {"unique": 8, "commit_id": 8, "offset": None}
    zero_copied = line | {"unique": 12, "commit_id": 12, "offset": 0, "zero_copied": True, "slot": 3, "moved": 10}
    lines = [line, plain, zero_copied, {"transport": "dev", "unique": 2}]
    log = tmp_path / "log"
    log.write_text("".join(json.dumps(each) + "\n" for each in lines))
    assert witnesses.demo_requests(log) == {
        6: LOGGED[6],
        8: replace(LOGGED[8], error=0, offset=0, has_buffer=False),
        12: replace(LOGGED[12], has_buffer=None),
    }


def test_what_the_pool_server_has_logged(tmp_path: Path) -> None:
    moved = [{"opcode": "READ_FIXED", "slot": 3, "asked": 20, "bytes": size} for size in (4, 6)]
    line = {"kind": "request", "unique": 12, "opcode": 15, "nodeid": 1, "qid": 0, "entry": 1, "commit_id": 12}
    line |= {"payload_sz": 0, "offset": 0, "has_buffer": False, "zero_copied": True, "slot": 3, "error": 0}
    log = tmp_path / "log"
    log.write_text(json.dumps(line | {"reply_payload_sz": 10, "fixed_io": moved}) + "\n")
    assert witnesses.pool_server_requests(log) == {12: LOGGED[12]}
