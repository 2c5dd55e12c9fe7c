"""What the live tests share: furtrace as a child process, and the conditions under which they can run."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from furtrace.demo.enable import enable_uring
from furtrace.demo.process import DemoServer

FURTRACE: Final = (sys.executable, "-m", "furtrace")
PATIENCE: Final = float(os.environ.get("FURTRACE_TEST_PATIENCE", "60"))
"""Seconds that furtrace gets to begin, and to end; an emulated machine takes longer."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip live tests by name where they can't run."""
    reason = None
    if os.geteuid() != 0:
        reason = "live tests need root"
    elif not Path("/dev/fuse").exists():
        reason = "live tests need /dev/fuse"
    if reason:
        for item in items:
            if item.get_closest_marker("live"):
                item.add_marker(pytest.mark.skip(reason=reason))


@dataclass
class Trace:
    """A running `furtrace live`."""

    process: "subprocess.Popen[bytes]"
    out: Path
    err: Path

    def wait_for(self, text: str, timeout: float = PATIENCE) -> None:
        """Wait until standard error holds ``text``."""
        end = time.monotonic() + timeout
        while text not in self.err.read_text():
            assert time.monotonic() < end, f"no {text!r} in {self.err.read_text()!r}"
            assert self.process.poll() is None, f"ended early: {self.err.read_text()!r}"
            time.sleep(0.02)

    def end(self, number: signal.Signals = signal.SIGINT, timeout: float = PATIENCE) -> int:
        """Send a signal and return the exit status."""
        time.sleep(0.2)  # what has just happened is drained
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def lines(self) -> list[str]:
        """Lines of standard output."""
        return self.out.read_text(errors="surrogateescape").splitlines()

    def requests(self) -> list[dict[str, Any]]:
        """Requests of a trace with --json."""
        return [item for item in map(json.loads, self.lines()) if item["type"] == "request"]

    def summary(self) -> dict[str, Any]:
        """The last line of a trace with --json."""
        last: dict[str, Any] = json.loads(self.lines()[-1])
        assert last["type"] == "summary"
        return last


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Callable[..., Trace]]:
    """Start `furtrace live` with the given arguments, and wait until it traces."""
    running: list[Trace] = []

    def start(*arguments: str, ready: str = "Tracing on") -> Trace:
        number = len(running)
        out, err = tmp_path / f"out{number}", tmp_path / f"err{number}"
        with out.open("wb") as out_file, err.open("wb") as err_file:
            process = subprocess.Popen([*FURTRACE, "live", *arguments], stdout=out_file, stderr=err_file)
        trace = Trace(process, out, err)
        running.append(trace)
        trace.wait_for(ready)
        return trace

    yield start
    for trace in running:
        if trace.process.poll() is None:
            trace.process.kill()
            trace.process.wait()


@pytest.fixture
def uring() -> Iterator[None]:
    """FUSE servers may use io_uring meanwhile."""
    with enable_uring():
        yield


@pytest.fixture
def demo_server(uring: None, tmp_path: Path) -> Iterator[DemoServer]:
    """A demo server over io_uring, depth 4, with its log in ``tmp_path / "server.log"``."""
    with DemoServer(depth=4, log=tmp_path / "server.log") as server:
        yield server


def run_furtrace(*arguments: str, timeout: float = 2 * PATIENCE, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run furtrace to its end."""
    return subprocess.run(
        [*FURTRACE, *arguments], capture_output=True, text=True, timeout=timeout, check=False, **options
    )


@contextlib.contextmanager
def tracefs() -> Iterator[None]:
    """Have tracefs mounted, which perf wants; unmounted again if it was not."""
    place = Path("/sys/kernel/tracing")
    mounted = (place / "events").exists()
    if not mounted:
        subprocess.run(["mount", "-t", "tracefs", "tracefs", place], check=True)
    try:
        yield
    finally:
        if not mounted:
            subprocess.run(["umount", place], check=False)
