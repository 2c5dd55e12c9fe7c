"""The demo server as a child process, for tests and for whoever wants a FUSE server to look at.

::

    with DemoServer(depth=4, log=Path("witness.jsonl")) as server:
        (server.mountpoint / "hello").write_text("world")

Whatever happens to the server or to this process, nothing stays mounted: the server ends with its standard input, its
guard unmounts when it is killed, and the end of the context unmounts what is left.
"""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from furtrace.demo import mounting
from furtrace.demo.errors import DemoError
from furtrace.demo.modes import Mode
from furtrace.probe.mounts import all_mounts

_STOP_TIMEOUT = 10.0


class DemoServer:
    """Starts the server when the context is entered, and removes all trace of it at the end.

    ``depth`` is the number of entries a queue, ``mode`` what their payload memory is, ``buffers`` the number of payload
    buffers a queue in modes with a pool (``None``: as many as entries), ``max_write`` the bytes that one request
    carries at most. ``log`` is the file for the server's own account (see ``furtrace.demo.witness``), ``log_commands``
    that for what it submits to its rings (see ``furtrace.demo.sender``). ``timeout`` are the seconds it may take to be
    ready; ``directory`` is where to mount it, one that exists and is left as it was; ``None``: a temporary one.
    ``DemoError``, with what the server said, when it does not get there.

    ``fault`` names what the server does wrong (see ``furtrace.demo.faults``), and ``log_faults`` is the file for its
    account of that (see ``furtrace.demo.faultlog``). Without a ``mode`` it is the one that the fault needs, or plain.
    With ``missing-queue`` the server counts as ready although its mount never answers: whoever uses it sleeps until
    the server ends. With others a client may sleep from the moment of the fault on, until the server ends; it can't
    even be killed before. So whoever starts a client must stop the server before waiting for the client's end.
    """

    def __init__(  # noqa: PLR0913
        self,
        *,
        depth: int = 8,
        uring: bool = True,
        max_write: int = 131072,
        mode: Mode | None = None,
        buffers: int | None = None,
        log: Path | None = None,
        log_commands: Path | None = None,
        timeout: float = 30.0,
        directory: Path | None = None,
        fault: str | None = None,
        log_faults: Path | None = None,
    ) -> None:
        self.mountpoint = Path()
        """Where the file system is; set while the context lasts, like all that follows."""
        self.pid = 0
        self.connection = 0
        """The number under /sys/fs/fuse/connections."""
        self.transport = ""
        """``uring`` or ``dev``."""
        self.queues = 0
        self._timeout = timeout
        self._directory = directory
        self._arguments = ["--depth", str(depth), "--max-write", str(max_write), "--until-eof"]
        if not uring:
            self._arguments.append("--no-uring")
        optional = {"--mode": mode, "--buffers": buffers, "--log": log, "--log-commands": log_commands}
        for option, value in (optional | {"--fault": fault, "--log-faults": log_faults}).items():
            if value is not None:
                self._arguments += [option, str(value)]
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and wait until its mount answers."""
        self.mountpoint = (self._directory or Path(tempfile.mkdtemp(prefix="furtrace-demo-"))).resolve()
        try:
            self._said = tempfile.TemporaryFile()  # noqa: SIM115
            command = [sys.executable, "-m", "furtrace.demo.server", str(self.mountpoint), *self._arguments]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said)
            self.pid = self._process.pid
            self._understand(self._ready_line(self._process))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> int:
        """End the server, unmount, remove a directory of its own; return the exit status, as ``Popen.returncode``.

        A second call does nothing and returns 0.
        """
        status = 0
        try:
            if self._process is not None:
                status = self._end(self._process)
        finally:
            self._process = None
            if self._said is not None:
                self._said.close()
                self._said = None
            if self.mountpoint != Path():
                self._clear(self.mountpoint)
                self.mountpoint = Path()
        return status

    def said(self) -> str:
        """Return what the server has written to its standard error so far."""
        if self._said is None:
            return ""
        size = os.fstat(self._said.fileno()).st_size
        return os.pread(self._said.fileno(), size, 0).decode(errors="replace").strip()

    def wait(self, timeout: float) -> int:
        """Wait for the server to end by itself and return its exit status; ``DemoError`` after ``timeout`` seconds."""
        if self._process is None:
            raise DemoError("the demo server was not started")
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise DemoError(f"the demo server still runs after {timeout:g} seconds") from None

    def _ready_line(self, process: subprocess.Popen[bytes]) -> str:
        if process.stdout is None:
            raise DemoError("the demo server has no standard output")
        end = time.monotonic() + self._timeout
        line = b""
        while not line.endswith(b"\n"):
            left = end - time.monotonic()
            if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                raise DemoError(f"the demo server was not ready after {self._timeout:g} seconds: {self.said()}")
            piece = os.read(process.stdout.fileno(), 4096)
            if not piece:
                process.wait(_STOP_TIMEOUT)
                complaint = self.said().removeprefix("furtrace.demo.server: ")
                raise DemoError(f"the demo server did not start: {complaint}")
            line += piece
        return os.fsdecode(line)

    def _understand(self, line: str) -> None:
        fields = dict(field.split("=") for field in line.split()[-4:])
        self.connection = int(fields["connection"])
        self.transport = fields["transport"]
        self.queues = int(fields["queues"])

    def _clear(self, mountpoint: Path) -> None:
        mounting.detach(mountpoint, f"furtrace-demo:{self.pid}")
        if self._directory is not None:
            return
        if any(entry.mountpoint == str(mountpoint) for entry in all_mounts()):
            raise DemoError(f"{mountpoint} is covered by a mount that is not the demo's")
        # A client that still runs finds the bare directory under the mount that is gone, and may put files there.
        shutil.rmtree(mountpoint, ignore_errors=True)

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> int:
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
        finally:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
