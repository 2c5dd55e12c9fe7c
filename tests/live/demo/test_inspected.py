"""`furtrace inspect` beside servers that hang: what it says is what the server, its log and the client know."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from furtrace.demo.affinity import possible_cpus
from furtrace.demo.process import DemoServer
from tests.live.conftest import FURTRACE, PATIENCE, run_furtrace
from tests.live.demo.conftest import CPU, Begin, Client, Faulty, Start, eventually, witnessed

pytestmark = pytest.mark.live

LEAST = 0.5
"""Seconds from which on a request waits for long, here."""
FOUND = 3


@dataclass
class Inspected:
    """What was said of a connection."""

    status: int
    told: dict[str, Any]

    @property
    def rules(self) -> list[str]:
        return [one["rule"] for one in self.told["findings"]]

    def entries(self, where: str) -> list[dict[str, Any]]:
        """The entries that are in a list, of all queues."""
        return [entry for queue in self.told["queues"] for entry in queue["entries"] if entry["list"] == where]


def inspect(server: DemoServer, *options: str) -> Inspected:
    """Look at a server's connection."""
    chosen = ("--connection", str(server.connection), "--unanswered", str(LEAST), *options)
    done = run_furtrace("inspect", "--json", *chosen)
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    return Inspected(done.returncode, json.loads(line))


def hung(client: Client) -> None:
    """It has hung for long enough."""
    assert client.hangs()
    time.sleep(LEAST + 0.3)


@pytest.fixture
def stopped() -> Any:
    """Return a function that stops a server, which goes on at the end."""
    pids: list[int] = []

    def stop(server: DemoServer) -> None:
        os.kill(server.pid, signal.SIGSTOP)
        pids.append(server.pid)

    yield stop
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def test_a_server_that_is_well(start: Start, begin: Begin) -> None:
    server = start(depth=3)
    assert begin(server.mountpoint, "write", "read").end() == [4096, 4096]
    found = inspect(server)
    assert (found.status, found.rules) == (0, [])
    assert found.told["mountpoints"] == [str(server.mountpoint)]
    assert [one["pid"] for one in found.told["servers"]] == [server.pid]
    assert (found.told["connected"], found.told["initialized"], found.told["ready"]) == (True, True, True)
    assert [queue["queue"] for queue in found.told["queues"]] == list(range(possible_cpus()))
    assert len(found.entries("available")) == 3 * possible_cpus()
    assert {entry["state"] for entry in found.entries("available")} == {"FRRS_AVAILABLE"}
    assert found.told["requests"] == []
    assert {thread["pid"] for thread in found.told["threads"]} == {server.pid}


def test_a_request_that_is_never_answered(faulty: Faulty, begin: Begin, faults: Path) -> None:
    server = faulty("no-answer")
    assert begin(server.mountpoint, "write").end() == [4096]
    client = begin(server.mountpoint, "read")
    hung(client)
    found = inspect(server)
    (committed,) = witnessed(faults)
    assert (found.status, found.rules) == (FOUND, ["unanswered"])
    assert found.told["findings"][0]["unique"] == committed["unique"]
    (request,) = found.told["requests"]
    assert (request["unique"], request["op"], request["list"]) == (committed["unique"], "READ", "userspace")
    assert request["client_tid"] == client.process.pid
    assert LEAST < request["age"] < 60
    assert "FR_SENT" in request["flags"]
    assert any("fuse" in name for name in request["client"]["sleeps_in"]), request["client"]
    (entry,) = found.entries("userspace")
    assert (entry["unique"], entry["state"]) == (committed["unique"], "FRRS_USERSPACE")
    assert len(found.entries("available")) == 2 * possible_cpus() - 1


def test_an_answer_that_is_never_committed(faulty: Faulty, begin: Begin, faults: Path) -> None:
    server = faulty("no-commit")
    assert begin(server.mountpoint, "write").end() == [4096]
    hung(begin(server.mountpoint, "read"))
    found = inspect(server)
    (committed,) = witnessed(faults)
    assert (found.status, found.rules) == (FOUND, ["unanswered"])
    said = found.told["findings"][0]
    assert said["unique"] == committed["unique"]
    assert said["sentence"].endswith("; a reply with error 0 lies in its header slot and was not committed.")
    (entry,) = found.entries("userspace")
    assert entry["reply"] == {"error": 0, "payload_size": 4096}


def test_requests_that_wait_for_the_only_entry(faulty: Faulty, begin: Begin, faults: Path) -> None:
    server = faulty("no-answer", depth=1)
    assert begin(server.mountpoint, "write").end() == [4096]
    first = begin(server.mountpoint, "read")
    assert eventually(lambda: faults.exists() and len(witnessed(faults)) == 1)
    second = begin(server.mountpoint, "space")
    hung(first)
    hung(second)
    found = inspect(server)
    assert sorted(found.rules) == ["no-entry", "unanswered"]
    waiting = next(one for one in found.told["findings"] if one["rule"] == "no-entry")
    assert waiting["queue"] == CPU
    assert "its entry is in the server's hands" in waiting["sentence"]
    by_unique = {one["unique"]: one for one in found.told["requests"]}
    assert by_unique[waiting["unique"]]["client_tid"] == second.process.pid
    assert by_unique[waiting["unique"]]["op"] == "STATFS"


