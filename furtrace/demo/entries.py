"""Ring entries: where the kernel puts a request and where it looks for the answer.

How an entry comes by its memory is a matter of the dialect. Here every entry has a payload buffer of its own, as every
kernel since 6.14 lets it have.
"""

from struct import Struct

from furtrace.demo import wire
from furtrace.demo.memory import Memory

IOVECS = 2
_IOVECS = Struct("=QQQQ")
"""Two ``struct iovec``: the header's address and size, the payload's address and size."""
_HEADER_STRIDE = 512


class Entry:
    """One ring entry of a queue: its header (``fuse_uring_req_header``) and its payload, as views."""

    __slots__ = ("header", "index", "op_in", "payload")

    def __init__(self, index: int, header: memoryview, payload: memoryview) -> None:
        self.index = index
        self.header = header
        self.op_in = header[wire.OP_IN_OFFSET : wire.OP_IN_OFFSET + wire.OP_IN_SIZE]
        self.payload = payload

    def request(self) -> tuple[wire.Request, int]:
        """Return the request that the kernel has put here, and its commit id."""
        _flags, commit_id, size, _offset, _reserved = wire.ENT_IN_OUT.unpack_from(self.header, wire.ENT_IN_OUT_OFFSET)
        header = wire.IN_HEADER.unpack_from(self.header)
        return wire.Request(header, self.op_in, self.payload[:size]), commit_id

    def put(self, unique: int, error: int, body: wire.Buffer) -> None:
        """Write an answer where the kernel will look for it when it is committed; ``body`` must fit the payload."""
        size = len(body)
        if size:
            self.payload[:size] = body
        wire.OUT_HEADER.pack_into(self.header, 0, wire.OUT_HEADER.size + size, error, unique)
        wire.PAYLOAD_SIZE.pack_into(self.header, wire.PAYLOAD_SIZE_OFFSET, size)


class OwnBuffers:
    """The memory of ``depth`` entries, each with ``payload_size`` bytes of its own."""

    def __init__(self, depth: int, payload_size: int) -> None:
        self._headers = Memory(depth * _HEADER_STRIDE)
        self._payloads = Memory(depth * payload_size)
        self._iovecs = Memory(depth * _IOVECS.size)
        self._payload_size = payload_size
        self.entries = [self._entry(index) for index in range(depth)]

    def iovecs(self, entry: Entry) -> int:
        """Return the address of the two iovecs that register ``entry``."""
        at = entry.index * _IOVECS.size
        header = self._headers.address + entry.index * _HEADER_STRIDE
        payload = self._payloads.address + entry.index * self._payload_size
        _IOVECS.pack_into(self._iovecs.view, at, header, wire.RING_HEADER_SIZE, payload, self._payload_size)
        return self._iovecs.address + at

    def _entry(self, index: int) -> Entry:
        header = index * _HEADER_STRIDE
        payload = index * self._payload_size
        return Entry(
            index,
            self._headers.view[header : header + wire.RING_HEADER_SIZE],
            self._payloads.view[payload : payload + self._payload_size],
        )
