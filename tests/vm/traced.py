"""Servers under furtrace, in the machine that runs them: ``python -m tests.vm.traced FOLDER TRACER,... CASE...``.

Tracing begins before anything is mounted, in all ways that are asked for, so that each sees the same requests. A
server for each case is mounted and gets a workload, which compares what it reads with what it has written; then the
servers end, and after them the tracing. What furtrace says goes to ``FOLDER/TRACER.jsonl``, its recording to
``FOLDER/TRACER.pcapng.zst``, a server's log to ``FOLDER/CASE.log``, and what else is to be known of the run to
``FOLDER/facts.json``, which is not there if anything failed.
"""

import json
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from furtrace.demo.enable import enable_uring
from furtrace.demo.modes import Mode
from furtrace.demo.process import DemoServer
from furtrace.probe.btf import running_kernel
from furtrace.probe.vantage import PLACES, Vantages
from furtrace.trace.record import Step
from tests.vm import poolserver
from tests.vm.kernels import version_of
from tests.vm.poolserver import PoolServer
from tests.vm.poolserver_traffic import ZERO_COPY_NAMES, work
from tests.vm.sequences import Shown

TRACERS: Final = {
    "function": (),
    "kernel": ("--steps", "kernel"),
    "tracepoint": ("--vantage", "tracepoint"),
}
"""Ways to trace, and their options."""
ENTRIES: Final = 4
NUMBERED_SINCE: Final = (6, 18)
"""The first Linux of which it is known that a request has its number at QUEUED."""
FACTS: Final = "facts.json"
PATIENCE: Final = 900.0
"""Seconds for what takes minutes on an emulated machine: compiling probes, writing events, starting a server."""


@dataclass(frozen=True)
class Case:
    """A server, the demo's in a mode or the one in C, and its workload.

    It is a small one: emulated, furtrace writes few hundred events a second.
    """

    name: str
    mode: Mode

    @property
    def is_demo(self) -> bool:
        """Whether it is the demo's."""
        return self.name.startswith("demo-")

    @property
    def buffers(self) -> int:
        """Of each queue's pool: fewer than entries, so that requests wait for one."""
        return 1 if self.mode is Mode.POOL else 2

    @property
    def files(self) -> int:
        """Of the workload: in zero-copy also one that is opened for it."""
        return 2 if self.mode is Mode.ZERO_COPY else 1

    def server(self, directory: Path, backing: Path, log: Path) -> DemoServer | PoolServer:
        """Return the server, not yet started."""
        if self.is_demo:
            buffers = self.buffers if self.mode.pooled else None
            return DemoServer(
                depth=ENTRIES, mode=self.mode, buffers=buffers, log=log, directory=directory, timeout=PATIENCE
            )
        mode = poolserver.Mode(self.mode)
        return PoolServer(backing, mode, log, entries=ENTRIES, buffers=self.buffers, zero_copy_names=ZERO_COPY_NAMES)

    def work(self, mountpoint: Path, backing: Path) -> None:
        """Give the server its workload. The demo has its files in memory: they are read again through the mount."""
        work(mountpoint, mountpoint if self.is_demo else backing, self.files)


CASES: Final = {
    case.name: case
    for case in (
        *(Case(f"demo-{mode}", mode) for mode in Mode),
        *(Case(f"pool-server-{mode}", Mode(mode)) for mode in poolserver.Mode),
    )
}


@contextmanager
def traced(folder: Path, names: Sequence[str], mount: Path | None) -> Iterator[None]:
    """Trace by ``names`` of tracers while the block lasts: all connections, or the one that is mounted on ``mount``."""
    with ExitStack() as stack:
        processes = {name: stack.enter_context(_furtrace(folder, name, mount)) for name in names}
        for name, process in processes.items():
            _wait_until_ready(process, folder / f"{name}.err")
        yield
        for process in (
            processes.values() if mount is None else ()
        ):  # those of a mount end by themselves when it is gone
            process.send_signal(signal.SIGINT)
        for name, process in processes.items():
            assert process.wait(PATIENCE) == 0, (folder / f"{name}.err").read_text()


@contextmanager
def _furtrace(folder: Path, name: str, mount: Path | None) -> "Iterator[subprocess.Popen[bytes]]":
    command = [sys.executable, "-m", "furtrace", "live", "--json", "--events", *TRACERS[name]]
    command += ["--record", str(folder / f"{name}.pcapng.zst"), *(["--mount", str(mount)] if mount else [])]
    with (folder / f"{name}.jsonl").open("wb") as out, (folder / f"{name}.err").open("wb") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(process: "subprocess.Popen[bytes]", said: Path) -> None:
    end = time.monotonic() + PATIENCE
    while b"Ctrl-C ends" not in said.read_bytes():
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < end, "furtrace does not get to tracing"
        time.sleep(0.1)


