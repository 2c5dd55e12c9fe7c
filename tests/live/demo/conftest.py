"""Servers to test against: one over io_uring, one through /dev/fuse alone."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from furtrace.demo import mounting
from furtrace.demo.enable import PARAMETER
from furtrace.demo.process import DemoServer

Start = Callable[..., DemoServer]


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
