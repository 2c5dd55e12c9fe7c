"""The state of all FUSE connections, read out of the kernel at once, without stopping anything.

A BPF iterator (``probes/inspected.c``) walks from every ``/dev/fuse`` file to its connection and on, and puts rows into
a map that is mapped here.
"""

import mmap
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from furtrace.probe.errors import ProbeError
from furtrace.probe.filters import Filters
from furtrace.probe.program import LoadedIterator, compile_program
from furtrace.probe.vantage import Plan

ROW: Final = np.dtype(
    [
        ("kind", "u1"),
        ("list", "u1"),
        ("state", "<u2"),
        ("connection", "<u4"),
        ("queue", "<u4"),
        ("flags", "<u4"),
        ("address", "<u8"),
        ("value", "<u8", 12),
    ]
)
"""``struct ft_row`` of probes/inspected.c."""

Rows = npt.NDArray[np.void]
"""Of :data:`ROW`."""

_ROOM: Final = 1 << 15
_MOST: Final = 1 << 23


class Snapshots:
    """Takes snapshots; a context manager.

    Raises:
        ProbeError: no privilege, no BTF, no bcc, or the kernel does not take the program.
    """

    def __init__(self) -> None:
        self._room = _ROOM
        self._load()

    def _load(self) -> None:
        self._bpf: Any = compile_program(("inspected.c",), Filters(), Plan(macros={"FT_ROWS": self._room}), 1)
        self._iterator = LoadedIterator(self._bpf, "ft_inspected")
        size = self._room * ROW.itemsize
        self._memory = mmap.mmap(self._bpf["rows"].map_fd, size, mmap.MAP_SHARED, mmap.PROT_READ)

    def __enter__(self) -> "Snapshots":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the maps."""
        self._memory.close()
        self._iterator.close()
        self._bpf.cleanup()

    def take(self) -> Rows:
        """Take one: a copy of its rows, in the order in which they were written.

        Raises:
            ProbeError: the kernel refuses it, or there is more than can be taken.
        """
        while True:
            count = self._count = self._run()
            if count <= self._room:
                return self.rows()
            if count > _MOST:
                raise ProbeError(f"There are {count} entries and requests on this machine, too many to be read.")
            self.close()
            self._room = 1 << count.bit_length()  # and some more, as there may be more next time
            self._load()

    def rows(self) -> Rows:
        """The rows of the last one, once more."""
        return np.frombuffer(self._memory[: self._count * ROW.itemsize], ROW)

    def _run(self) -> int:
        counts, walked = self._bpf["row_count"], self._bpf["walked"]
        counts[counts.Key(0)] = counts.Leaf(0)
        walked.clear()
        self._iterator.run()
        return int(counts[counts.Key(0)].value)
