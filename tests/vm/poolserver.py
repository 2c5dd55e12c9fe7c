"""A FUSE server in C over io_uring's buffer pools, which Linux has since 7.3, and its log: ``poolserver.c``.

It shares no code with ours, so it is a witness of its own::

    with PoolServer(folder, Mode.ZERO_COPY, log, buffers=2) as server:
        (server.mountpoint / "file").write_bytes(b"...")
    requests = read_log(log).requests

What can be had of it elsewhere is the program alone: ``poolserver.build``. Serving needs root, and such a kernel.
"""

import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self, TypeVar

from furtrace.demo.enable import enable_uring
from tests.external import CACHE, Unavailable
from tests.external.files import locked, made_once
from tests.external.libfuse import mounted_device

SOURCE: Final = Path(__file__).with_suffix(".c")
PATIENCE: Final = 120.0
"""Seconds that the server gets to be ready, and to end."""


class Mode(StrEnum):
    """What the queues' payload memory is, as the server's command line calls it."""

    POOL = "pool"
    FIXED_POOL = "fixed-pool"
    ZERO_COPY = "zero-copy"


@dataclass(frozen=True)
class Setup:
    """A command that made a queue, ADD_QUEUE, ADD_BUFPOOL or REGISTER, when it completed.

    Attributes:
        op: its name.
        qid: the queue.
        entry: index of REGISTER's entry; None for the others.
        slot: that REGISTER named for the client's pages; None outside zero-copy.
        buf_index: the registered buffer that it named; None if it named none.
        bytes: the size of ADD_BUFPOOL's pool; None for the others.
        result: of the completion, which for REGISTER came with the first request; None if none came.
    """

    op: str
    qid: int
    entry: int | None
    slot: int | None
    buf_index: int | None
    bytes: int | None
    result: int | None


@dataclass(frozen=True)
class FixedIo:
    """A READ_FIXED or WRITE_FIXED between the client's pages and the backing file.

    Attributes:
        opcode: its name.
        slot: index of the registered buffer.
        asked: how many bytes it was to move.
        bytes: how many it did, or a negative error number.
    """

    opcode: str
    slot: int
    asked: int
    bytes: int


@dataclass(frozen=True)
class Request:
    """A request that came by the ring, and its answer, which was submitted.

    Attributes:
        unique: of ``fuse_in_header``, like ``opcode`` and ``nodeid``.
        opcode: number of the operation.
        nodeid: also the file's ``st_ino`` for clients.
        qid: the queue.
        entry: the entry's index.
        commit_id: of ``fuse_uring_ent_in_out``, like ``payload_sz`` and ``offset``.
        payload_sz: as it came.
        offset: of the buffer in the pool, as it came; 0 as well if there is none.
        has_buffer: None where nothing tells.
        zero_copied: whether the client's pages are in ``slot``.
        slot: None if nothing is.
        error: of the answer, 0 or negative.
        reply_payload_sz: of the answer.
        fixed_io: what moved the bytes of a zero-copied request, one after the other.
    """

    unique: int
    opcode: int
    nodeid: int
    qid: int
    entry: int
    commit_id: int
    payload_sz: int
    offset: int
    has_buffer: bool | None
    zero_copied: bool
    slot: int | None
    error: int
    reply_payload_sz: int
    fixed_io: tuple[FixedIo, ...]


@dataclass(frozen=True)
class End:
    """A COMMIT_AND_FETCH that brought no further request; at the connection's end ``result`` is -ENOTCONN or so."""

    qid: int
    entry: int
    result: int


@dataclass(frozen=True)
class Log:
    """What a server has logged, each in the order in which it did."""

    setups: list[Setup] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)


def read_log(path: Path) -> Log:
    """Return the log of a server that has ended."""
    log = Log()
    for line in path.read_text().splitlines():
        facts: dict[str, Any] = json.loads(line)
        match facts.pop("kind"):
            case "setup":
                log.setups.append(_made(Setup, facts))
            case "request":
                facts["fixed_io"] = tuple(_made(FixedIo, each) for each in facts["fixed_io"])
                log.requests.append(_made(Request, facts))
            case "end":
                log.ends.append(_made(End, facts))
            case kind:
                raise ValueError(f"{path} has a line of kind {kind}")
    return log


_T = TypeVar("_T", Setup, FixedIo, Request, End)


def _made(kind: type[_T], facts: dict[str, Any]) -> _T:
    """Every field, and no other: JSON has them by the same names."""
    names = {each.name for each in fields(kind)}
    if names != facts.keys():
        raise ValueError(f"{kind.__name__} has {names}, the log {set(facts)}")
    return kind(**facts)