def test_a_ring_that_does_not_get_ready(faulty: Faulty, begin: Begin) -> None:
    server = faulty("missing-queue")
    client = begin(server.mountpoint, "space")
    hung(client)
    found = inspect(server)
    assert (found.status, found.rules) == (FOUND, ["ring-not-ready"])
    last = possible_cpus() - 1
    assert f"queue {last} has no entry" in found.told["findings"][0]["sentence"]
    assert found.told["ready"] is False
    assert found.told["waiting"] == 1


@pytest.mark.parametrize("uring", [True, False])
def test_a_server_that_is_stopped(
    start: Start, begin: Begin, stopped: Callable[[DemoServer], None], *, uring: bool
) -> None:
    server = start(depth=2, uring=uring)
    stopped(server)
    client = begin(server.mountpoint, "space")
    hung(client)
    found = inspect(server, "--diff")
    assert found.status == FOUND
    assert found.told["diff"]["stayed"] == [found.told["requests"][0]["unique"]]
    assert "The server is stopped: kill -CONT lets it go on." in found.told["findings"][0]["sentence"]
    (request,) = found.told["requests"]
    assert (request["op"], request["client_tid"]) == ("STATFS", client.process.pid)
    by_mount = run_furtrace("inspect", "--json", "--mount", str(server.mountpoint))  # which it must not touch
    assert json.loads(by_mount.stdout)["connection"] == server.connection
    # A stopped thread may or may not do what io_uring has it do, to take the request.
    rules = {"pending": "not-fetched", "with_request": "not-fetched", "userspace": "unanswered"}
    assert found.rules == [rules[request["list"]]]
    assert (request["list"] == "pending") == (not uring)
    assert {thread["state"] for thread in found.told["threads"]} == {"T"}


def test_a_thread_that_has_ended(faulty: Faulty, begin: Begin, faults: Path) -> None:
    server = faulty("dead-thread")
    assert begin(server.mountpoint, "write").end() == [4096]
    hung(begin(server.mountpoint, "read"))
    found = inspect(server)
    assert found.rules == ["entries-gone", "unanswered"]
    gone, unanswered = found.told["findings"]
    assert (gone["queue"], unanswered["queue"]) == (CPU, CPU)
    assert unanswered["unique"] == witnessed(faults)[0]["unique"]
    assert len(found.entries("available")) == 2 * possible_cpus() - 1


def test_again_and_again(start: Start) -> None:
    server = start(depth=2)
    asked = [*FURTRACE, "inspect", "--json", "--connection", str(server.connection), "--watch"]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        times = [json.loads(process.stdout.readline())["ns"] for _ in range(3)]
        process.send_signal(signal.SIGINT)
        assert (process.wait(PATIENCE), process.stderr.read()) == (0, "")
    assert all(0.9e9 < later - sooner < 30e9 for sooner, later in pairwise(times))


def test_a_server_that_ends_while_it_is_watched(start: Start) -> None:
    server = start(depth=2)
    asked = [*FURTRACE, "inspect", "--connection", str(server.connection), "--watch", "0.2"]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(f"Connection {server.connection} on ")
        server.stop()
        _, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, len(said.splitlines())) == (1, 1)
    assert f"There is no connection {server.connection}" in said


def test_what_init_agreed_on(start: Start) -> None:
    """What the demo's server answers to INIT, and what it does not know."""
    bits = inspect(start(depth=2)).told["fuse_conn"]
    asked = {"async_read", "atomic_o_trunc", "big_writes", "do_readdirplus", "readdirplus_auto", "async_dio"}
    assert asked | {"parallel_dirops"} <= set(bits)
    assert not {"writeback_cache", "posix_acl", "cache_symlinks", "handle_killpriv", "no_open"} & set(bits)


def test_connections_are_told_apart(start: Start) -> None:
    one, other = start(depth=2), start(depth=4)
    assert len(inspect(one).entries("available")) == 2 * possible_cpus()
    assert len(inspect(other).entries("available")) == 4 * possible_cpus()
    by_mount = run_furtrace("inspect", "--mount", str(other.mountpoint), "--json")
    assert json.loads(by_mount.stdout)["connection"] == other.connection
    by_pid = run_furtrace("inspect", "--pid", str(one.pid), "--json")
    assert json.loads(by_pid.stdout)["connection"] == one.connection


def test_for_people(faulty: Faulty, begin: Begin, faults: Path) -> None:
    server = faulty("no-answer")
    assert begin(server.mountpoint, "write").end() == [4096]
    hung(begin(server.mountpoint, "read"))
    for columns in ("80", "160"):
        done = run_furtrace(
            *("inspect", "--pid", str(server.pid), "--memory", "--unanswered", str(LEAST)),
            env=os.environ | {"COLUMNS": columns},
        )
        assert (done.returncode, done.stderr) == (FOUND, "")
        assert max(map(len, done.stdout.splitlines())) <= int(columns)
        text = " ".join(done.stdout.split())
        unique = witnessed(faults)[0]["unique"]
        assert f"Connection {server.connection} on {server.mountpoint}" in text
        assert f"READ unique={unique}" in text
        assert f"WARNING unanswered: READ, unique {unique}" in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--connection", "999999"), "There is no connection 999999"),
        (("--mount", "/"), "No process here serves a FUSE mount on /"),
        (("--pid", "1"), "Process 1 serves no FUSE connection"),
    ],
)
def test_what_is_not_there(options: tuple[str, ...], said: str) -> None:
    done = run_furtrace("inspect", *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr


def test_a_full_disk(start: Start) -> None:
    start(depth=2)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*FURTRACE, "inspect"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, "No space left" in done.stderr, "Traceback" in done.stderr) == (1, True, False)
