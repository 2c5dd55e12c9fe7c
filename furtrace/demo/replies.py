"""Nodes as the structures that answers are made of."""

from furtrace.demo import wire
from furtrace.demo.backing import Backing
from furtrace.demo.content import PAGE
from furtrace.demo.node import Node
from furtrace.demo.session import Session

_SECOND = 1_000_000_000


def attributes(node: Node) -> bytes:
    """Return a node's ``fuse_attr``."""
    atime, atime_nsec = divmod(node.atime, _SECOND)
    mtime, mtime_nsec = divmod(node.mtime, _SECOND)
    ctime, ctime_nsec = divmod(node.ctime, _SECOND)
    return wire.ATTR.pack(
        node.ino,
        node.size,
        node.blocks,
        atime,
        mtime,
        ctime,
        atime_nsec,
        mtime_nsec,
        ctime_nsec,
        node.mode,
        node.nlink,
        node.uid,
        node.gid,
        node.rdev,
        PAGE,
        0,
    )


def attr_out(session: Session, node: Node) -> bytes:
    """Return a ``fuse_attr_out``: what GETATTR and SETATTR answer."""
    return wire.ATTR_OUT.pack(session.limits.attr_valid, 0, 0) + attributes(node)


def entry_out(session: Session, node: Node) -> bytes:
    """Return a ``fuse_entry_out``, and count the reference that the kernel gets by it.

    The generation is always 0: node numbers are never used twice.
    """
    session.tree.remember(node)
    limits = session.limits
    return wire.ENTRY_OUT.pack(node.ino, 0, limits.entry_valid, limits.attr_valid, 0, 0) + attributes(node)


def open_out(session: Session, node: Node) -> bytes:
    """Open a regular file and return its ``fuse_open_out``; it is zero-copied if io_uring can get at its bytes."""
    flags = wire.FOPEN_IO_URING_ZERO_COPY if isinstance(node.content, Backing) else 0
    return wire.OPEN_OUT.pack(session.open(node), flags, 0)


def statx_out(session: Session, node: Node) -> bytes:
    """Return a ``fuse_statx_out``: the basic fields and the time of birth."""
    stat = wire.STATX.pack(
        wire.STATX_BASIC_AND_BTIME,
        PAGE,
        0,
        node.nlink,
        node.uid,
        node.gid,
        node.mode,
        0,
        node.ino,
        node.size,
        node.blocks,
        0,
        *_sx_time(node.atime),
        *_sx_time(node.btime),
        *_sx_time(node.ctime),
        *_sx_time(node.mtime),
        0,
        0,
        0,
        0,
    )
    return wire.STATX_OUT.pack(session.limits.attr_valid, 0, 0, 0, 0) + stat


def _sx_time(time: int) -> tuple[int, int, int]:
    seconds, nanoseconds = divmod(time, _SECOND)
    return seconds, nanoseconds, 0
