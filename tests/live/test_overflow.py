"""CQEs that find no room in the completion queue."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from furtrace.demo import mounting
from tests.live.conftest import Trace

pytestmark = pytest.mark.live

CLIENTS = 8


@pytest.fixture
def tiny(uring: None, tmp_path: Path) -> Iterator[tuple[Path, int, Path]]:
    """Mount point, pid and log of a server whose completion queues hold two CQEs."""
    place, log = tmp_path / "mnt", tmp_path / "log"
    place.mkdir()
    command = [sys.executable, "-m", "tests.live.tiny_ring_server", str(place), "--depth", str(CLIENTS)]
    process = subprocess.Popen([*command, "--log", str(log)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline().startswith(b"ready")
        yield place, process.pid, log
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(30)
        mounting.detach(place)


def test_requests_behind_an_overflow_are_told_and_marked(
    tiny: tuple[Path, int, Path], live: Callable[..., Trace]
) -> None:
    place, server, log = tiny
    trace = live("--events", "--json", "--mount", str(place))
    # A stopped server takes no CQEs; when it goes on, it gets all of them at once.
    os.kill(server, signal.SIGSTOP)
    clients = [subprocess.Popen(["taskset", "-c", "0", "stat", place / f"c{n}"], stderr=subprocess.DEVNULL)
               for n in range(CLIENTS)]  # fmt: skip
    time.sleep(1)
    os.kill(server, signal.SIGCONT)
    for client in clients:
        client.wait(20)
    assert trace.end() == 0
    events = [json.loads(line) for line in trace.lines()]
    delivered = [event for event in events if event.get("event") == "DELIVERED"]
    overflowed = [event for event in delivered if event["cqe_overflow"]]
    assert overflowed
    assert events[-1]["cqe_overflows"] == len(overflowed)
    # The server got every one of them in the end, each once, and as it was told.
    uniques = [event["unique"] for event in delivered]
    assert len(uniques) == len(set(uniques))
    committed = {event["unique"] for event in events if event.get("event") == "COMMITTED"}
    assert {event["unique"] for event in overflowed} <= committed == set(uniques)
    for event in overflowed:
        assert len(bytes.fromhex(event["header"])) == 288
        assert event["commit_id"] == event["unique"]
    os.kill(server, signal.SIGTERM)
    time.sleep(1)
    logged = {json.loads(line)["unique"] for line in log.read_text().splitlines()}
    assert set(uniques) <= logged
