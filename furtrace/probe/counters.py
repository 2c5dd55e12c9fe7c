"""Counters that the probes keep, one a CPU, mapped into this process: to read them takes no system call.

A ``BPF_MAP_TYPE_ARRAY`` with ``BPF_F_MMAPABLE`` is one piece of memory, its values one after the other
(``kernel/bpf/arraymap.c``).
"""

import mmap
from pathlib import Path

import numpy as np
import numpy.typing as npt


def possible_cpus() -> int:
    """How many CPUs the kernel is prepared for; their numbers are below that."""
    ranges = Path("/sys/devices/system/cpu/possible").read_text().strip()
    return int(ranges.replace("-", ",").split(",")[-1]) + 1


class Counters:
    """One u64 a CPU.

    Args:
        fd: the map's file descriptor.
    """

    def __init__(self, fd: int) -> None:
        number = possible_cpus()
        size = -(-8 * number // mmap.PAGESIZE) * mmap.PAGESIZE
        self._memory = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ)
        self.by_cpu: npt.NDArray[np.uint64] = np.frombuffer(self._memory, np.uint64, number)
        """The counters as they are now, by CPU; no other call may follow :meth:`close`."""

    def close(self) -> None:
        """Let go of the memory."""
        del self.by_cpu, self._memory
