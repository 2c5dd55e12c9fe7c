"""Threads of this machine, their memory, and what they wait for, by proc(5). One that is gone is no error."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MOST_STACK: Final = 3


@dataclass(frozen=True)
class Task:
    """A thread.

    ``comm``, ``command``: as bytes; the command line with blanks between its words, empty for a thread of the kernel.
    ``state``: the letter of proc_pid_stat(5): R runs, S sleeps, D sleeps and can't be interrupted, T is stopped.
    ``sleeps_in``: functions of the kernel, innermost first; empty: it runs, or that is not to be seen.
    """

    tid: int
    pid: int
    comm: bytes
    command: bytes
    state: str
    sleeps_in: tuple[str, ...]


def task(tid: int) -> Task | None:
    """A thread; None: there is none of this number in this process's pid namespace."""
    folder = Path(f"/proc/{tid}")
    try:
        name, _, rest = (folder / "stat").read_bytes().partition(b"(")[2].rpartition(b")")
        status = (folder / "status").read_bytes()
        command = (folder / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
    except OSError:
        return None
    pid = next((int(line.split()[1]) for line in status.splitlines() if line.startswith(b"Tgid:")), tid)
    return Task(tid, pid, name, command, rest.split()[0].decode(), _sleeps_in(folder))


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


def memory(pid: int, address: int, size: int) -> bytes | None:
    """What a process has at an address; None: it is gone, or nothing is there."""
    try:
        descriptor = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.pread(descriptor, size, address)
    except (OSError, OverflowError):
        return None
    finally:
        os.close(descriptor)
    return found if len(found) == size else None
