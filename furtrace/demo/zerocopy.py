"""READ and WRITE whose data stays in the client's pages.

The kernel makes those pages a registered buffer of the server's ring. The server lets io_uring move the bytes between
that buffer and the file (READ_FIXED, WRITE_FIXED), and never sees them. So an operation has two halves: ``begin`` says
what is to be moved, ``end`` what the answer is once it has been.
"""

import errno
from dataclasses import dataclass

from furtrace.demo import wire
from furtrace.demo.backing import Backing
from furtrace.demo.errors import TreeError
from furtrace.demo.session import Session
from furtrace.wire.opcodes import Opcode
from furtrace.wire.sqe import IoUringOp


@dataclass(slots=True)
class Transfer:
    """Bytes to be moved between the client's pages, from their start on, and the file ``fd`` from ``offset`` on.

    ``moved`` counts those that have been; ``error`` is 0 or the negative errno that ended it.
    """

    op: IoUringOp
    fd: int
    offset: int
    length: int
    moved: int = 0
    error: int = 0
    _ended: bool = False

    @property
    def left(self) -> int:
        """How many bytes are still to be moved."""
        return 0 if self._ended else self.length - self.moved

    @property
    def outbound(self) -> int:
        """How many bytes of the client's pages have been filled."""
        return self.moved if self.op is IoUringOp.READ_FIXED else 0

    def advance(self, result: int) -> None:
        """Account for a completion. It may have moved fewer bytes than it should; one of 0 bytes is the end."""
        self.moved += max(result, 0)
        self.error = min(result, 0)
        self._ended = result <= 0


def begin(session: Session, request: wire.Request) -> Transfer:
    """Return what a READ or WRITE is to move; ``TreeError`` when it is refused."""
    _handle, offset, size, _, _, _, _ = wire.READ_IN.unpack_from(request.op_in)
    node = session.node(request)
    content = session.tree.content(node)
    if not isinstance(content, Backing):
        # The kernel was told with the open that this file is to be copied.
        raise TreeError(errno.EIO)
    if request.opcode == Opcode.READ:
        session.tree.accessed(node)
        return Transfer(IoUringOp.READ_FIXED, content.fd, offset, min(size, max(0, content.size - offset)))
    content.reserve(offset, size)
    return Transfer(IoUringOp.WRITE_FIXED, content.fd, offset, size)


def end(session: Session, request: wire.Request, transfer: Transfer) -> bytes:
    """Return the answer's body when nothing more is to be moved; a READ's data is not in it. ``TreeError``."""
    if transfer.error:
        raise TreeError(-transfer.error)
    if transfer.op is IoUringOp.READ_FIXED:
        return b""
    session.tree.modified(session.node(request))
    return wire.TWO_U32.pack(transfer.moved, 0)
