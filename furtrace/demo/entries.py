"""Ring entries: where the kernel puts a request and where it looks for the answer.

How an entry comes by its payload memory is a matter of the mode. Here every entry has a buffer of its own, as every
kernel since 6.14 lets it have; ``furtrace.demo.pools`` has the other way.
"""

from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple, Protocol

from furtrace.demo import commands, wire
from furtrace.demo.memory import Memory
from furtrace.wire.opcodes import UringCommand

IOVECS = 2
_IOVECS = Struct("=QQQQ")
"""Two ``struct iovec``: the header's address and size, the payload's address and size."""
_HEADER_STRIDE = 512


class Command(NamedTuple):
    """A command to be sent: its number, its command area, and the address and number of its iovecs.

    ``flags``, ``slot`` and ``size`` say again, for the log, what stands in the area: flags of ADD_QUEUE, slot of
    REGISTER, the pool's size.
    """

    op: UringCommand
    area: bytes
    address: int = 0
    length: int = 0
    flags: int | None = None
    slot: int | None = None
    size: int | None = None


class Delivery(NamedTuple):
    """A request as it came: what it asks, and what ``fuse_uring_ent_in_out`` said of it.

    ``offset`` is ``None`` where there is no pool. With ``zero_copied``, data is not in the request's payload although
    ``payload_sz`` may count it.
    """

    request: wire.Request
    commit_id: int
    payload_sz: int
    offset: int | None = None
    zero_copied: bool = False


class Entry:
    """One ring entry of a queue: its header (``fuse_uring_req_header``) and its payload, as views.

    ``slot`` is the registered buffer that zero-copied pages become, ``None`` on a queue without zero-copy.
    """

    __slots__ = ("header", "index", "op_in", "payload", "slot")

    def __init__(self, index: int, header: memoryview, payload: memoryview, slot: int | None = None) -> None:
        self.index = index
        self.header = header
        self.op_in = header[wire.OP_IN_OFFSET : wire.OP_IN_OFFSET + wire.OP_IN_SIZE]
        self.payload = payload
        self.slot = slot

    def receive(self) -> Delivery:
        """Return the request that the kernel has put here."""
        _flags, commit_id, size, _offset, _reserved = wire.ENT_IN_OUT.unpack_from(self.header, wire.ENT_IN_OUT_OFFSET)
        header = wire.IN_HEADER.unpack_from(self.header)
        return Delivery(wire.Request(header, self.op_in, self.payload[:size]), commit_id, size)

    def put(self, unique: int, error: int, body: wire.Buffer, moved: int = 0) -> None:
        """Write an answer where the kernel will look for it when it is committed; ``body`` must fit the payload.

        ``moved`` bytes more have been put into the client's pages already.
        """
        size = len(body)
        if size:
            self.payload[:size] = body
        size += moved
        wire.OUT_HEADER.pack_into(self.header, 0, wire.OUT_HEADER.size + size, error, unique)
        wire.PAYLOAD_SIZE.pack_into(self.header, wire.PAYLOAD_SIZE_OFFSET, size)


class Buffers(Protocol):
    """The memory of one queue, and what the kernel is told of it."""

    entries: Sequence[Entry]
    table: Sequence[tuple[int, int]]
    """Address and size of each buffer to register with the ring; ``(0, 0)`` keeps a place free. Empty: no table."""
    fixed: int | None
    """Index in ``table`` that every command must name, or ``None``."""

    def setup(self, qid: int) -> Sequence[Command]:
        """Return the commands that come before the entries' own."""

    def register(self, qid: int, entry: Entry) -> Command:
        """Return the command that registers ``entry``."""


class Headers:
    """The headers of ``depth`` entries, and room for the iovecs that register them."""

    def __init__(self, depth: int) -> None:
        self._headers = Memory(depth * _HEADER_STRIDE)
        self._iovecs = Memory(depth * _IOVECS.size)

    def view(self, index: int) -> memoryview:
        """Return the header of the entry with this index."""
        start = index * _HEADER_STRIDE
        return self._headers.view[start : start + wire.RING_HEADER_SIZE]

    def iovecs(self, index: int, payload: int = 0, payload_size: int = 0) -> int:
        """Write the two iovecs that register an entry, and return their address. A pool's entry has no payload."""
        at = index * _IOVECS.size
        header = self._headers.address + index * _HEADER_STRIDE
        _IOVECS.pack_into(self._iovecs.view, at, header, wire.RING_HEADER_SIZE, payload, payload_size)
        return self._iovecs.address + at


class OwnBuffers:
    """The memory of ``depth`` entries, each with ``payload_size`` bytes of its own."""

    table: Sequence[tuple[int, int]] = ()
    fixed: int | None = None

    def __init__(self, depth: int, payload_size: int) -> None:
        self._headers = Headers(depth)
        self._payloads = Memory(depth * payload_size)
        self._payload_size = payload_size
        self.entries: Sequence[Entry] = [self._entry(index) for index in range(depth)]

    def setup(self, _qid: int) -> Sequence[Command]:
        """Nothing: the first REGISTER makes the queue."""
        return ()

    def register(self, qid: int, entry: Entry) -> Command:
        """Return the command that registers ``entry`` with its payload buffer."""
        payload = self._payloads.address + entry.index * self._payload_size
        address = self._headers.iovecs(entry.index, payload, self._payload_size)
        return Command(UringCommand.REGISTER, commands.register(qid), address, IOVECS)

    def _entry(self, index: int) -> Entry:
        start = index * self._payload_size
        return Entry(index, self._headers.view(index), self._payloads.view[start : start + self._payload_size])
