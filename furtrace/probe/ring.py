"""The BPF ring buffer, drained a batch at a time: no call into Python for an event.

The kernel maps a ``BPF_MAP_TYPE_RINGBUF`` as one writable page with the consumer's position, one read-only page with
the producer's, then the data twice in a row, so that nothing is ever split (``kernel/bpf/ringbuf.c``). Each record has
a header of 8 bytes: its length, with a bit for "still being written" and one for "discarded", then an offset of no use
here.
"""

import mmap

import numpy as np
import numpy.typing as npt

from furtrace.trace.record import RECORD, Records

_HEADER = 8
_BUSY = np.uint32(1 << 31)
_SLOT = np.dtype([("length", "<u4"), ("offset", "<u4"), ("record", RECORD)])
SLOT_SIZE = (_HEADER + RECORD.itemsize + 7) // 8 * 8
"""Bytes of ring that one record takes."""


class Ring:
    """The reader's side of a ring buffer that holds event records and nothing else.

    Args:
        fd: the map's file descriptor.
        pages: its size, in pages; a power of two.
    """

    def __init__(self, fd: int, pages: int) -> None:
        self._size = pages * mmap.PAGESIZE
        self._own = mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._theirs = mmap.mmap(
            fd, mmap.PAGESIZE + 2 * self._size, mmap.MAP_SHARED, mmap.PROT_READ, offset=mmap.PAGESIZE
        )
        self._consumer: npt.NDArray[np.uint64] = np.frombuffer(self._own, np.uint64, 1)
        self._producer: npt.NDArray[np.uint64] = np.frombuffer(self._theirs, np.uint64, 1)
        self._read = int(self._consumer[0])
        self._data: npt.NDArray[np.uint8] = np.frombuffer(self._theirs, np.uint8, 2 * self._size, mmap.PAGESIZE)

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self._size

    def fill(self) -> float:
        """How full the ring is, 0 to 1."""
        return (int(self._producer[0]) - int(self._consumer[0])) / self._size

    @property
    def end(self) -> int:
        """Where the newest record ends, as a position that only grows."""
        return int(self._producer[0])

    def read(self, most: int | None = None, until: int | None = None) -> Records:
        """Return all records that are complete, oldest first: a view of the ring, good until :meth:`release`.

        The order is that in which room was taken: for events of one request, the order in which they happened.

        Args:
            most: no more than so many.
            until: only those before this :attr:`end`.
        """
        start, until = int(self._consumer[0]), self.end if until is None else until
        begin = start % self._size
        slots = self._data[begin : begin + (until - start)].view(_SLOT)[:most]
        busy = np.flatnonzero(slots["length"] & _BUSY)
        if len(busy):
            slots = slots[: busy[0]]
        self._read = start + len(slots) * SLOT_SIZE
        records: Records = slots["record"]
        return records

    def release(self) -> None:
        """Give the room of what was read back to the kernel."""
        self._consumer[0] = self._read

    def close(self) -> None:
        """Let go of the ring; no other call may follow. It is unmapped once nobody holds a view of it any more."""
        del self._consumer, self._producer, self._data, self._own, self._theirs
