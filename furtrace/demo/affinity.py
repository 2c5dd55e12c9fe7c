"""The machine's CPUs, as far as queues need them."""

import os
from contextlib import suppress
from pathlib import Path

_POSSIBLE = Path("/sys/devices/system/cpu/possible")


def possible_cpus() -> int:
    """Return how many CPUs the kernel counts as possible: the number of queues that a ring must have."""
    return count_list(_POSSIBLE.read_text())


def count_list(text: str) -> int:
    """Return how many CPUs a list such as ``0-3,8`` names."""
    count = 0
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    return count


def pin(cpu: int) -> None:
    """Keep the calling thread on ``cpu``; where that CPU is offline or not allowed, leave it free."""
    with suppress(OSError):
        os.sched_setaffinity(0, {cpu})
