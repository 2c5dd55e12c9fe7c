"""What furtrace says of a server that is none of ours, against what perf saw of the same requests."""

import email
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.external import Unavailable, libfuse
from tests.live.conftest import Trace, tracefs

pytestmark = [pytest.mark.live, pytest.mark.slow]

Fate = tuple[int, int, int]  # unique, opcode, error

_SEND = re.compile(r"fuse:fuse_request_send: connection (\d+) req (\d+) opcode (\d+)")
_END = re.compile(r"fuse:fuse_request_end: connection (\d+) req (\d+) len \d+ error (-?\d+)")


@contextmanager
def perf_record(data: Path) -> Iterator[None]:
    """Record both fuse tracepoints on all CPUs."""
    if shutil.which("perf") is None:
        pytest.skip("perf is not installed")
    events = ["-e", "fuse:fuse_request_send", "-e", "fuse:fuse_request_end"]
    command = ["perf", "record", "-q", "-a", "-m", "8192", *events, "-o", str(data), "sleep", "1000"]
    with tracefs(), subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as perf:
        try:
            while not data.exists() or not data.stat().st_size:
                assert perf.poll() is None, f"perf: {perf.stderr.read() if perf.stderr else ''}"
            yield
        finally:
            perf.terminate()
            perf.wait(60)


def perf_requests(data: Path, connection: int) -> Counter[Fate]:
    """Requests of a connection that perf saw begin and end."""
    said = subprocess.run(["perf", "script", "-i", data], capture_output=True, text=True, check=True)
    assert "LOST" not in said.stdout, "perf itself lost events"
    opcodes: dict[int, int] = {}
    seen: Counter[Fate] = Counter()
    for line in said.stdout.splitlines():
        if begun := _SEND.search(line):
            if int(begun[1]) == connection:
                opcodes[int(begun[2])] = int(begun[3])
        elif (ended := _END.search(line)) and int(ended[1]) == connection:
            seen[int(ended[2]), opcodes.pop(int(ended[2])), int(ended[3])] += 1
    assert not opcodes, "requests that did not end"
    return seen


def fio(mount: Path) -> None:
    """4 KiB random direct reads and writes by two jobs: 90 000 requests at least, 8 000 a second at most."""
    command = ["fio", "--name=job", f"--directory={mount}", "--rw=randrw", "--bs=4k", "--size=32M", "--direct=1"]
    command += ["--numjobs=2", "--number_ios=48000", "--randseed=7", "--loops=8", "--group_reporting"]
    command += ["--rate_iops=2000,2000"]  # each job, reads and writes
    subprocess.run(command, check=True, capture_output=True, timeout=300)


@pytest.fixture
def server(uring: None, tmp_path: Path) -> Iterator[libfuse.Server]:
    source = tmp_path / "source"
    source.mkdir()
    try:
        with libfuse.passthrough_hp(source) as server:
            yield server
    except Unavailable as reason:
        pytest.skip(str(reason))


def test_a_hundred_thousand_requests_are_those_that_perf_saw(
    server: libfuse.Server, live: Callable[..., Trace], tmp_path: Path
) -> None:
    if shutil.which("fio") is None:
        pytest.skip("fio is not installed")
    mount, data = server.mountpoint, tmp_path / "perf.data"
    with perf_record(data):
        trace = live("--json", "--mount", str(mount))
        fio(mount)
        subprocess.run(
            ["cp", "-r", Path(json.__file__).parent, Path(email.__file__).parent, mount], check=True, timeout=60
        )
        subprocess.run(["find", mount, "-ls"], check=True, capture_output=True, timeout=60)
        subprocess.run(f"rm -r {mount}/*", shell=True, check=True, timeout=60)
        assert trace.end() == 0
    requests = trace.requests()
    assert trace.summary()["lost"] == 0
    ours = Counter((one["unique"], one["opcode"], one["error"]) for one in requests)
    theirs = perf_requests(data, server.connection)
    assert theirs.total() >= 100_000
    assert ours == theirs
    assert {one["transport"] for one in requests} == {"uring"}
    assert {one["server_pid"] for one in requests} == {server.pid}
    for one in requests:
        times = [one[f"{event}_ns"] for event in ("queued", "delivered", "committed", "ended")]
        assert times == sorted(times), one
        assert one["commit_id"] == one["unique"]
