"""The operations that list directories.

An entry's offset is the cookie it was given when its name was made, so it stays right while other names come and go. A
listing is taken when a directory is read from its start (and so on rewinddir); names that have gone since are left out.
"""

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from furtrace.demo import replies, wire
from furtrace.demo.node import Entry, Node
from furtrace.demo.operations import Table
from furtrace.demo.operations.files import release
from furtrace.demo.session import Handle, Session
from furtrace.wire.opcodes import Opcode

_DOT_COOKIE = 1
_DOTDOT_COOKIE = 2
_NO_ENTRY = bytes(wire.ENTRY_OUT.size + wire.ATTR.size)


class _Listed(NamedTuple):
    name: bytes
    cookie: int
    node: Node


def opendir(session: Session, request: wire.Request) -> bytes:
    """OPENDIR."""
    return wire.OPEN_OUT.pack(session.open(session.node(request)), 0, 0)


def readdir(session: Session, request: wire.Request) -> wire.Buffer:
    """READDIR."""
    handle, offset, size = _asked(session, request)
    filled = bytearray()
    for name, cookie, node in _listed(session, handle, offset):
        record = wire.pack_dirent(node.ino, cookie, node.file_type, name)
        if len(filled) + len(record) > size:
            break
        filled += record
    return filled


def readdirplus(session: Session, request: wire.Request) -> wire.Buffer:
    """READDIRPLUS: each entry but "." and ".." is a lookup too, and counts as one."""
    handle, offset, size = _asked(session, request)
    filled = bytearray()
    for name, cookie, node in _listed(session, handle, offset):
        record = wire.pack_dirent(node.ino, cookie, node.file_type, name)
        if len(filled) + len(_NO_ENTRY) + len(record) > size:
            break
        filled += _NO_ENTRY if cookie <= _DOTDOT_COOKIE else replies.entry_out(session, node)
        filled += record
    return filled


def _asked(session: Session, request: wire.Request) -> tuple[Handle, int, int]:
    number, offset, size, _, _, _, _ = wire.READ_IN.unpack_from(request.op_in)
    return session.handle(number), offset, size


def _listed(session: Session, handle: Handle, offset: int) -> Iterator[_Listed]:
    """Yield the entries behind ``offset`` that are still there, with the cookie to go on after each."""
    directory = handle.node
    if handle.listing is None or offset == 0:
        handle.listing = session.tree.entries(directory)
    if offset < _DOT_COOKIE:
        yield _Listed(b".", _DOT_COOKIE, directory)
    if offset < _DOTDOT_COOKIE:
        yield _Listed(b"..", _DOTDOT_COOKIE, directory.parent or directory)
    start = bisect_right(handle.listing, offset, key=_cookie)
    for index in range(start, len(handle.listing)):
        name, (cookie, _node) = handle.listing[index]
        entry = directory.entries.get(name) if directory.entries else None
        if entry is not None and entry.cookie == cookie:
            yield _Listed(name, cookie, entry.node)


def _cookie(item: tuple[bytes, Entry]) -> int:
    return item[1].cookie


TABLE: Table = {
    Opcode.OPENDIR: opendir,
    Opcode.READDIR: readdir,
    Opcode.READDIRPLUS: readdirplus,
    Opcode.RELEASEDIR: release,
}
