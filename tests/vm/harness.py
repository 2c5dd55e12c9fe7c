"""Virtual machines that run one of Debian's kernels on this machine's own root directory.

A machine sees every file that is here, and may change all of them: it has this machine's root directory read-only, with
memory over it. Only what is written to ``RESULTS`` gets out.
"""

import base64
import os
import selectors
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

from tests.vm.errors import EndError, HangError, KernelPanicError, MachineError, StaleCodeError
from tests.vm.kernels import Kernel
from tests.vm.qemu import Hardware, qemu_command, require_machines
from tests.vm.shares import shared
from tests.vm.stale import again, ran_stale_code

RESULTS: Final = "/run/results"
"""Where a machine has the folder that is ``Machine.results`` here; also in its environment, by the same name."""
PATIENCE: Final = 10.0
"""Seconds for what is not the machine's own work."""
BOOT: Final = 600.0
"""Seconds that a boot may take; it takes 10 to 40 where little else runs."""
BOOTS: Final = 3
"""How often a boot is tried where QEMU runs stale code."""
COMMAND: Final = 900.0
"""Seconds that a command may take unless told otherwise."""
TAIL: Final = 40
"""Lines of the console that an error shows, of those before a panic."""
PANIC: Final = "Kernel panic"
"""What the console says when there is one."""

Follow = Callable[[bytes, bytes], object]
"""Called with what came on standard output and standard error since the last time."""


@dataclass(frozen=True)
class Completed:
    """What came of a command.

    Attributes:
        status: its exit status, as a shell tells it.
        stdout: its standard output.
        stderr: its standard error.
    """

    status: int
    stdout: str
    stderr: str


class Machine:
    """A machine that runs, made by ``booted``.

    Attributes:
        kernel: what it runs.
        results: folder here that it has as ``RESULTS``.
        boot_seconds: how long it took from QEMU's start until it was ready for commands.
        usable: whether it takes commands, as far as is known: the last one came to its end.
    """

    def __init__(self, kernel: Kernel, folder: Path, results: Path, process: "subprocess.Popen[bytes]") -> None:
        self.kernel = kernel
        self.results = results
        self.boot_seconds = 0.0
        self.usable = True
        self._process = process
        self._console = folder / "console"
        self._log = folder / "virtiofsd"
        self._stdout = _Growing(folder / "stdout")
        self._stderr = _Growing(folder / "stderr")
        self._control: socket.socket | None = None

    def connect(self, listening: socket.socket, timeout: float = BOOT) -> None:
        """Wait until it is up.

        Raises:
            MachineError: it did not come up.
        """
        start = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(listening, selectors.EVENT_READ)
            while not selector.select(0.1):
                self._check_process("start", start + PATIENCE, PATIENCE)
        self._control = listening.accept()[0]
        self._answer(timeout, lambda: None, "boot")
        self.boot_seconds = time.monotonic() - start

    def run(self, *command: str, timeout: float = COMMAND, follow: Follow | None = None) -> Completed:
        """Run a command in the repository's folder, as root, and wait for it.

        Raises:
            KernelPanicError: the kernel panicked meanwhile.
            HangError: the command did not end in time; then the machine takes no other one.
            EndError: the machine ended meanwhile.
        """
        output: list[tuple[bytes, bytes]] = []

        def take() -> None:
            output.append((self._stdout.take(), self._stderr.take()))
            if follow is not None:
                follow(*output[-1])

        text = shlex.join(command)
        try:
            self._send(text)
            status = int(self._answer(timeout, take, text))
        except MachineError as error:
            self.usable = False
            take()
            for name, said in zip(("standard output", "standard error"), _joined(output), strict=True):
                error.add_note(f"The {name} until then:\n{said}")
            raise
        return Completed(status, *_joined(output))

    def _send(self, text: str) -> None:
        assert self._control is not None
        try:
            self._control.sendall(base64.b64encode(text.encode(errors="surrogateescape")) + b"\n")
        except OSError:
            self._fail_for_its_end(text)

    def _answer(self, timeout: float, take: Callable[[], None], what: str) -> str:
        """Return the next line that the machine says, and call ``take`` every now and then until it does."""
        assert self._control is not None
        self._control.settimeout(0.2)
        end = time.monotonic() + timeout
        said = b""
        while not said.endswith(b"\n"):
            try:
                piece = self._control.recv(4096)
            except TimeoutError:
                self._check_process(what, end, timeout)
            except ConnectionError:
                self._fail_for_its_end(what)
            else:
                if not piece:
                    self._fail_for_its_end(what)
                said += piece
            take()
        take()
        return said.decode()

    def _check_process(self, what: str, end: float, timeout: float) -> None:
        if self._process.poll() is not None:
            self._fail_for_its_end(what)
        if time.monotonic() > end:
            raise HangError(self._message(f"no end of {what} within {timeout:g} s"))

    def _fail_for_its_end(self, what: str) -> NoReturn:
        try:
            status = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise EndError(self._message(f"QEMU let go of the machine during {what}")) from None
        console = _text(self._console)
        if PANIC in console:
            kind = StaleCodeError if ran_stale_code(console) else KernelPanicError
            raise kind(self._message(f"the kernel panicked during {what}"))
        # Without its root directory QEMU does not even start; why it has none is in the log.
        message = self._message(f"QEMU ended with status {status} during {what}")
        raise EndError(f"{message}\nvirtiofsd's log:\n{_text(self._log)}")

    def _message(self, what: str) -> str:
        before, panic, after = _text(self._console).partition(PANIC)
        end = "\n".join([*before.splitlines()[-TAIL:], *f"{panic}{after}".splitlines()])
        return f"Linux {self.kernel.release}: {what}. The console's end:\n{end}"


