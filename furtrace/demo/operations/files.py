"""The operations on open files and their bytes."""

import os

from furtrace.demo import replies, wire
from furtrace.demo.operations import Table
from furtrace.demo.session import Session
from furtrace.wire.opcodes import Opcode


def open_(session: Session, request: wire.Request) -> bytes:
    """OPEN; FUSE_ATOMIC_O_TRUNC leaves O_TRUNC to the server."""
    flags, _open_flags = wire.TWO_U32.unpack_from(request.op_in)
    node = session.node(request)
    if flags & os.O_TRUNC:
        session.tree.truncate(node, 0)
    return replies.open_out(session, node)


def release(session: Session, request: wire.Request) -> bytes:
    """RELEASE and RELEASEDIR."""
    (number,) = wire.U64.unpack_from(request.op_in)
    session.close(number)
    return b""


def read(session: Session, request: wire.Request) -> bytes:
    """READ. By node, not by handle: the kernel may have guessed the handle of a page that it reads or writes back."""
    _handle, offset, size, _, _, _, _ = wire.READ_IN.unpack_from(request.op_in)
    return session.tree.read(session.node(request), offset, size)


def write(session: Session, request: wire.Request) -> bytes:
    """WRITE."""
    _handle, offset, size, _, _, _, _ = wire.READ_IN.unpack_from(request.op_in)
    session.tree.write(session.node(request), offset, request.payload[:size])
    return wire.TWO_U32.pack(size, 0)


def fallocate(session: Session, request: wire.Request) -> bytes:
    """FALLOCATE."""
    _handle, offset, length, mode, _padding = wire.FALLOCATE_IN.unpack_from(request.op_in)
    session.tree.allocate(session.node(request), offset, length, mode)
    return b""


def lseek(session: Session, request: wire.Request) -> bytes:
    """LSEEK: the kernel sends it for SEEK_DATA and SEEK_HOLE only."""
    _handle, offset, whence, _padding = wire.LSEEK_IN.unpack_from(request.op_in)
    return wire.U64.pack(session.tree.content(session.node(request)).seek(offset, whence))


def copy_file_range(session: Session, request: wire.Request) -> bytes:
    """COPY_FILE_RANGE: the answer is a ``fuse_write_out``."""
    return wire.TWO_U32.pack(_copy(session, request), 0)


def copy_file_range_64(session: Session, request: wire.Request) -> bytes:
    """COPY_FILE_RANGE_64: the answer is a ``fuse_copy_file_range_out``."""
    return wire.U64.pack(_copy(session, request))


def _copy(session: Session, request: wire.Request) -> int:
    _handle, offset, node_out, _handle_out, offset_out, length, _flags = wire.COPY_FILE_RANGE_IN.unpack_from(
        request.op_in
    )
    target = session.tree.node(node_out)
    return session.tree.copy_range((session.node(request), offset), (target, offset_out), length)


TABLE: Table = {
    Opcode.OPEN: open_,
    Opcode.RELEASE: release,
    Opcode.READ: read,
    Opcode.WRITE: write,
    Opcode.FALLOCATE: fallocate,
    Opcode.LSEEK: lseek,
    Opcode.COPY_FILE_RANGE: copy_file_range,
    Opcode.COPY_FILE_RANGE_64: copy_file_range_64,
}
