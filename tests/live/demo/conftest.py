"""Servers to test against: over io_uring, through /dev/fuse alone, and such that do wrong; and clients of theirs."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from furtrace.demo import mounting
from furtrace.demo.enable import PARAMETER
from furtrace.demo.process import DemoServer
from tests.live.conftest import PATIENCE

Start = Callable[..., DemoServer]

CPU = 0
"""Where clients run, so that their requests come to this queue."""
SETTLED_SECONDS = 0.5
"""Longer than anything takes that does not hang."""

CLIENT = """
import mmap, os, sys, threading
cpu, root, *steps = sys.argv[1:]
os.sched_setaffinity(0, {int(cpu)})
path = root + "/f"
memory = mmap.mmap(-1, 4096)
def opened(flags):
    file = os.open(path, flags)
    try:
        yield file
    finally:
        os.close(file)
def write():
    for file in opened(os.O_RDWR | os.O_CREAT):
        return os.pwrite(file, b"x" * 4096, 0)
def read():
    for file in opened(os.O_RDONLY | os.O_DIRECT):
        return os.preadv(file, [memory], 0)
def byte():
    memory[:] = b"Z" * 4096
    read()
    return memory[0]
def size():
    for file in opened(os.O_RDWR | os.O_DIRECT):
        os.pwrite(file, memory, 0)
        return os.fstat(file).st_size
def reads():
    for _ in range(200):
        read()
    return 200
def together(each=1):
    done = []
    def attempt():
        for _ in range(each):
            try:
                done.append(read())
            except OSError:
                pass
    threads = [threading.Thread(target=attempt) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return len(done)
def crowd():
    return together(100)
def space():
    return int(os.statvfs(root).f_bsize)
for step in steps:
    try:
        result = globals()[step]()
    except OSError as problem:
        result = -problem.errno
    print(result, flush=True)
"""


class Client:
    """A process that uses the mount, a step after the other, and says what each came to."""

    def __init__(self, root: Path, *steps: str) -> None:
        command = [sys.executable, "-I", "-S", "-c", CLIENT, str(CPU), str(root), *steps]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def end(self) -> list[int]:
        """Wait for the end and return what the steps came to: a negative errno where one failed."""
        said, _ = self.process.communicate(timeout=PATIENCE)
        return [int(line) for line in said.split()]

    def hangs(self) -> bool:
        """Tell whether it does not end."""
        time.sleep(SETTLED_SECONDS)
        return self.process.poll() is None


Begin = Callable[..., Client]
Faulty = Callable[..., DemoServer]


@pytest.fixture(autouse=True)
def _needs() -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    if not Path("/dev/fuse").exists():
        pytest.skip("this kernel has no /dev/fuse")


@pytest.fixture(params=[True, False], ids=["uring", "dev"])
def uring(request: pytest.FixtureRequest) -> bool:
    wanted = bool(request.param)
    if wanted and not PARAMETER.exists():
        pytest.skip("this kernel has no FUSE over io_uring")
    return wanted


@pytest.fixture(scope="session")
def has_pools() -> bool:
    """Whether this kernel has buffer pools for FUSE over io_uring, by its own description of its types."""
    described = (Path("/sys/kernel/btf") / name for name in ("vmlinux", "fuse"))
    return any(b"\0fuse_bufpool\0" in file.read_bytes() for file in described if file.exists())


@pytest.fixture
def pools(has_pools: bool) -> None:
    if not has_pools:
        pytest.skip("this kernel has no buffer pools (Linux 7.3 on)")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "witness.jsonl"


@pytest.fixture
def start(log: Path) -> Iterator[Start]:
    """Return a function that starts a server with a log; all that it started is gone at the end, mounts too."""
    started: list[tuple[DemoServer, Path]] = []

    def start(**options: Any) -> DemoServer:
        server = DemoServer(log=log, **options)
        server.start()
        started.append((server, server.mountpoint))
        return server

    yield start
    for server, mountpoint in started:
        server.stop()
        assert mounting.find(mountpoint) == []
        assert not mountpoint.exists()


@pytest.fixture
def server(start: Start, uring: bool) -> DemoServer:
    return start(uring=uring)


@pytest.fixture
def root(server: DemoServer) -> Path:
    return server.mountpoint


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Return a function that starts a client. Those that still run at the end, when no server does, are killed."""
    clients: list[Client] = []

    def begin(root: Path, *steps: str) -> Client:
        clients.append(Client(root, *steps))
        return clients[-1]

    yield begin
    for client in clients:
        client.process.kill()
        client.process.communicate(timeout=PATIENCE)


@pytest.fixture
def faults(tmp_path: Path) -> Path:
    return tmp_path / "faults.jsonl"


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    return tmp_path / "commands.jsonl"


@pytest.fixture
def faulty(begin: Begin, start: Start, faults: Path, sent: Path) -> Faulty:
    """Return a function that starts a server with a fault, which ends before the clients are killed."""
    if not PARAMETER.exists():
        pytest.skip("this kernel has no FUSE over io_uring")

    def faulty(name: str, **options: Any) -> DemoServer:
        return start(**{"fault": name, "depth": 2, "log_faults": faults, "log_commands": sent} | options)

    return faulty


def witnessed(log: Path) -> list[dict[str, Any]]:
    """Return what the server says it received and answered."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
