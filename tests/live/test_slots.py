"""Header slots as they lay in a server's memory, decoded, against the kernel's own copies and the server's log."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from furtrace.demo.process import DemoServer
from furtrace.wire.decode import Context, Decoded, Part, decode
from furtrace.wire.dialect import Dialect
from furtrace.wire.items import Item
from furtrace.wire.opcodes import opcode_name
from tests.live.conftest import Trace

pytestmark = pytest.mark.live

Event = dict[str, Any]


def fields(items: tuple[Item, ...]) -> dict[str, Any]:
    """Values by name, those of structures within too; the first of a name counts."""
    found: dict[str, Any] = {}
    for item in items:
        inner = fields(item.items) if item.items else {item.name: item.value}
        found = inner | found
    return found


def slot(event: Event) -> Decoded:
    return decode(bytes.fromhex(event["header"]), Part.HEADER, Context(Dialect.PLAIN, event["opcode"]))


@pytest.fixture
def events(demo_server: DemoServer, live: Callable[..., Trace]) -> list[Event]:
    """All events of some mixed traffic, once the server's log is whole."""
    trace = live("--json", "--events", "--mount", str(demo_server.mountpoint))
    command = [sys.executable, "-m", "furtrace.demo.traffic", str(demo_server.mountpoint), "--seed", "3"]
    subprocess.run([*command, "--scale", "0.3"], check=True, capture_output=True)
    assert trace.end() == 0
    demo_server.stop()
    return [item for item in map(json.loads, trace.lines()) if item["type"] == "event"]


def test_slots_say_what_kernel_and_server_say(events: list[Event], tmp_path: Path) -> None:
    logged = {one["unique"]: one for one in map(json.loads, (tmp_path / "server.log").read_text().splitlines())}
    queued = {event["unique"]: event for event in events if event["event"] == "QUEUED"}
    delivered = [one for one in events if one["event"] == "DELIVERED" and one["transport"] == "uring"]
    committed = [one for one in events if one["event"] == "COMMITTED"]
    assert len({event["opcode"] for event in delivered}) >= 15
    assert len(delivered) > 300
    assert len(committed) > 300
    for event in delivered:
        said = slot(event)
        assert not said.problems, (event["op"], said.problems)
        assert said.title == f"request {opcode_name(logged[event['unique']]['opcode'])} in a header slot, plain dialect"
        _same_as_the_kernel(event, queued[event["unique"]])
    for event in committed:
        said = slot(event)
        assert not said.problems, (event["op"], said.problems)
        found = fields(said.items)
        assert (found["unique"], found["error"]) == (event["unique"], logged[event["unique"]]["error"])
        assert found["commit_id"] == event["unique"]


def _same_as_the_kernel(event: Event, queued: Event) -> None:
    """The slot's request and the kernel's copy at QUEUED: the header but its length, and the operation's structure."""
    theirs, ours = bytes.fromhex(queued["header"]), bytes.fromhex(event["header"])
    assert ours[4:40] == theirs[4:40]
    head = theirs[128:]
    assert ours[128 : 128 + len(head)] == head
    said = slot(event)
    op_in = next(item for item in said.items if item.name == "op_in")
    # What is shown of op_in is the operation's structure and no more: behind it lies what earlier requests left.
    assert sum(item.size for item in op_in.items) == len(head)
    assert fields(said.items)["commit_id"] == queued["unique"]
