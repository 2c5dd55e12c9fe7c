"""Threads of this machine."""

from pathlib import Path


def is_alive(number: int) -> bool:
    """Whether there is a thread of this number that has not ended: proc_pid_stat(5), third field."""
    try:
        state = Path(f"/proc/{number}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state not in (b"Z", b"X")
