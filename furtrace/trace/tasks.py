"""Threads of a machine, as proc(5) tells of them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """A thread.

    ``comm``, ``command``: as bytes; the command line with blanks between its words, empty for a thread of the kernel,
    or if it can't be read in time. ``state``: the letter of proc_pid_stat(5): R runs, S sleeps, D sleeps and can't be
    interrupted, T is stopped.
    ``sleeps_in``: functions of the kernel, innermost first; empty: it runs, or that is not to be seen.
    """

    tid: int
    pid: int
    comm: bytes
    command: bytes
    state: str
    sleeps_in: tuple[str, ...]
