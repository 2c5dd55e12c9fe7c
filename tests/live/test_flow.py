"""``furtrace flow`` of a running system: the right request, drawn once it has ended, as long as its client saw it."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest

from furtrace.demo.process import DemoServer
from furtrace.views.flow import rows_of
from furtrace.wire.dialect import Dialect
from tests.flows import complaints, flows_of
from tests.live.conftest import PATIENCE, run_furtrace
from tests.live.test_record import recording
from tests.unit.export.reckoning import recorded

pytestmark = pytest.mark.live


def flows(server: DemoServer, *words: str, status: int = 0) -> list[dict[str, Any]]:
    done = run_furtrace("flow", "--json", "--mount", str(server.mountpoint), *words)
    assert done.returncode == status, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def seen(diagram: dict[str, Any]) -> dict[str, int]:
    """When each event was, in nanoseconds since the first."""
    return {step["event"]: step["since_ns"] for step in diagram["steps"] if step["since_ns"] is not None}


def test_the_next_write(demo_server: DemoServer) -> None:
    file = demo_server.mountpoint / "file"
    (found,) = flows(
        demo_server, "--next", "WRITE", "--", "sh", "-c", f"cat {file}; printf hello > {file}; exec sleep 60"
    )
    assert re.search(r" WRITE /file off=0 len=5 .*5 <", found["title"])
    times = seen(found)
    assert 0 <= times["QUEUED"] < times["DELIVERED"] < times["COMMITTED"] < times["ENDED"]
    assert file.read_bytes() == b"hello"


def test_a_command_s_exit_status_and_the_slowest(demo_server: DemoServer) -> None:
    folder = demo_server.mountpoint
    found = flows(demo_server, "--slowest", "--count", "3", "--", "sh", "-c", f"ls -l {folder}; exit 7", status=7)
    totals = [seen(one)["ENDED"] - seen(one)["QUEUED"] for one in found]
    assert totals == sorted(totals, reverse=True)
    assert len(totals) == 3


def test_nothing_came(demo_server: DemoServer) -> None:
    done = run_furtrace("flow", "--mount", str(demo_server.mountpoint), "--next", "MKDIR", "--duration", "0.5")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "furtrace: There is no such request that ended among those that were seen."


def test_as_long_as_its_client_waited(demo_server: DemoServer, tmp_path: Path) -> None:
    """strace's time of a call is that of its request, and the little that the kernel does besides."""
    file = demo_server.mountpoint / "file"
    file.write_bytes(b"x")
    said, times = tmp_path / "strace", 20
    script = (
        f"import os\nfor _ in range({times}):\n try: os.getxattr({os.fspath(file)!r}, 'user.none')\n except OSError: 0"
    )
    strace = ("strace", "-T", "-o", str(said), "-e", "trace=getxattr", sys.executable, "-c", script)
    found = flows(demo_server, "--next", "GETXATTR", "--count", str(times), "--", *strace)
    calls = [float(text) * 1e9 for text in re.findall(r"user\.none.*<([\d.]+)>", said.read_text())]
    totals = [seen(one)["ENDED"] - seen(one)["QUEUED"] for one in found]
    assert len(calls) == len(totals) == times
    for total, call in zip(totals, calls, strict=True):
        assert total < call + 1000  # which strace tells in whole microseconds
    besides = min(call - total for total, call in zip(totals, calls, strict=True))
    assert besides < 1_000_000


def test_the_memory_of_a_running_server(demo_server: DemoServer) -> None:
    """Entries as many as the server has registered, those that were used; each with a slot of its own."""
    folder = demo_server.mountpoint
    found = flows(demo_server, "--memory", "--", "sh", "-c", f"for i in 1 2 3 4 5 6; do ls -l {folder} & done; wait")
    slots = [slot["address"] for queue in found for slot in queue["headers"]]
    assert 0 < len(slots) == len(set(slots)) <= 4 * (os.cpu_count() or 1)
    assert all(address % 8 == 0 for address in slots)
    assert {queue["pool"] is None for queue in found} == {True}


def test_without_privilege() -> None:
    command = ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-m", "furtrace", "flow", "--next", "READ"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


_ASKING: Final = """
import os, sys, threading
for number in range(8):
    threading.Thread(target=lambda name: os.path.exists(name), args=(f"{sys.argv[1]}/none{number}",)).start()
"""


def test_of_requests_whose_server_died(uring: None, tmp_path: Path) -> None:
    """It is stopped, so that none of them comes to it: two were its entries', all others waited for one."""
    file = tmp_path / "trace.pcapng"
    with DemoServer(depth=1) as server, recording(file, "--mount", str(server.mountpoint)) as recorder:
        os.kill(server.pid, signal.SIGSTOP)
        with subprocess.Popen([sys.executable, "-c", _ASKING, str(server.mountpoint)]) as client:
            try:
                _wait_for_requests(client.pid, 8)
            finally:
                os.kill(server.pid, signal.SIGKILL)  # or the client would wait for ever
            client.wait(PATIENCE)
        recorder.wait(PATIENCE)
    found = flows_of(recorded(file))
    assert [text for flow in found for text in complaints(flow, Dialect.PLAIN)] == []
    ended = {error: [flow for flow in found if flow.row["error"] == -error] for error in _KILLED}
    assert sum(map(len, ended.values())) >= 8
    for error, said in _KILLED.items():
        assert ended[error]
        for flow in ended[error]:
            texts = [row.step.text for row in rows_of(flow, Dialect.PLAIN)]
            assert said in texts
            assert "[CQE received]" not in texts
            assert texts[-2:] == [">fuse_request_end()", "[wake up req->waitq]"]


_KILLED: Final = {
    errno.ECONNABORTED: ">fuse_uring_abort_end_requests()",
    errno.ECANCELED: "[the server's thread is gone]",
}
"""Errors of requests that a dead server never had, and what their diagrams say."""


def _wait_for_requests(client: int, count: int) -> None:
    """Wait until so many threads of a client wait for an answer."""
    end = time.monotonic() + PATIENCE
    while sum(one.read_text() == "request_wait_answer" for one in Path(f"/proc/{client}/task").glob("*/wchan")) < count:
        assert time.monotonic() < end
        time.sleep(0.01)
