"""A child process that outlives the server and cleans up behind it.

A server that is killed closes /dev/fuse, and with it the connection; its mount would stay in the table, and every
access to it would fail. The guard waits for the server's end and takes the mount away, however that end came.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path

from furtrace.demo import enable, mounting
from furtrace.demo.errors import DemoError

_MAX_DESCRIPTOR = 1 << 20


class Guard:
    """The server's end of the guard. Make it before any thread, descriptor or mount."""

    def __init__(self, directory: Path, source: str) -> None:
        watched, self._held = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _watch(watched, directory, source)
        os.close(watched)

    def dismiss(self) -> None:
        """Let the guard do its work now, and wait for its end."""
        os.close(self._held)
        os.waitpid(self.pid, 0)


def _watch(watched: int, directory: Path, source: str) -> None:
    """Wait until the last holder of the pipe's other end is gone, clean up, and end this process."""
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _keep_only(watched)
        os.read(3, 1)
        with suppress(DemoError):
            mounting.detach(directory, source)
        with suppress(DemoError, OSError):
            enable.put_back_if_abandoned()
    finally:
        os._exit(0)


def _keep_only(descriptor: int) -> None:
    """Move ``descriptor`` to number 3 and close what else is open: somebody may wait for the other end of a pipe."""
    os.dup2(descriptor, 3)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    os.closerange(4, _MAX_DESCRIPTOR)
