"""Buffer pools: one piece of memory a queue, out of which the kernel gives a request a buffer only if it needs one.

The kernel cuts the pool into buffers of a size that it works out from what INIT agreed on and tells nobody. The server
learns with each request at which offset of the pool its buffer starts.
"""

from collections.abc import Sequence

from furtrace.demo import commands, wire
from furtrace.demo.entries import IOVECS, Command, Delivery, Entry, Headers
from furtrace.demo.memory import Memory
from furtrace.demo.modes import Mode
from furtrace.wire.opcodes import UringCommand

_ENT_ZERO_COPY = 1 << 0
"""``FUSE_URING_ENT_ZERO_COPY``: the request's pages are a registered buffer."""
_FIRST_INDEX = 1
"""Index 0 of the table of registered buffers stays empty: an SQE that names none would else be right by accident."""


class PoolEntry(Entry):
    """An entry whose payload lies in the pool, at another place with every request."""

    __slots__ = ("_buffer_size", "_pool")

    def __init__(self, index: int, header: memoryview, pool: memoryview, buffer_size: int, slot: int | None) -> None:
        super().__init__(index, header, pool[:0], slot)
        self._pool = pool
        self._buffer_size = buffer_size

    def receive(self) -> Delivery:
        """Return the request that the kernel has put here, and turn to its buffer.

        A request that has no buffer says offset 0, as one in the first buffer does. Its answer has no body, so
        nothing is written to a buffer that belongs to another.
        """
        flags, commit_id, size, offset, _reserved = wire.ENT_IN_OUT.unpack_from(self.header, wire.ENT_IN_OUT_OFFSET)
        zero_copied = bool(flags & _ENT_ZERO_COPY)
        self.payload = self._pool[offset : offset + self._buffer_size]
        request = wire.Request(
            wire.IN_HEADER.unpack_from(self.header), self.op_in, self.payload[: 0 if zero_copied else size]
        )
        return Delivery(request, commit_id, size, offset, zero_copied)


class PoolBuffers:
    """The memory of ``depth`` entries that share ``buffers`` payload buffers of ``buffer_size`` bytes.

    ``mode`` says whether the pool is registered with the ring, and whether entries have slots for zero-copied pages.
    With fewer buffers than entries, requests wait in the kernel for a buffer although entries are idle.
    """

    def __init__(self, mode: Mode, depth: int, buffers: int, buffer_size: int) -> None:
        self._headers = Headers(depth)
        self._pool = Memory(buffers * buffer_size)
        self._zero_copy = mode is Mode.ZERO_COPY
        self.table = self._table(mode, depth)
        self.fixed = _FIRST_INDEX if mode is Mode.FIXED_POOL else None
        self.entries: Sequence[Entry] = [
            PoolEntry(index, self._headers.view(index), self._pool.view, buffer_size, self._slot(index))
            for index in range(depth)
        ]

    def setup(self, qid: int) -> Sequence[Command]:
        """Return the commands that make the queue and give it its pool."""
        flags = commands.ZERO_COPY if self._zero_copy else 0
        size = len(self._pool.view)
        return (
            Command(UringCommand.ADD_QUEUE, commands.add_queue(qid, flags), flags=flags),
            Command(UringCommand.ADD_BUFPOOL, commands.add_bufpool(qid, self._pool.address, size), flags=0, size=size),
        )

    def register(self, qid: int, entry: Entry) -> Command:
        """Return the command that registers ``entry``; the second iovec is there and empty."""
        area = commands.register(qid, entry.slot or 0)
        return Command(UringCommand.REGISTER, area, self._headers.iovecs(entry.index), IOVECS, flags=0, slot=entry.slot)

    def _table(self, mode: Mode, depth: int) -> Sequence[tuple[int, int]]:
        if mode is Mode.FIXED_POOL:
            return [*[(0, 0)] * _FIRST_INDEX, (self._pool.address, len(self._pool.view))]
        return [(0, 0)] * (_FIRST_INDEX + depth) if self._zero_copy else []

    def _slot(self, index: int) -> int | None:
        return _FIRST_INDEX + index if self._zero_copy else None
