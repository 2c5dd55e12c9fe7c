"""Servers that answer the kernel, with every byte of /dev/fuse kept: libfuse's under strace, and our raw one."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.external import Unavailable, libfuse
from tests.live.protocol.capture import Capture, from_strace
from tests.live.protocol.rawserver import from_log

PATIENCE: Final = 20.0
"""Seconds that anything here gets."""

Facts = dict[str, Any]
Condition = Callable[[Capture], object]
"""Whether enough was said."""


@dataclass
class Running:
    """A server that runs.

    Attributes:
        mountpoint: where its file system is.
        captured: reads what was said so far.
        capture: all of it, once the server has ended.

    """

    mountpoint: Path
    captured: Callable[[], Capture]
    capture: Capture = field(default_factory=Capture)

    def client(self, steps: str, *arguments: str, until: Condition | None = None, traced: bool = False) -> Facts:
        """Run steps of ``client`` here, in a process of their own, and return what they say.

        ``until``: what has to have been said before the client may go on where it waits for word of that.
        ``traced``: and, as ``strace``, what strace says of their system calls.
        A client whose server does not answer can't be killed before the server is, so nothing waits for it here.
        """
        command = [sys.executable, "-m", "tests.live.protocol.client", steps, str(self.mountpoint), *arguments]
        with tempfile.NamedTemporaryFile(prefix="furtrace-protocol-") as log:
            if traced:
                command = ["strace", "-s", "1000", "-o", log.name, "--", *command]
            pipe = subprocess.PIPE
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
            try:
                if until is not None:
                    self.wait_for(until)
                facts = _facts_of(process)
            except TimeoutError:
                process.kill()
                raise
            if traced:
                facts["strace"] = Path(log.name).read_text()
        return facts

    def wait_for(self, condition: Condition) -> None:
        """Wait until what was said so far is enough."""
        until(lambda: condition(self.captured()), lambda: "the server and the kernel said nothing more")


def _facts_of(process: "subprocess.Popen[bytes]") -> Facts:
    """What a client printed; it gets ``PATIENCE``."""
    try:
        said, errors = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(str(error)) from error
    if process.returncode:
        raise RuntimeError(f"the client failed: {errors.decode(errors='replace')}")
    facts: Facts = json.loads(said)
    return facts


def until(condition: Callable[[], object], otherwise: Callable[[], str]) -> None:
    """Wait for a condition, ``PATIENCE`` at most."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise())
        time.sleep(0.01)


@contextmanager
def example(name: str, *arguments: str) -> Iterator[Running]:
    """Run one of libfuse's examples, in the foreground, on a fresh folder, under strace.

    It gets no pipe from the kernel: then libfuse reads requests by read(2), whole, instead of splicing them.

    Raises:
        Unavailable: there is no libfuse, or no strace.
    """
    with _folder() as (mountpoint, log):
        command = [*_traced(name, log), "-f", *arguments, str(mountpoint)]
        with _mounted(command, mountpoint) as process:
            running = Running(mountpoint, lambda: from_strace(log))
            yield running
            _unmount(mountpoint)
            process.wait(PATIENCE)
            _wait_for_end(process, log)
            running.capture = running.captured()


def to_its_end(name: str) -> tuple[Capture, str]:
    """Run one of libfuse's examples that mounts by itself and ends by itself; return what it printed, too.

    Raises:
        Unavailable: there is no libfuse, or no strace.
    """
    with _folder() as (_, log):
        process = subprocess.Popen(_traced(name, log), stdout=subprocess.PIPE, text=True)
        try:
            said, _ = process.communicate(timeout=PATIENCE)
        finally:
            if process.poll() is None:
                process.kill()
        _wait_for_end(process, log)
        return from_strace(log), said


def _traced(name: str, log: Path) -> list[str]:
    """The command of an example under strace, whose process is the example's."""
    program = libfuse.example(name)
    if shutil.which("strace") is None:
        raise Unavailable("strace is not installed.")
    command = ["strace", "-D", "-f", "-y", "-xx", "-s", "1000000", "-e", "signal=none", "-o", str(log)]
    return [*command, "-e", "trace=read,writev,pipe2", "-e", "inject=pipe2:error=EMFILE", "--", str(program)]


def _wait_for_end(process: "subprocess.Popen[Any]", log: Path) -> None:
    """Wait for strace, which ends after the process, for then its log is complete."""
    end = re.compile(rf"^{process.pid} +\+\+\+ ", re.MULTILINE)
    until(lambda: end.search(log.read_text()), lambda: f"no end in {log}")


@contextmanager
def raw(*arguments: str) -> Iterator[Running]:
    """Run the raw server on a fresh folder; ``arguments`` are ``rawserver``'s."""
    with _folder() as (mountpoint, log):
        command = [sys.executable, "-m", "tests.live.protocol.rawserver", str(mountpoint), str(log), *arguments]
        with _mounted(command, mountpoint) as process:
            running = Running(mountpoint, lambda: from_log(log))
            yield running
            _unmount(mountpoint)
            until(lambda: process.poll() is not None, lambda: f"unmounted, but still there: {_state(process.pid)}")
            running.capture = running.captured()


@contextmanager
def _folder() -> Iterator[tuple[Path, Path]]:
    """A fresh mount point and the path of a log; both go away at the end."""
    folder = Path(tempfile.mkdtemp(prefix="furtrace-protocol-")).resolve()
    mountpoint, log = folder / "mnt", folder / "log"
    mountpoint.mkdir()
    try:
        yield mountpoint, log
    finally:
        log.unlink(missing_ok=True)
        # Never a recursive removal: what is mounted here is somebody's folder.
        mountpoint.rmdir()
        folder.rmdir()


@contextmanager
def _mounted(command: Sequence[str], mountpoint: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A server's process, from when it has mounted; it is gone at the end, and so is its mount."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

        def said() -> str:
            output.seek(0)
            return output.read().decode(errors="replace")

        try:
            until(lambda: _is_up(process, mountpoint), lambda: f"{command} did not mount: {said()}")
            if process.poll() is not None:
                raise RuntimeError(f"{command} ended: {said()}")
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            if libfuse.mounted_device(mountpoint) is not None:
                subprocess.run(["umount", "--lazy", str(mountpoint)], check=False, timeout=PATIENCE)


def _is_up(process: "subprocess.Popen[bytes]", mountpoint: Path) -> bool:
    return process.poll() is not None or libfuse.mounted_device(mountpoint) is not None


def _unmount(mountpoint: Path) -> None:
    """Unmount while the server still answers, for that is when it is told goodbye."""
    subprocess.run(["umount", str(mountpoint)], check=True, timeout=PATIENCE)


def _state(pid: int) -> str:
    """What a process waits for in the kernel."""
    try:
        return Path(f"/proc/{pid}/stack").read_text()
    except OSError as error:
        return str(error)


@contextmanager
def block_device(size: int) -> Iterator[Path]:
    """A loop device over a temporary file of that many bytes.

    Raises:
        Unavailable: there are no loop devices here.
    """
    with tempfile.NamedTemporaryFile(prefix="furtrace-protocol-") as file:
        file.truncate(size)
        command = ["losetup", "--find", "--show", file.name]
        made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        if made.returncode:
            raise Unavailable(f"There is no loop device here: {made.stderr.strip()}")
        device = Path(made.stdout.strip())
        try:
            yield device
        finally:
            with suppress(subprocess.TimeoutExpired):
                subprocess.run(["losetup", "--detach", str(device)], check=False, timeout=PATIENCE)
