"""The command area of each command of FUSE over io_uring (``fuse_uring_cmd_req``), as bytes.

The area's other bytes are zero. What the plain dialect lacks is a member of the union from byte 24 on.
"""

from struct import Struct

_HEAD = Struct("=QQH6x")
"""``fuse_uring_cmd_req`` up to its union: flags, commit_id, qid."""
_BUFPOOL = Struct("=QII")
"""The union's ``bufpool``: uaddr, len, reserved."""
_SLOT = Struct("=H")
"""The union's ``ent_zero_copy_buf_index``."""

ZERO_COPY = 1 << 0
"""``FUSE_URING_ZERO_COPY``, a flag of ADD_QUEUE."""
CMD_FIXED = 1 << 0
"""``IORING_URING_CMD_FIXED``, a flag of the SQE: ``buf_index`` names a registered buffer."""


def add_queue(qid: int, flags: int) -> bytes:
    """ADD_QUEUE: make queue ``qid``; ``flags`` is 0 or ``ZERO_COPY``."""
    return _HEAD.pack(flags, 0, qid)


def add_bufpool(qid: int, address: int, size: int) -> bytes:
    """ADD_BUFPOOL: give queue ``qid`` the memory at ``address`` for its payload buffers."""
    return _HEAD.pack(0, 0, qid) + _BUFPOOL.pack(address, size, 0)


def register(qid: int, slot: int = 0) -> bytes:
    """REGISTER: add an entry, whose zero-copied pages will be the registered buffer ``slot``; 0 without zero-copy."""
    return _HEAD.pack(0, 0, qid) + _SLOT.pack(slot)


def commit(qid: int, commit_id: int) -> bytes:
    """COMMIT_AND_FETCH: answer the request that came with ``commit_id``."""
    return _HEAD.pack(0, commit_id, qid)