def build() -> Path:
    """Return the server's program; the first call after a change of its source compiles it, which takes a second.

    Raises:
        Unavailable: there is no compiler, or no liburing.
    """
    if shutil.which("gcc") is None:
        raise Unavailable("The pool server can't be built without gcc.")
    source = SOURCE.read_bytes()
    folder = CACHE / "poolserver"
    with locked(folder):
        return made_once(folder / hashlib.sha256(source).hexdigest()[:16], _compile) / "poolserver"


def _compile(folder: Path) -> None:
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2"]
    run = partial(subprocess.run, capture_output=True, text=True, check=False)
    probe = run(["gcc", "-E", "-x", "c", "-"], input="#include <liburing.h>\n")
    if probe.returncode:
        raise Unavailable("The pool server can't be built without liburing's headers.")
    done = run(["gcc", *flags, "-o", str(folder / "poolserver"), str(SOURCE), "-luring"])
    if done.returncode:
        raise RuntimeError(f"the pool server does not compile:\n{done.stderr}")


class PoolServer:
    """Runs the server on a fresh mount point while the context lasts, and leaves nothing behind.

    ``backing`` is the folder whose regular files it passes through, ``log`` the file that it writes; ``entries`` and
    ``buffers`` are those of each queue. In mode zero-copy, files with names that fit ``zero_copy_names``, a pattern of
    fnmatch(3), are opened for it. ``direct``: every file is opened with FOPEN_DIRECT_IO.

    Attributes:
        mountpoint: where its file system is.
        pid: its process.
        connection: number of the FUSE connection, as the kernel calls it in ``/sys/fs/fuse/connections``.
    """

    def __init__(
        self,
        backing: Path,
        mode: Mode,
        log: Path,
        *,
        entries: int = 4,
        buffers: int = 4,
        zero_copy_names: str = "*",
        direct: bool = False,
    ) -> None:
        self.mountpoint = Path()
        self.pid = 0
        self.connection = 0
        self._backing = backing
        self._options = ["--mode", mode, "--log", str(log), "--entries", str(entries), "--buffers", str(buffers)]
        self._options += ["--zero-copy-names", zero_copy_names, *(["--direct"] if direct else [])]
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        except RuntimeError:
            # What the block has failed with says more.
            if error is None:
                raise

    def start(self) -> None:
        """Start the server and wait until all queues have their entries.

        Raises:
            Unavailable: see ``build``.
            DemoError: the kernel has no switch for FUSE over io_uring, or it can't be turned.
            RuntimeError: it did not get there; the message holds what it said.
        """
        program = build()
        self.mountpoint = Path(tempfile.mkdtemp(prefix="furtrace-poolserver-")).resolve()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        command = [str(program), *self._options, str(self._backing), str(self.mountpoint)]
        try:
            with enable_uring():
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._said
                )
                self._wait_until_ready(self._process)
            self.pid = self._process.pid
            self.connection = mounted_device(self.mountpoint) or 0
        except BaseException:
            self._end()
            raise

    def stop(self) -> None:
        """End the server; its log is whole then. A second call does nothing.

        Raises:
            RuntimeError: it had something to complain of; the message holds what it said.
        """
        if self._process is None:
            return
        status, said = self._end()
        if status:
            raise RuntimeError(f"the pool server ended with {status}: {said}")

    def _wait_until_ready(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        deadline = time.monotonic() + PATIENCE
        said = b""
        while said != b"ready\n":
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                raise RuntimeError(f"the pool server was not ready within {PATIENCE:g} s: {self._complaints()}")
            piece = os.read(process.stdout.fileno(), 100)
            if not piece:
                process.wait(PATIENCE)
                raise RuntimeError(f"the pool server did not start: {self._complaints()}")
            said += piece

    def _end(self) -> tuple[int, str]:
        """End the process, unmount, and remove the mount point; return the exit status and what was said."""
        status, said = 0, ""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                status = self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                status = self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None
        if self._said is not None:
            said = self._complaints()
            self._said.close()
            self._said = None
        if mounted_device(self.mountpoint) is not None:
            subprocess.run(["umount", "--lazy", str(self.mountpoint)], check=False, timeout=PATIENCE)
        # Never a recursive removal: what is mounted here is somebody's folder.
        self.mountpoint.rmdir()
        return status, said

    def _complaints(self) -> str:
        assert self._said is not None
        size = os.fstat(self._said.fileno()).st_size
        return os.pread(self._said.fileno(), size, 0).decode(errors="replace").strip()
