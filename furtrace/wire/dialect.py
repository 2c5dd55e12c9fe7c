"""The three forms of FUSE over io_uring, and which of them a kernel speaks."""

from collections.abc import Collection
from enum import StrEnum


class Dialect(StrEnum):
    """How payload buffers are arranged between kernel and server.

    Attributes:
        PLAIN: every ring entry has a payload buffer of its own (Linux 6.14 on).
        BUFRING: a ring of buffers for each queue, named by ``buf_id`` (the proposal of April 2026,
            "[PATCH v2 10/14] fuse: add io-uring buffer rings" on linux-fsdevel; in no released kernel).
        BUFPOOL: a pool of buffers for each queue, named by ``offset`` (Linux 7.3 on).

    """

    PLAIN = "plain"
    BUFRING = "bufring"
    BUFPOOL = "bufpool"


def dialect_of(members: Collection[str]) -> Dialect:
    """Return the dialect of the kernel whose ``struct fuse_uring_ent_in_out`` has these members, by its BTF."""
    if "buf_id" in members:
        return Dialect.BUFRING
    if "offset" in members:
        return Dialect.BUFPOOL
    return Dialect.PLAIN
