"""Threads of this machine, their memory, and what they wait for, by proc(5). One that is gone is no error.

To read a process's memory, and its command line is there, the kernel takes a lock of it, which a thread that hangs may
hold. So that is waited for no longer than a moment.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from furtrace.trace.tasks import Task

_MOST_STACK: Final = 3
_PATIENCE: Final = 0.3
"""Seconds for which the memory of a process is waited for."""
Read = TypeVar("Read")


def tasks(numbers: Iterable[int]) -> dict[int, Task | None]:
    """Threads by their numbers; None: there is none of this number in this process's pid namespace."""
    found = {number: _told(number) for number in numbers}
    commands = _commands({one.pid for one in found.values() if one is not None})
    return {
        number: None if one is None else replace(one, command=commands.get(one.pid, b""))
        for number, one in found.items()
    }


def _told(tid: int) -> Task | None:
    """A thread, without its command line."""
    # Of /proc/TID alone the kernel would add up the times of all threads of the process, for each of them anew.
    folder = Path(f"/proc/{tid}/task/{tid}")
    try:
        name, _, rest = (folder / "stat").read_bytes().partition(b"(")[2].rpartition(b")")
        pid = _process_of(folder, tid)
    except OSError:
        return None
    return Task(tid, pid, name, b"", rest.split()[0].decode(), _sleeps_in(folder))


def _commands(pids: Iterable[int]) -> dict[int, bytes]:
    """Command lines of processes, as far as they can be had in time: all of them are waited for together."""
    found: dict[int, bytes] = {}

    def read() -> None:
        for pid in pids:
            with contextlib.suppress(OSError):
                found[pid] = _command(pid)

    _in_time(read)
    return dict(found)


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")


def process(tid: int) -> tuple[int, bytes] | None:
    """The process that a thread is of, and the thread's name; None: there is no such thread. Never waits."""
    folder = Path(f"/proc/{tid}")
    try:
        return _process_of(folder, tid), (folder / "comm").read_bytes().rstrip(b"\n")
    except OSError:
        return None


def _process_of(folder: Path, tid: int) -> int:
    lines = (folder / "status").read_bytes().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(b"Tgid:")), tid)


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
    return [found for found in tasks(numbers).values() if found is not None]


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