@dataclass
class Running:
    """Servers at work, each on a directory of its own in ``places``, with another one for its backing files."""

    folder: Path
    places: Path
    cases: Sequence[Case]

    def place(self, case: Case) -> Path:
        """Where the demo's servers are mounted; the others find themselves a place."""
        return self.places / case.name

    def run(self) -> dict[str, int]:
        """Run all servers at the same time, and return their connections."""
        with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
            stack.enter_context(enable_uring())
            servers = [self._server(case) for case in self.cases]
            for server in servers:
                stack.callback(server.stop)
            list(pool.map(lambda server: server.start(), servers))
            connections = {case.name: server.connection for case, server in zip(self.cases, servers, strict=True)}
            list(pool.map(self._work, self.cases, servers))
            list(pool.map(_stop, servers))
        return connections

    def _server(self, case: Case) -> DemoServer | PoolServer:
        self.place(case).mkdir()
        self._backing(case).mkdir()
        return case.server(self.place(case), self._backing(case), self.folder / f"{case.name}.log")

    def _backing(self, case: Case) -> Path:
        return self.places / f"{case.name}.backing"

    def _work(self, case: Case, server: DemoServer | PoolServer) -> None:
        case.work(server.mountpoint, self._backing(case))


def _stop(server: DemoServer | PoolServer) -> None:
    said = server.said() if isinstance(server, DemoServer) else ""
    assert not said, said
    status = server.stop()
    assert not status, status


@dataclass(frozen=True)
class Seen:
    """Where events and steps inside the kernel are seen on this kernel, in the words of `furtrace doctor`.

    Attributes:
        events: by their names; None: nowhere.
        steps: by the names of the kernel's functions.
        kernel_events: names of those events that come with ``--steps kernel`` alone.
        tracepoint_events: names of those that tracepoints alone can show.
        late_numbers: see ``Shown``.
    """

    events: dict[str, str | None]
    steps: dict[str, str | None]
    kernel_events: list[str]
    tracepoint_events: list[str]
    late_numbers: bool

    def shown(self, tracer: str) -> Shown:
        """What a tracer of this name shows."""
        events = {name for name, place in self.events.items() if place}
        if tracer == "tracepoint":
            return Shown(frozenset(events & set(self.tracepoint_events)), late_numbers=self.late_numbers)
        if tracer == "function":
            return Shown(frozenset(events - set(self.kernel_events)), late_numbers=self.late_numbers)
        steps = frozenset(name for name, place in self.steps.items() if place)
        copied_at_last = (self.events["COPIED"] or "").endswith("copy_to_ring")
        return Shown(frozenset(events), steps, copied_at_last, self.late_numbers)


def seen_here() -> Seen:
    """Ask what this kernel lets be seen."""
    seen = Seen({}, {}, [], [], version_of(platform.release()) < NUMBERED_SINCE)
    for choice in Vantages(running_kernel()).choices():
        if isinstance(choice.about, Step):
            seen.steps[choice.about.function] = choice.seen
            continue
        name = choice.about.name
        seen.events[name] = choice.seen
        if choice.kernel:
            seen.kernel_events.append(name)
        if any(place.how == "tracepoint" for place in PLACES[choice.about]):
            seen.tracepoint_events.append(name)
    return seen


@dataclass(frozen=True)
class Facts:
    """What is known of a run besides the traces and the logs.

    Attributes:
        connections: of the cases.
        seen: where events are seen.
        seconds: how long furtrace took to begin, the servers to be done, and furtrace to end.
    """

    connections: dict[str, int]
    seen: Seen
    seconds: list[int]


def read_facts(folder: Path) -> Facts:
    """Return the facts of the run that has left its results in a folder."""
    found: dict[str, Any] = json.loads((folder / FACTS).read_text())
    return Facts(found["connections"], Seen(**found["seen"]), found["seconds"])


def main(folder: Path, tracers: Sequence[str], names: Sequence[str]) -> int:
    """Run the cases; with one alone, its mount is waited for by the tracers."""
    cases = [CASES[name] for name in names]
    with tempfile.TemporaryDirectory(prefix="furtrace-traced-") as places:
        running = Running(folder, Path(places).resolve(), cases)
        mount = running.place(cases[0]) if len(cases) == 1 else None
        began = time.monotonic()
        with traced(folder, tracers, mount):
            ready = time.monotonic()
            connections = running.run()
            worked = time.monotonic()
    seconds = [round(after - before) for before, after in pairwise((began, ready, worked, time.monotonic()))]
    (folder / FACTS).write_text(json.dumps(asdict(Facts(connections, seen_here(), seconds))))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2].split(","), sys.argv[3:]))
