"""The demo server: ``python -m furtrace.demo.server DIR``.

Mounts an empty file system in memory on DIR and serves it over io_uring (or, with ``--no-uring``, through /dev/fuse
alone) until SIGTERM, SIGINT or SIGHUP, or until it is unmounted or aborted from outside.
"""

import os
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from furtrace.demo import affinity, backing, enable, mounting, wire
from furtrace.demo.device import Device
from furtrace.demo.errors import DemoError, Deserted
from furtrace.demo.faultlog import FaultLog
from furtrace.demo.guard import Guard
from furtrace.demo.handlers import Answer, Handlers
from furtrace.demo.modes import Mode
from furtrace.demo.node import Owner
from furtrace.demo.options import Options, parse
from furtrace.demo.ringqueue import Accounts, RingQueue
from furtrace.demo.sender import CommandLog
from furtrace.demo.session import Session
from furtrace.demo.tree import Tree
from furtrace.demo.witness import Witness

_INIT_TIMEOUT = 10.0
_JOIN_TIMEOUT = 2.0
_DRAIN_INTERVAL_MS = 500
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Server:
    """One mount and the threads that serve it; ``run`` is its whole life. ``source`` names it in the mount table."""

    def __init__(self, options: Options, source: str) -> None:
        self._options = options
        self._source = source
        self._fault = options.fault
        faults = FaultLog(options.log_faults, self._fault.name if self._fault else "")
        self._accounts = Accounts(Witness(options.log), CommandLog(options.log_commands), faults)
        self._session = Session(_tree(options.limits.mode), options.limits)
        self._handlers = Handlers(self._session)
        self._fuse_fd = mounting.open_device()
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC)
        self._stop_fd = os.eventfd(0, os.EFD_CLOEXEC)
        self._device = Device(
            self._fuse_fd, self._stop_fd, options.limits.max_write, self._by_device(), self._accounts.requests
        )
        self._switched = ExitStack()
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
        with ExitStack() as switched:
            if uring:
                switched.enter_context(enable.enable_uring())
            connection = mounting.mount(self._fuse_fd, options.directory, self._source)
            self._agree()
            self._spawn("device", self._device.serve)
            queues = self._start_queues() if uring else 0
            if self._fault and self._fault.stays_enabled:
                self._switched = switched.pop_all()
        if self._fault is None or self._fault.answers:
            _await_answer(options.directory)
        transport, depth = ("uring", options.depth) if uring else ("dev", 0)
        print(f"ready {options.directory} {connection=} {transport=!s} {queues=} {depth=}", flush=True)

    def _agree(self) -> None:
        if self._fault and self._fault.before_init:
            self._fault.before_init(self._fuse_fd, self._options.queue_memory(), self._accounts)
        if not self._device.serve_until(lambda: self._session.minor > 0, _INIT_TIMEOUT):
            raise DemoError("the kernel sent no INIT")
        limits, agreed = self._session.limits, self._session.flags
        if limits.unoffered:
            self._admit_unoffered(limits.unoffered)
        if limits.uring and not agreed & wire.OVER_IO_URING:
            raise DemoError("the kernel did not offer FUSE over io_uring on this connection")
        if limits.mode.pooled and not agreed & wire.HAS_IO_URING_BUFPOOL:
            raise DemoError(
                f"this kernel has no buffer pools, which mode {limits.mode} needs; Linux has them since 7.3"
            )

    def _admit_unoffered(self, flags: int) -> None:
        if self._session.offered & flags:
            raise DemoError(f"the kernel offers by itself what it was not to offer; switch {enable.PARAMETER} off")
        self._accounts.faults.committed(f"INIT flags {flags:#x} replied and not offered")

    def _by_device(self) -> Answer:
        answer = self._handlers.answer
        if self._fault is None or self._fault.wrap is None:
            return answer
        return self._fault.wrap(answer, self._accounts.faults)

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
        kind = self._fault.queue if self._fault else RingQueue

        def live() -> None:
            try:
                affinity.pin(kind.cpu(qid))
                buffers = self._options.queue_memory()
                ring_queue = kind(qid, self._fuse_fd, buffers, self._handlers, self._accounts)
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
            deserted = False
            try:
                life()
            except Deserted:
                deserted = True
            except (DemoError, OSError) as problem:
                self._problems.append(f"{name}: {problem}")
            finally:
                # Whatever ends, the server ends with it: a connection without its thread would hang its clients.
                if not deserted:
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
            for log in self._accounts:
                log.drain()

    def _stop(self) -> None:
        try:
            mounting.detach(self._options.directory, self._source)
        finally:
            os.eventfd_write(self._stop_fd, 1)
            for thread in self._threads:
                thread.join(_JOIN_TIMEOUT)
            os.close(self._fuse_fd)
            for log in self._accounts:
                log.close()
            self._switched.close()


def _tree(mode: Mode) -> Tree:
    owner = Owner(os.getuid(), os.getgid())
    if mode is not Mode.ZERO_COPY:
        return Tree(owner)
    backing.allow_many()
    return Tree(owner, contents=backing.unless_copied)


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
    options = parse(arguments)
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


if __name__ == "__main__":
    sys.exit(main())
