"""What was under way as a trace began: what it knows of it is what the server and its clients do."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from furtrace.demo.process import DemoServer
from tests.live.conftest import FURTRACE, PATIENCE, run_furtrace
from tests.live.demo.conftest import CPU, Begin, Faulty, Start, eventually, witnessed
from tests.live.demo.test_inspected import hung

pytestmark = pytest.mark.live


def traced(server: DemoServer, *options: str) -> list[dict[str, Any]]:
    """What `furtrace live` has of a connection within half a second."""
    done = run_furtrace("live", "--json", "--connection", str(server.connection), "--duration", "0.5", *options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_the_server_has_and_what_waits_for_it(faulty: Faulty, begin: Begin, faults: Path) -> None:
    server = faulty("no-answer", depth=1)
    assert begin(server.mountpoint, "write").end() == [4096]
    before = time.monotonic_ns()
    first = begin(server.mountpoint, "read")
    assert eventually(lambda: faults.exists() and len(witnessed(faults)) == 1)
    second = begin(server.mountpoint, "space")
    hung(first)
    hung(second)
    *requests, summary = traced(server)
    by_client = {one["client_pid"]: one for one in requests}
    assert set(by_client) == {first.process.pid, second.process.pid}
    served, waiting = (by_client[client.process.pid] for client in (first, second))
    assert (served["op"], served["unique"], served["found"]) == ("READ", witnessed(faults)[0]["unique"], "served")
    assert (served["queue"], served["commit_id"], served["server_pid"]) == (CPU, served["unique"], server.pid)
    assert (waiting["op"], waiting["found"], waiting["entry"]) == ("STATFS", "waits", None)
    assert before - 20_000_000 < served["made_ns"] < waiting["made_ns"] < time.monotonic_ns()
    assert (summary["unfinished"], summary["requests"]) == (2, 0)
    assert [one["op"] for one in traced(server, "--op", "STATFS")[:-1]] == ["STATFS"]
    assert [one["op"] for one in traced(server, "--client", str(first.process.pid))[:-1]] == ["READ"]


def test_a_check_that_begins_late_finds_it_too(faulty: Faulty, begin: Begin, faults: Path) -> None:
    server = faulty("no-answer", depth=1)
    assert begin(server.mountpoint, "write").end() == [4096]
    hung(begin(server.mountpoint, "read"))
    hung(begin(server.mountpoint, "space"))
    chosen = ("--connection", str(server.connection), "--unanswered", "0.5", "--duration", "1")
    done = run_furtrace("check", "--json", *chosen)
    *findings, _ = (json.loads(line) for line in done.stdout.splitlines())
    assert (done.returncode, [one["rule"] for one in findings]) == (3, ["unanswered", "no-entry"])
    assert findings[0]["unique"] == witnessed(faults)[0]["unique"]


@pytest.mark.parametrize("uring", [True, False])
def test_it_goes_on(start: Start, begin: Begin, tmp_path: Path, *, uring: bool) -> None:
    """A server that was stopped goes on while it is traced: the request that has waited ends like any other."""
    server = start(depth=2, uring=uring)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        client = begin(server.mountpoint, "space")
        hung(client)
        done = _beside(server, lambda: os.kill(server.pid, signal.SIGCONT))
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert client.end() != []
    *requests, summary = done
    (request,) = [one for one in requests if one["client_pid"] == client.process.pid and one["op"] == "STATFS"]
    assert request["found"] in ("waits", "served")
    assert (request["error"], request["queued_ns"], summary["unfinished"]) == (0, None, 0)
    assert request["ended_ns"] - request["made_ns"] > 500_000_000
    assert (request["transport"] == "uring") == uring


def _beside(server: DemoServer, act: Callable[[], None]) -> list[dict[str, Any]]:
    command = [*FURTRACE, "live", "--json", "--connection", str(server.connection), "--duration", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "Ctrl-C" in process.stderr.readline()
        act()
        said, _ = process.communicate(timeout=PATIENCE)
    return [json.loads(line) for line in said.splitlines()]
