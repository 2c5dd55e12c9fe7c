"""Threads of this machine, their memory, and what they wait for, by proc(5). One that is gone is no error.

To read a process's memory, and its command line is there, the kernel takes a lock of it, which a thread that hangs may
hold. So that is waited for no longer than a moment.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from furtrace.trace.tasks import Task

_MOST_STACK: Final = 3
_PATIENCE: Final = 0.3
"""Seconds for which the memory of a process is waited for."""
Read = TypeVar("Read")


def task(tid: int) -> Task | None:
    """A thread; None: there is none of this number in this process's pid namespace."""
    folder = Path(f"/proc/{tid}")
    try:
        name, _, rest = (folder / "stat").read_bytes().partition(b"(")[2].rpartition(b")")
        status = (folder / "status").read_bytes()
        command = _in_time((folder / "cmdline").read_bytes) or b""
    except OSError:
        return None
    pid = next((int(line.split()[1]) for line in status.splitlines() if line.startswith(b"Tgid:")), tid)
    words = command.rstrip(b"\0").replace(b"\0", b" ")
    return Task(tid, pid, name, words, rest.split()[0].decode(), _sleeps_in(folder))


def _sleeps_in(folder: Path) -> tuple[str, ...]:
    """The stack, which is root's to read, or else the one function that everybody may."""
    try:
        lines = (folder / "stack").read_text().splitlines()
        return tuple(line.split()[-1].split("+")[0] for line in lines[:_MOST_STACK])
    except OSError:
        pass
    try:
        name = (folder / "wchan").read_text()
    except OSError:
        return ()
    return () if name in ("", "0") else (name,)


def threads(pid: int) -> list[Task]:
    """The threads of a process, by number; none: it is gone."""
    try:
        numbers = sorted(int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []
    return [found for number in numbers if (found := task(number)) is not None]


def memory(pid: int, addresses: Sequence[int], size: int) -> list[bytes | None]:
    """What a process has at each address; None: it is gone, nothing is there, or it can't be read in time."""
    found: list[bytes | None] = [None] * len(addresses)

    def read() -> None:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:  # noqa: PTH123
            for at, address in enumerate(addresses):
                found[at] = _read_at(file.fileno(), address, size)

    _in_time(read)
    return list(found)


def _read_at(descriptor: int, address: int, size: int) -> bytes | None:
    try:
        found = os.pread(descriptor, size, address)
    except (OSError, OverflowError):
        return None
    return found if len(found) == size else None


def _in_time(read: Callable[[], Read]) -> Read | None:
    """What is read; None: it can't be, or not in time. The thread that waits for it ends with this process."""
    found: list[Read] = []

    def work() -> None:
        with contextlib.suppress(OSError):
            found.append(read())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return found[0] if found else None