@contextmanager
def booted(kernel: Kernel, hardware: Hardware | None = None, results: Path | None = None) -> Iterator[Machine]:
    """Boot ``kernel`` and have a machine that takes commands, until the block ends.

    A boot in which QEMU runs stale code is tried again, with a warning.

    Args:
        kernel: what to boot.
        hardware: number of CPUs, and memory.
        results: folder that is the machine's ``RESULTS``; a temporary one if none is given.

    Raises:
        Unavailable: there is no machine to be had here.
        MachineError: it did not come up.
    """
    with ExitStack() as stack:
        boot = partial(_booted_once, kernel, hardware or Hardware(), results)
        yield again(lambda: stack.enter_context(boot()), f"Boot of Linux {kernel.release}", BOOTS)


@contextmanager
def _booted_once(kernel: Kernel, hardware: Hardware, results: Path | None) -> Iterator[Machine]:
    with _shares(results) as (folder, results_here), socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "control"))
        listening.listen(1)
        command = qemu_command(kernel, hardware, folder, ["serve"], list(_ports(folder)))
        with (folder / "console").open("ab") as said:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            machine = Machine(kernel, folder, results_here, process)
            machine.connect(listening)
            yield machine
        finally:
            # Nothing has to be saved: what it wrote is in memory, or was in the results when the call returned.
            process.kill()
            process.wait()


def interactive(kernel: Kernel, hardware: Hardware | None = None, results: Path | None = None) -> int:
    """Boot ``kernel`` and have a shell on its serial console, which is this terminal; return QEMU's exit status.

    Raises:
        Unavailable: there is no machine to be had here.
    """
    size = shutil.get_terminal_size()
    init = ["shell", str(size.lines), str(size.columns), os.environ.get("TERM", "dumb")]
    with _shares(results) as (folder, _):
        command = qemu_command(kernel, hardware or Hardware(), folder, init, ["-serial", "mon:stdio"])
        return subprocess.run(command, check=False).returncode


class _Growing:
    """A file that something else appends to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken = 0

    def take(self) -> bytes:
        """Return what was appended since the last time."""
        if not self._path.exists():
            return b""
        with self._path.open("rb") as file:
            file.seek(self._taken)
            new = file.read()
        self._taken += len(new)
        return new


@contextmanager
def _shares(results: Path | None) -> Iterator[tuple[Path, Path]]:
    """Serve the two folders that a machine mounts; the first one that is given holds the sockets."""
    require_machines()
    with ExitStack() as stack:
        # Sockets have short names only, so this is not in the tests' folder.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="furtrace-vm-")))
        if results is None:
            results = folder / "written"
            results.mkdir()
        log = stack.enter_context((folder / "virtiofsd").open("ab"))
        stack.enter_context(shared(Path("/"), folder / "root", log, writable=False))
        stack.enter_context(shared(results.resolve(), folder / "results", log, writable=True))
        yield folder, results


def _ports(folder: Path) -> Iterator[str]:
    """Yield options for the console, and the three ports by which commands go in and their output comes out."""
    yield from ("-chardev", f"file,id=console,append=on,path={folder / 'console'}", "-serial", "chardev:console")
    yield from ("-device", "virtio-serial-pci")
    yield from ("-chardev", f"socket,id=control,path={folder / 'control'}")
    for name in ("stdout", "stderr"):
        yield from ("-chardev", f"file,id={name},path={folder / name}")
    for number, name in enumerate(("control", "stdout", "stderr"), start=1):
        yield from ("-device", f"virtserialport,chardev={name},nr={number},name={name}")


def _text(file: Path) -> str:
    return file.read_text(errors="replace") if file.exists() else ""


def _joined(output: Sequence[tuple[bytes, bytes]]) -> tuple[str, str]:
    stdout, stderr = (b"".join(pieces) for pieces in ([out for out, _ in output], [err for _, err in output]))
    return stdout.decode(errors="surrogateescape"), stderr.decode(errors="surrogateescape")


def follow_here(stdout: bytes, stderr: bytes) -> None:
    """Pass a machine's output on as our own."""
    for stream, new in ((sys.stdout, stdout), (sys.stderr, stderr)):
        stream.buffer.write(new)
        stream.flush()
