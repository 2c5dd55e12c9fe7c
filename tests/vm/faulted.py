"""Commits faults with the demo server, one after another, while one `furtrace check` runs: ``faulted.py FOLDER NAME…``.

What it leaves in FOLDER: ``findings.jsonl``, the check's output; for each fault ``NAME.json``, when it was, and
``NAME.jsonl``, what the server says of it.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from furtrace.demo.enable import enable_uring
from furtrace.demo.process import DemoServer
from tests.live.demo.conftest import Client
from tests.live.demo.faultcases import CASES

PATIENCE: Final = 120.0
SETTLED: Final = 1.0
"""Seconds after a fault for what is said of it."""


@contextmanager
def checking(folder: Path) -> Iterator[None]:
    """Have all connections checked."""
    said = folder / "check.err"
    with (folder / "findings.jsonl").open("wb") as out, said.open("wb") as err:
        process = subprocess.Popen([sys.executable, "-m", "furtrace", "check", "--json"], stdout=out, stderr=err)
    try:
        wait_until(lambda: b"Ctrl-C ends" in said.read_bytes())
        yield
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()


def commit(folder: Path, name: str) -> None:
    """Have a server commit a fault, and write down when that was."""
    case = CASES[name]
    began = time.monotonic_ns()
    with DemoServer(fault=name, depth=case.depth, log_faults=folder / f"{name}.jsonl") as server:
        connection = server.connection
        client = Client(server.mountpoint, *case.steps)
        client.process.communicate(timeout=PATIENCE)
        time.sleep(SETTLED)
    facts = {"connection": connection, "began_ns": began, "ended_ns": time.monotonic_ns()}
    (folder / f"{name}.json").write_text(json.dumps(facts))


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def main() -> None:
    """Commit them."""
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    with enable_uring(), checking(folder):
        for name in names:
            commit(folder, name)


if __name__ == "__main__":
    main()
