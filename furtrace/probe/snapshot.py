"""The state of all FUSE connections, read out of the kernel at once, without stopping anything.

A BPF iterator (``probes/inspected.c``) walks from every ``/dev/fuse`` file to its connection and on, and puts rows into
a map that is mapped here.
"""

import mmap
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from furtrace.probe.btf import running_kernel
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

SOURCE: Final = "inspected.c"
ROOM: Final = 1 << 16
"""Rows that there is room for at first: 128 queues of 256 entries, and as many requests; 7.5 MiB."""
_MOST: Final = 1 << 23
_VALUES: Final = ROW["value"].itemsize


def bit_fields() -> tuple[int, dict[str, int]]:
    """The bit fields of fuse_conn, which say what INIT agreed on, and what the server was seen not to have.

    Returns:
        The first byte of the structure in which there is one; and each, by its name, in bits from that byte on.
    """
    bits = running_kernel().bit_fields("fuse_conn")
    first = min(bits.values(), default=0) // 8
    return first, {name: bit - 8 * first for name, bit in bits.items()}


def macros(room: int) -> dict[str, int]:
    """What :data:`SOURCE` has to be told: so many rows, and where the bit fields of a connection are."""
    first, bits = bit_fields()
    size = max(bits.values(), default=0) // 8 + 1
    return {"FT_ROWS": room, "FT_BITS_AT": first, "FT_BITS_SIZE": min(size, _VALUES)}


class Walk:
    """The iterator, in a compiled program that has :data:`SOURCE` with room for so many rows.

    Args:
        bpf: bcc's object, which stays the caller's.
        room: ``FT_ROWS``.

    Raises:
        ProbeError: the kernel refuses the iterator.
    """

    def __init__(self, bpf: Any, room: int) -> None:
        self._bpf, self.room = bpf, room
        self._iterator = LoadedIterator(bpf, "ft_inspected")
        self._memory = mmap.mmap(bpf["rows"].map_fd, room * ROW.itemsize, mmap.MAP_SHARED, mmap.PROT_READ)

    def run(self) -> int:
        """Walk, and return how many rows there are, which may be more than there was room for.

        Raises:
            ProbeError: the kernel refuses it.
        """
        counts, walked = self._bpf["row_count"], self._bpf["walked"]
        counts[counts.Key(0)] = counts.Leaf(0)
        walked.clear()
        self._iterator.run()
        return int(counts[counts.Key(0)].value)

    def rows(self, count: int) -> Rows:
        """A copy of the first rows."""
        return np.frombuffer(self._memory[: count * ROW.itemsize], ROW)

    def close(self) -> None:
        """Let the kernel forget it."""
        self._memory.close()
        self._iterator.close()


class Snapshots:
    """Takes snapshots; a context manager.

    Raises:
        ProbeError: no privilege, no BTF, no bcc, or the kernel does not take the program.
    """

    def __init__(self, room: int = ROOM) -> None:
        self._load(room)

    def _load(self, room: int) -> None:
        self._bpf: Any = compile_program((SOURCE,), Filters(), Plan(macros=macros(room)), 1)
        self._walk = Walk(self._bpf, room)

    def __enter__(self) -> "Snapshots":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the maps."""
        self._walk.close()
        self._bpf.cleanup()

    def take(self) -> Rows:
        """Take one: a copy of its rows, in the order in which they were written.

        Raises:
            ProbeError: the kernel refuses it, or there is more than can be taken.
        """
        while True:
            count = self._count = self._walk.run()
            if count <= self._walk.room:
                return self.rows()
            if count > _MOST:
                raise ProbeError(f"There are {count} entries and requests on this machine, too many to be read.")
            self.close()
            self._load(room_for(count))

    def rows(self) -> Rows:
        """The rows of the last one, once more."""
        return self._walk.rows(self._count)


def room_for(count: int) -> int:
    """Room for so many rows, and some more, as there may be more next time."""
    return 1 << count.bit_length()
