"""The operations on a node's attributes, extended ones included."""

import errno

from furtrace.demo import replies, wire, xattrs
from furtrace.demo.errors import TreeError
from furtrace.demo.operations import Table
from furtrace.demo.session import Session
from furtrace.demo.tree import Attributes
from furtrace.wire.opcodes import Opcode

_SECOND = 1_000_000_000


def getattr_(session: Session, request: wire.Request) -> bytes:
    """GETATTR."""
    return replies.attr_out(session, session.node(request))


def statx(session: Session, request: wire.Request) -> bytes:
    """STATX: the kernel sends it where the time of birth is asked for."""
    return replies.statx_out(session, session.node(request))


def setattr_(session: Session, request: wire.Request) -> bytes:
    """SETATTR."""
    node = session.node(request)
    session.tree.set_attributes(node, wanted_attributes(request.op_in, session.tree.now()))
    return replies.attr_out(session, node)


def wanted_attributes(op_in: wire.Buffer, now: int) -> Attributes:
    """Return what a ``fuse_setattr_in`` asks for; ``now`` (nanoseconds) stands for times that are to be the present."""
    (valid, _, _, size, _, atime, mtime, ctime, atime_nsec, mtime_nsec, ctime_nsec, mode, _, uid, gid, _) = (
        wire.SETATTR_IN.unpack_from(op_in)
    )
    return Attributes(
        mode=mode if valid & wire.FATTR_MODE else None,
        uid=uid if valid & wire.FATTR_UID else None,
        gid=gid if valid & wire.FATTR_GID else None,
        size=size if valid & wire.FATTR_SIZE else None,
        atime=_time(valid, (wire.FATTR_ATIME, wire.FATTR_ATIME_NOW), atime * _SECOND + atime_nsec, now),
        mtime=_time(valid, (wire.FATTR_MTIME, wire.FATTR_MTIME_NOW), mtime * _SECOND + mtime_nsec, now),
        ctime=ctime * _SECOND + ctime_nsec if valid & wire.FATTR_CTIME else None,
    )


def _time(valid: int, bits: tuple[int, int], given: int, now: int) -> int | None:
    set_bit, now_bit = bits
    if valid & now_bit:
        return now
    return given if valid & set_bit else None


def setxattr(session: Session, request: wire.Request) -> bytes:
    """SETXATTR, with the short ``fuse_setxattr_in`` (FUSE_SETXATTR_EXT is not asked for)."""
    size, flags = wire.TWO_U32.unpack_from(request.op_in)
    node = session.node(request)
    (name,) = wire.names(request.payload, 1)
    start = len(name) + 1
    xattrs.put(node.xattrs, name, bytes(request.payload[start : start + size]), flags)
    node.ctime = session.tree.now()
    return b""


def getxattr(session: Session, request: wire.Request) -> bytes:
    """GETXATTR: the value, or its size where the room given is 0."""
    (name,) = wire.names(request.payload, 1)
    return _sized(request, xattrs.get(session.node(request).xattrs, name))


def listxattr(session: Session, request: wire.Request) -> bytes:
    """LISTXATTR: the names, or their size where the room given is 0."""
    return _sized(request, xattrs.names(session.node(request).xattrs))


def removexattr(session: Session, request: wire.Request) -> bytes:
    """REMOVEXATTR."""
    node = session.node(request)
    xattrs.remove(node.xattrs, wire.names(request.payload, 1)[0])
    node.ctime = session.tree.now()
    return b""


def _sized(request: wire.Request, value: bytes) -> bytes:
    room, _padding = wire.TWO_U32.unpack_from(request.op_in)
    if room == 0:
        return wire.TWO_U32.pack(len(value), 0)
    if len(value) > room:
        raise TreeError(errno.ERANGE)
    return value


TABLE: Table = {
    Opcode.GETATTR: getattr_,
    Opcode.STATX: statx,
    Opcode.SETATTR: setattr_,
    Opcode.SETXATTR: setxattr,
    Opcode.GETXATTR: getxattr,
    Opcode.LISTXATTR: listxattr,
    Opcode.REMOVEXATTR: removexattr,
}
