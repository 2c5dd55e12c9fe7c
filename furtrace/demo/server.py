"""The demo server: ``python -m furtrace.demo.server DIR``.

Mounts an empty file system in memory on DIR and serves it over io_uring (or, with ``--no-uring``, through /dev/fuse
alone) until SIGTERM, SIGINT or SIGHUP, or until it is unmounted or aborted from outside.
"""

import argparse
import os
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from furtrace.demo import affinity, enable, mounting, wire
from furtrace.demo.device import Device
from furtrace.demo.entries import OwnBuffers
from furtrace.demo.errors import DemoError
from furtrace.demo.guard import Guard
from furtrace.demo.handlers import Handlers
from furtrace.demo.node import Owner
from furtrace.demo.ringqueue import RingQueue
from furtrace.demo.session import Limits, Session
from furtrace.demo.tree import Tree
from furtrace.demo.witness import Witness

MAX_DEPTH = 1024
MIN_WRITE = 4096
MAX_WRITE = 1 << 20

_INIT_TIMEOUT = 10.0
_JOIN_TIMEOUT = 2.0
_DRAIN_INTERVAL_MS = 500
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class Options:
    """What to serve and how; ``log`` ``None`` keeps no account; ``until_eof`` ends with the standard input."""

    directory: Path
    depth: int = 8
    limits: Limits = field(default_factory=Limits)
    log: Path | None = None
    until_eof: bool = False


class Server:
    """One mount and the threads that serve it; ``run`` is its whole life. ``source`` names it in the mount table."""

    def __init__(self, options: Options, source: str) -> None:
        self._options = options
        self._source = source
        self._witness = Witness(options.log)
        self._session = Session(Tree(Owner(os.getuid(), os.getgid())), options.limits)
        self._answer = Handlers(self._session).answer
        self._fuse_fd = mounting.open_device()
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC)
        self._stop_fd = os.eventfd(0, os.EFD_CLOEXEC)
        self._device = Device(self._fuse_fd, self._stop_fd, options.limits.max_write, self._answer, self._witness)
        self._threads: list[threading.Thread] = []
        self._problems: list[str] = []

    def run(self) -> None:
        """Mount, serve until the end, unmount. ``DemoError`` when the mount can't be had or a thread has failed."""
        for number in _SIGNALS:
            signal.signal(number, lambda *_: os.eventfd_write(self._wake_fd, 1))
        try:
            self._start()
            self._wait()
        finally:
            self._stop()
        if self._problems:
            raise DemoError("; ".join(self._problems))

    def _start(self) -> None:
        options = self._options
        uring = options.limits.uring
        switched: AbstractContextManager[None] = enable.enable_uring() if uring else nullcontext()
        with switched:
            connection = mounting.mount(self._fuse_fd, options.directory, self._source)
            self._agree()
            self._spawn("device", self._device.serve)
            queues = self._start_queues() if uring else 0
        _await_answer(options.directory)
        transport, depth = ("uring", options.depth) if uring else ("dev", 0)
        print(f"ready {options.directory} {connection=} {transport=!s} {queues=} {depth=}", flush=True)

    def _agree(self) -> None:
        if not self._device.serve_until(lambda: self._session.minor > 0, _INIT_TIMEOUT):
            raise DemoError("the kernel sent no INIT")
        if self._session.limits.uring and not self._session.flags & wire.OVER_IO_URING:
            raise DemoError("the kernel did not offer FUSE over io_uring on this connection")

    def _start_queues(self) -> int:
        count = affinity.possible_cpus()
        registered: queue.SimpleQueue[None] = queue.SimpleQueue()
        for qid in range(count):
            self._spawn(f"queue {qid}", self._queue_life(qid, registered))
        for _ in range(count):
            registered.get()
        if self._problems:
            raise DemoError("; ".join(self._problems))
        return count

    def _queue_life(self, qid: int, registered: "queue.SimpleQueue[None]") -> Callable[[], None]:
        def live() -> None:
            affinity.pin(qid)
            try:
                buffers = OwnBuffers(self._options.depth, self._options.limits.payload_size)
                ring_queue = RingQueue(qid, self._fuse_fd, buffers, self._answer, self._witness)
                ring_queue.register(self._stop_fd)
            except (DemoError, OSError) as problem:
                self._problems.append(str(problem))
                return
            finally:
                registered.put(None)
            ring_queue.serve()
            ring_queue.close()

        return live

    def _spawn(self, name: str, life: Callable[[], None]) -> None:
        def live() -> None:
            try:
                life()
            except (DemoError, OSError) as problem:
                self._problems.append(f"{name}: {problem}")
            finally:
                # Whatever ends, the server ends with it: a connection without its thread would hang its clients.
                os.eventfd_write(self._wake_fd, 1)

        # Signals are for the main thread, which a thread inherits its mask from.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        thread = threading.Thread(target=live, name=name, daemon=True)
        thread.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        self._threads.append(thread)

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._wake_fd, select.POLLIN)
        if self._options.until_eof:
            poll.register(sys.stdin.fileno(), select.POLLHUP)
        while not poll.poll(_DRAIN_INTERVAL_MS):
            self._witness.drain()

    def _stop(self) -> None:
        try:
            mounting.detach(self._options.directory, self._source)
        finally:
            os.eventfd_write(self._stop_fd, 1)
            for thread in self._threads:
                thread.join(_JOIN_TIMEOUT)
            os.close(self._fuse_fd)
            self._witness.close()


