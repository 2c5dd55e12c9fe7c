"""The operations that are about the connection, not about a file: INIT, DESTROY, FORGET, STATFS."""

from furtrace.demo import wire
from furtrace.demo.content import PAGE
from furtrace.demo.operations import Table
from furtrace.demo.session import Session
from furtrace.demo.tree import NAME_MAX
from furtrace.wire.opcodes import Opcode

_WANTED = (
    wire.ASYNC_READ
    | wire.ATOMIC_O_TRUNC
    | wire.BIG_WRITES
    | wire.DO_READDIRPLUS
    | wire.READDIRPLUS_AUTO
    | wire.ASYNC_DIO
    | wire.PARALLEL_DIROPS
    | wire.MAX_PAGES
    | wire.INIT_EXT
)
_MAX_BACKGROUND = 64
_CONGESTION_THRESHOLD = 48
_FREE_INODES = 1 << 20


def init(session: Session, request: wire.Request) -> bytes:
    """Agree on version, flags and sizes; only a server with a fault asks for what the kernel did not offer."""
    _major, minor, max_readahead, offered = wire.INIT_IN.unpack_from(request.op_in)
    if offered & wire.INIT_EXT:
        offered |= int.from_bytes(request.op_in[wire.INIT_IN.size : wire.INIT_IN.size + 4], "little") << 32
    wanted = _WANTED | (wire.OVER_IO_URING if session.limits.uring else 0)
    if session.limits.mode.pooled:
        wanted |= wire.HAS_IO_URING_BUFPOOL
    session.minor = min(minor, wire.MINOR)
    session.offered = offered
    session.flags = wanted & offered | session.limits.unoffered
    return wire.INIT_OUT.pack(
        wire.MAJOR,
        session.minor,
        max_readahead,
        session.flags & 0xFFFF_FFFF,
        _MAX_BACKGROUND,
        _CONGESTION_THRESHOLD,
        session.limits.max_write,
        1,
        session.limits.max_pages,
        0,
        session.flags >> 32,
        0,
        0,
    )


def forget(session: Session, request: wire.Request) -> bytes:
    """Take back the references to one node."""
    (count,) = wire.U64.unpack_from(request.op_in)
    session.tree.forget(request.nodeid, count)
    return b""


def batch_forget(session: Session, request: wire.Request) -> bytes:
    """Take back the references to many nodes."""
    count, _dummy = wire.TWO_U32.unpack_from(request.op_in)
    for nodeid, lookups in wire.FORGET_ONE.iter_unpack(request.payload[: count * wire.FORGET_ONE.size]):
        session.tree.forget(nodeid, lookups)
    return b""


def statfs(session: Session, _request: wire.Request) -> bytes:
    """Say how much room there is."""
    space = session.tree.space
    free = space.pages - space.used
    files = len(session.tree)
    return wire.STATFS_OUT.pack(space.pages, free, free, files + _FREE_INODES, _FREE_INODES, PAGE, NAME_MAX, PAGE)


def nothing(_session: Session, _request: wire.Request) -> bytes:
    """Agree: everything is in memory, there is nothing to flush, to synchronize or to interrupt."""
    return b""


TABLE: Table = {
    Opcode.INIT: init,
    Opcode.DESTROY: nothing,
    Opcode.FORGET: forget,
    Opcode.BATCH_FORGET: batch_forget,
    Opcode.INTERRUPT: nothing,
    Opcode.STATFS: statfs,
    Opcode.FLUSH: nothing,
    Opcode.FSYNC: nothing,
    Opcode.FSYNCDIR: nothing,
}
