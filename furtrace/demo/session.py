"""What the operations work on: the tree, the open files, and what INIT agreed on."""

import errno
import mmap
from dataclasses import dataclass, field

from furtrace.demo import wire
from furtrace.demo.errors import TreeError
from furtrace.demo.modes import Mode
from furtrace.demo.node import Entry, Node
from furtrace.demo.tree import Tree


@dataclass(frozen=True)
class Limits:
    """How the server wants to be spoken to. ``max_write`` is in bytes; validities are in seconds.

    ``unoffered`` are INIT flags that the reply has whether the kernel offered them or not.
    """

    max_write: int = 131072
    uring: bool = True
    mode: Mode = Mode.PLAIN
    entry_valid: int = 1
    attr_valid: int = 1
    unoffered: int = 0

    @property
    def max_pages(self) -> int:
        """How many pages a request may carry: as many as ``max_write`` needs."""
        return -(-self.max_write // mmap.PAGESIZE)

    @property
    def payload_size(self) -> int:
        """Bytes of payload that a ring entry must bring (``fuse_uring_create()`` in ``fs/fuse/dev_uring.c``)."""
        return max(wire.MIN_READ_BUFFER, self.max_write, self.max_pages * mmap.PAGESIZE)


@dataclass(slots=True)
class Handle:
    """One open file or directory. ``listing`` is what a directory held when it was last read from its start."""

    node: Node
    listing: list[tuple[bytes, Entry]] | None = None


@dataclass
class Session:
    """One connection's state.

    ``offered`` are the kernel's INIT flags, ``minor`` and ``flags`` what INIT agreed on; all are 0 until then.
    """

    tree: Tree
    limits: Limits
    minor: int = 0
    offered: int = 0
    flags: int = 0
    handles: dict[int, Handle] = field(default_factory=dict)
    _next_handle: int = 1

    def node(self, request: wire.Request) -> Node:
        """Return the node that a request is about; ``TreeError(ESTALE)``."""
        return self.tree.node(request.nodeid)

    def open(self, node: Node) -> int:
        """Open a node and return the new file handle."""
        number = self._next_handle
        self._next_handle += 1
        self.handles[number] = Handle(node)
        self.tree.opened(node)
        return number

    def handle(self, number: int) -> Handle:
        """Return an open file; ``TreeError(EBADF)``."""
        try:
            return self.handles[number]
        except KeyError:
            raise TreeError(errno.EBADF) from None

    def close(self, number: int) -> None:
        """Close a file handle; ``TreeError(EBADF)``."""
        node = self.handle(number).node
        del self.handles[number]
        self.tree.closed(node)