def _await_answer(directory: Path) -> None:
    """Wait until the mount answers: the kernel holds every request back until all queues are there.

    Another process asks. A request of the server's own could not be given up if the server were killed over it: the
    thread that waits would keep /dev/fuse open, and so the connection alive, which alone could wake it.
    """
    asked = subprocess.run(
        [sys.executable, "-I", "-S", "-c", "import os, sys; os.statvfs(sys.argv[1])", directory],
        check=False,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    if asked.returncode:
        raise DemoError(f"the mount on {directory} does not answer")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server as a program; return its exit status: 0, or 1 with one sentence on standard error."""
    options = _options(arguments)
    try:
        _serve_guarded(options)
    except (DemoError, OSError) as problem:
        print(f"furtrace.demo.server: {problem}", file=sys.stderr)
        return 1
    return 0


def _serve_guarded(options: Options) -> None:
    if not options.directory.is_dir():
        raise DemoError(f"{options.directory} is not a directory")
    if any(options.directory.iterdir()):
        # A mount hides what lies below it from everybody on the machine.
        raise DemoError(f"{options.directory} is not empty")
    source = f"furtrace-demo:{os.getpid()}"
    guard = Guard(options.directory, source)
    try:
        Server(options, source).run()
    finally:
        guard.dismiss()


def _options(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="furtrace.demo.server",
        description="Serve a file system in memory by FUSE.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="where to mount")
    parser.add_argument("--depth", type=_between(1, MAX_DEPTH), default=8, help="entries a queue (default 8)")
    parser.add_argument(
        "--max-write", type=_between(MIN_WRITE, MAX_WRITE), default=131072, help="bytes a request (default 131072)"
    )
    parser.add_argument("--no-uring", dest="uring", action="store_false", help="serve through /dev/fuse alone")
    parser.add_argument("--log", type=Path, metavar="FILE", help="write what was received and answered, as JSON lines")
    parser.add_argument("--until-eof", action="store_true", help="end when the pipe on standard input is closed")
    given = parser.parse_args(arguments)
    limits = Limits(max_write=given.max_write, uring=given.uring)
    return Options(given.directory.resolve(), given.depth, limits, given.log, given.until_eof)


def _between(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not between {low} and {high}")
        return value

    return number


if __name__ == "__main__":
    sys.exit(main())
