"""The operations on names: look up, make, link, rename, remove."""

import os

from furtrace.demo import replies, wire
from furtrace.demo.node import Owner
from furtrace.demo.operations import Table
from furtrace.demo.session import Session
from furtrace.wire.opcodes import Opcode


def lookup(session: Session, request: wire.Request) -> bytes:
    """LOOKUP."""
    (name,) = wire.names(request.payload, 1)
    return replies.entry_out(session, session.tree.lookup(session.node(request), name))


def mknod(session: Session, request: wire.Request) -> bytes:
    """MKNOD: regular files, FIFOs and sockets."""
    mode, _rdev, _umask, _padding = wire.MKNOD_IN.unpack_from(request.op_in)
    (name,) = wire.names(request.payload, 1)
    return replies.entry_out(session, session.tree.create(session.node(request), name, mode, _owner(request)))


def create(session: Session, request: wire.Request) -> bytes:
    """CREATE: make a regular file and open it. A name that is there already is opened, except with O_EXCL."""
    flags, mode, _umask, _open_flags = wire.CREATE_IN.unpack_from(request.op_in)
    (name,) = wire.names(request.payload, 1)
    tree, parent = session.tree, session.node(request)
    if parent.entries and name in parent.entries and not flags & os.O_EXCL:
        node = tree.lookup(parent, name)
        if flags & os.O_TRUNC:
            tree.truncate(node, 0)
    else:
        node = tree.create(parent, name, mode, _owner(request))
    return replies.entry_out(session, node) + replies.open_out(session, node)


def mkdir(session: Session, request: wire.Request) -> bytes:
    """MKDIR."""
    mode, _umask = wire.TWO_U32.unpack_from(request.op_in)
    (name,) = wire.names(request.payload, 1)
    return replies.entry_out(session, session.tree.mkdir(session.node(request), name, mode, _owner(request)))


def symlink(session: Session, request: wire.Request) -> bytes:
    """SYMLINK."""
    name, target = wire.names(request.payload, 2)
    return replies.entry_out(session, session.tree.symlink(session.node(request), name, target, _owner(request)))


def readlink(session: Session, request: wire.Request) -> bytes:
    """READLINK."""
    return session.node(request).target


def link(session: Session, request: wire.Request) -> bytes:
    """LINK: the request's node is the directory, the old node is an argument."""
    (old,) = wire.U64.unpack_from(request.op_in)
    (name,) = wire.names(request.payload, 1)
    node = session.tree.node(old)
    session.tree.link(node, session.node(request), name)
    return replies.entry_out(session, node)


def unlink(session: Session, request: wire.Request) -> bytes:
    """UNLINK."""
    session.tree.unlink(session.node(request), wire.names(request.payload, 1)[0])
    return b""


def rmdir(session: Session, request: wire.Request) -> bytes:
    """RMDIR."""
    session.tree.rmdir(session.node(request), wire.names(request.payload, 1)[0])
    return b""


def rename(session: Session, request: wire.Request) -> bytes:
    """RENAME."""
    (new_parent,) = wire.U64.unpack_from(request.op_in)
    return _rename(session, request, new_parent, 0)


def rename2(session: Session, request: wire.Request) -> bytes:
    """RENAME2: rename with RENAME_NOREPLACE or RENAME_EXCHANGE."""
    new_parent, flags, _padding = wire.RENAME2_IN.unpack_from(request.op_in)
    return _rename(session, request, new_parent, flags)


def _rename(session: Session, request: wire.Request, new_parent: int, flags: int) -> bytes:
    old_name, new_name = wire.names(request.payload, 2)
    session.tree.rename(session.node(request), old_name, session.tree.node(new_parent), new_name, flags)
    return b""


def _owner(request: wire.Request) -> Owner:
    return Owner(request.uid, request.gid)


TABLE: Table = {
    Opcode.LOOKUP: lookup,
    Opcode.MKNOD: mknod,
    Opcode.CREATE: create,
    Opcode.MKDIR: mkdir,
    Opcode.SYMLINK: symlink,
    Opcode.READLINK: readlink,
    Opcode.LINK: link,
    Opcode.UNLINK: unlink,
    Opcode.RMDIR: rmdir,
    Opcode.RENAME: rename,
    Opcode.RENAME2: rename2,
}
