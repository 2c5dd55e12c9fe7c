"""A whole connection's events on the running kernel, against what the kernel does and what the server has logged."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from furtrace.demo.affinity import possible_cpus
from furtrace.demo.process import DemoServer
from tests.live.conftest import PATIENCE, Trace
from tests.vm import sequences, witnesses
from tests.vm.poolserver_traffic import work
from tests.vm.traced import ENTRIES, seen_here

pytestmark = pytest.mark.live


@pytest.mark.parametrize("options", [(), ("--vantage", "tracepoint")], ids=["default", "tracepoint"])
def test_events_are_legal_and_what_the_server_has_logged(
    uring: None, live: Callable[..., Trace], tmp_path: Path, options: tuple[str, ...]
) -> None:
    directory, log = tmp_path / "mount", tmp_path / "server.log"
    directory.mkdir()
    trace = live("--json", "--events", "--mount", str(directory), *options, ready="Waiting for a FUSE mount")
    with DemoServer(depth=ENTRIES, directory=directory, log=log) as server:
        work(server.mountpoint, server.mountpoint)
    assert trace.process.wait(PATIENCE) == 0  # its connection has ended
    assert sequences.check_summary(trace.summary()) == []
    events = [item for item in map(json.loads, trace.lines()) if item["type"] == "event"]
    shown = seen_here().shown("tracepoint" if options else "function")
    assert sequences.check(events, shown) == []
    assert sequences.check_setup(events, shown, possible_cpus(), ENTRIES, pooled=False) == []
    logged = witnesses.demo_requests(log)
    assert len(logged) > 300
    assert witnesses.differences(witnesses.traced_requests(events), logged) == []
