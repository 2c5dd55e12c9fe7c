"""What stands in requests, replies and notifications behind their header, by operation.

The order of arguments is that of ``in_args`` and ``out_args`` in the kernel (``fs/fuse/dir.c``, ``file.c``,
``xattr.c``, ``ioctl.c``, ``readdir.c``, ``inode.c``, ``dev.c`` of Linux 7.3). A request has at most one structure of
its own, its *head*, which io_uring puts into ``op_in``; all that follows is payload.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from furtrace.wire import attributes, cuse, directories, extensions, files, init, inodes, notifications, xattrs
from furtrace.wire.flags import IoctlFlag
from furtrace.wire.items import Reader
from furtrace.wire.layout import Layout
from furtrace.wire.notifications import Notification
from furtrace.wire.opcodes import Opcode, name_roles, opcode_name

AnyLayout: TypeAlias = Layout[Any]
Rest: TypeAlias = Callable[[Reader, Any], None]
"""Reads what follows a structure, given it; the structure is None if it could not be read."""


@dataclass(frozen=True, slots=True)
class Body:
    """What one message is made of.

    Attributes:
        structures: in their order.
        rest: reads what follows them (and, in a request, the names); None: nothing does.
        follows: what that is, in a word.
        shorter: earlier forms of the only structure, told from it by how many bytes there are.

    """

    structures: tuple[AnyLayout, ...] = ()
    rest: Rest | None = None
    follows: tuple[str, ...] = ()
    shorter: tuple[AnyLayout, ...] = ()


# ---- what follows ----


def _data(field: str) -> Rest:
    """Data of as many bytes as a field says."""

    def read(reader: Reader, head: Any) -> None:
        reader.bytes("data", getattr(head, field) if head else reader.left)

    return read


def _all(name: str) -> Rest:
    """All that is left, as one piece."""

    def read(reader: Reader, _: Any) -> None:
        reader.bytes(name, reader.left)

    return read


def _several(layout: AnyLayout) -> Rest:
    """As many structures as ``count`` says."""
    return lambda reader, head: reader.array(layout, head.count if head else 0)


def _node_ids(reader: Reader, head: Any) -> None:
    reader.numbers("nodeid", 8, head.count if head else 0)


def _value(reader: Reader, head: Any) -> None:
    reader.bytes("value", head.size if head else reader.left)


def _named(reader: Reader, head: Any) -> None:
    """A name whose length stands in the structure."""
    name = reader.name("name")
    if head and name is not None and len(name) != head.namelen:
        reader.problem(f"namelen says {head.namelen} bytes, the name has {len(name)}")


def _entry(reader: Reader, layout: AnyLayout, length: Callable[[Any], int]) -> bool:
    """One entry of a directory; False if it is not there as a whole."""
    start, first = reader.at, len(reader.items)
    head = reader.structure(layout)
    if head is None:
        return False
    announced = length(head)
    name = reader.bytes("name", announced)
    reader.fill(directories.ALIGNMENT, start)
    reader.group("entry", start, first, reader.items[-1].meaning if name else "")
    return len(name) == announced


def _dirents(reader: Reader, _: Any) -> None:
    while reader.left and _entry(reader, directories.DIRENT, lambda head: int(head.namelen)):
        pass


def _direntplus(reader: Reader, _: Any) -> None:
    while reader.left and _entry(reader, directories.DIRENTPLUS, lambda head: int(head.dirent.namelen)):
        pass


def _strings(name: str) -> Rest:
    """Strings, each ended by a NUL, up to the end or to an empty one: that is none (``fuse_verify_xattr_list``)."""

    def read(reader: Reader, _: Any) -> None:
        while reader.left and reader.peek(1) != b"\0":
            reader.name(name)

    return read


def _ioctl_reply(reader: Reader, head: Any) -> None:
    if not head or not head.flags & IoctlFlag.RETRY:
        reader.bytes("data", reader.left)
        return
    for count in (head.in_iovs, head.out_iovs):
        reader.array(files.IOCTL_IOVEC, count)


def read_extensions(reader: Reader) -> None:
    """Read extensions up to the reader's end (``get_create_ext`` of ``fs/fuse/dir.c``)."""
    while reader.left:
        start, first = reader.at, len(reader.items)
        words = reader.peek(extensions.EXT_HEADER.size)
        if len(words) < extensions.EXT_HEADER.size:
            reader.rest("extension", "are left, too few for an extension")
            return
        size, kind = int.from_bytes(words[:4], "little"), int.from_bytes(words[4:], "little")
        if size < len(words):
            reader.structure(extensions.EXT_HEADER)
            reader.problem(f"an extension of {size} bytes is too short for its own head", start)
            reader.rest("extension", "of extensions are not decoded")
            return
        if size > reader.left:
            reader.problem(f"an extension of {size} bytes does not fit the {reader.left} bytes left", start)
        inner = reader.within(size)
        if kind <= extensions.MAX_NR_SECCTX:
            _security_contexts(inner)
        else:
            _extension(inner)
        reader.items += inner.items
        reader.group("extension", start, first)
        reader.fill(directories.ALIGNMENT, start)


def _security_contexts(reader: Reader) -> None:
    head = reader.structure(extensions.SECCTX_HEADER)
    for _ in range(head.nr_secctx if head else 0):
        start = reader.at
        one = reader.structure(extensions.SECCTX)
        if one is None or reader.name("name") is None:
            return
        reader.bytes("context", one.size)
        reader.fill(directories.ALIGNMENT, start)
    reader.rest("data", "follow the security contexts")


def _extension(reader: Reader) -> None:
    head = reader.structure(extensions.EXT_HEADER)
    if head and head.type == extensions.EXT_GROUPS:
        groups = reader.structure(extensions.SUPP_GROUPS)
        if groups:
            reader.numbers("group", 4, groups.nr_groups)
        if reader.left >= directories.ALIGNMENT:
            reader.rest("data", "follow the groups")
    elif head:
        reader.problem(f"extensions of type {head.type} are not known")
        reader.bytes("data", reader.left)


# ---- operations ----

_ENTRY: Final = Body((attributes.ENTRY_OUT,))
_ATTR: Final = Body((attributes.ATTR_OUT,))
_OPEN: Final = Body((files.OPEN_OUT,))
_CREATED: Final = Body((attributes.ENTRY_OUT, files.OPEN_OUT))
_NONE: Final = Body()

REQUESTS: Final[dict[int, Body]] = {
    Opcode.LOOKUP: _NONE,
    Opcode.FORGET: Body((inodes.FORGET_IN,)),
    Opcode.GETATTR: Body((attributes.GETATTR_IN,)),
    Opcode.SETATTR: Body((attributes.SETATTR_IN,)),
    Opcode.READLINK: _NONE,
    Opcode.SYMLINK: _NONE,
    Opcode.MKNOD: Body((inodes.MKNOD_IN,)),
    Opcode.MKDIR: Body((inodes.MKDIR_IN,)),
    Opcode.UNLINK: _NONE,
    Opcode.RMDIR: _NONE,
    Opcode.RENAME: Body((inodes.RENAME_IN,)),
    Opcode.LINK: Body((inodes.LINK_IN,)),
    Opcode.OPEN: Body((files.OPEN_IN,)),
    Opcode.READ: Body((files.READ_IN,)),
    Opcode.WRITE: Body((files.WRITE_IN,), _data("size"), ("data",)),
    Opcode.STATFS: _NONE,
    Opcode.RELEASE: Body((files.RELEASE_IN,)),
    Opcode.FSYNC: Body((files.FSYNC_IN,)),
    Opcode.SETXATTR: Body((xattrs.SETXATTR_IN,), _value, ("value",), (xattrs.SETXATTR_IN_COMPAT,)),
    Opcode.GETXATTR: Body((xattrs.GETXATTR_IN,)),
    Opcode.LISTXATTR: Body((xattrs.GETXATTR_IN,)),
    Opcode.REMOVEXATTR: _NONE,
    Opcode.FLUSH: Body((files.FLUSH_IN,)),
    Opcode.INIT: Body((init.INIT_IN,), shorter=(init.INIT_IN_COMPAT,)),
    Opcode.OPENDIR: Body((files.OPEN_IN,)),
    Opcode.READDIR: Body((files.READ_IN,)),
    Opcode.RELEASEDIR: Body((files.RELEASE_IN,)),
    Opcode.FSYNCDIR: Body((files.FSYNC_IN,)),
    Opcode.GETLK: Body((files.LK_IN,)),
    Opcode.SETLK: Body((files.LK_IN,)),
    Opcode.SETLKW: Body((files.LK_IN,)),
    Opcode.ACCESS: Body((inodes.ACCESS_IN,)),
    Opcode.CREATE: Body((files.CREATE_IN,)),
    Opcode.INTERRUPT: Body((inodes.INTERRUPT_IN,)),
    Opcode.BMAP: Body((files.BMAP_IN,)),
    Opcode.DESTROY: _NONE,
    Opcode.IOCTL: Body((files.IOCTL_IN,), _data("in_size"), ("data",)),
    Opcode.POLL: Body((files.POLL_IN,)),
    Opcode.NOTIFY_REPLY: Body((notifications.NOTIFY_RETRIEVE_IN,), _data("size"), ("data",)),
    Opcode.BATCH_FORGET: Body((inodes.BATCH_FORGET_IN,), _several(inodes.FORGET_ONE), ("fuse_forget_one ...",)),
    Opcode.FALLOCATE: Body((files.FALLOCATE_IN,)),
    Opcode.READDIRPLUS: Body((files.READ_IN,)),
    Opcode.RENAME2: Body((inodes.RENAME2_IN,)),
    Opcode.LSEEK: Body((files.LSEEK_IN,)),
    Opcode.COPY_FILE_RANGE: Body((files.COPY_FILE_RANGE_IN,)),
    Opcode.SETUPMAPPING: Body((files.SETUPMAPPING_IN,)),
    Opcode.REMOVEMAPPING: Body(
        (files.REMOVEMAPPING_IN,), _several(files.REMOVEMAPPING_ONE), ("fuse_removemapping_one ...",)
    ),
    Opcode.SYNCFS: Body((inodes.SYNCFS_IN,)),
    Opcode.TMPFILE: Body((files.CREATE_IN,)),
    Opcode.STATX: Body((attributes.STATX_IN,)),
    Opcode.COPY_FILE_RANGE_64: Body((files.COPY_FILE_RANGE_IN,)),
    Opcode.CUSE_INIT: Body((cuse.CUSE_INIT_IN,)),
}
"""By opcode. The names of ``opcodes.name_roles`` stand between the head and ``rest``."""

REPLIES: Final[dict[int, Body]] = {
    Opcode.LOOKUP: _ENTRY,
    Opcode.GETATTR: _ATTR,
    Opcode.SETATTR: _ATTR,
    Opcode.READLINK: Body((), _all("target"), ("target",)),
    Opcode.SYMLINK: _ENTRY,
    Opcode.MKNOD: _ENTRY,
    Opcode.MKDIR: _ENTRY,
    Opcode.LINK: _ENTRY,
    Opcode.OPEN: _OPEN,
    Opcode.READ: Body((), _all("data"), ("data",)),
    Opcode.WRITE: Body((files.WRITE_OUT,)),
    Opcode.STATFS: Body((attributes.STATFS_OUT,)),
    Opcode.GETXATTR: Body((), _all("value"), ("value or fuse_getxattr_out",)),
    Opcode.LISTXATTR: Body((), _strings("attribute"), ("attribute ... or fuse_getxattr_out",)),
    Opcode.INIT: Body((init.INIT_OUT,), shorter=(init.INIT_OUT_COMPAT, init.INIT_OUT_COMPAT_22)),
    Opcode.OPENDIR: _OPEN,
    Opcode.READDIR: Body((), _dirents, ("fuse_dirent, name ...",)),
    Opcode.GETLK: Body((files.LK_OUT,)),
    Opcode.CREATE: _CREATED,
    Opcode.BMAP: Body((files.BMAP_OUT,)),
    Opcode.IOCTL: Body((files.IOCTL_OUT,), _ioctl_reply, ("data or fuse_ioctl_iovec ...",)),
    Opcode.POLL: Body((files.POLL_OUT,)),
    Opcode.READDIRPLUS: Body((), _direntplus, ("fuse_direntplus, name ...",)),
    Opcode.LSEEK: Body((files.LSEEK_OUT,)),
    Opcode.COPY_FILE_RANGE: Body((files.WRITE_OUT,)),
    Opcode.TMPFILE: _CREATED,
    Opcode.STATX: Body((attributes.STATX_OUT,)),
    Opcode.COPY_FILE_RANGE_64: Body((files.COPY_FILE_RANGE_OUT,)),
    Opcode.CUSE_INIT: Body((cuse.CUSE_INIT_OUT,), _strings("info"), ("info ...",)),
}
"""By opcode; what is not here replies with a header alone."""

NO_REPLY: Final = frozenset({Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.NOTIFY_REPLY, Opcode.INTERRUPT})
"""Operations that are not answered; INTERRUPT only with -EAGAIN or -ENOSYS."""

NOTIFICATIONS: Final[dict[int, Body]] = {
    Notification.POLL: Body((notifications.NOTIFY_POLL_WAKEUP_OUT,)),
    Notification.INVAL_INODE: Body((notifications.NOTIFY_INVAL_INODE_OUT,)),
    Notification.INVAL_ENTRY: Body((notifications.NOTIFY_INVAL_ENTRY_OUT,), _named, ("name",)),
    Notification.STORE: Body((notifications.NOTIFY_STORE_OUT,), _data("size"), ("data",)),
    Notification.RETRIEVE: Body((notifications.NOTIFY_RETRIEVE_OUT,)),
    Notification.DELETE: Body((notifications.NOTIFY_DELETE_OUT,), _named, ("name",)),
    Notification.RESEND: _NONE,
    Notification.INC_EPOCH: _NONE,
    Notification.PRUNE: Body((notifications.NOTIFY_PRUNE_OUT,), _node_ids, ("nodeid ...",)),
}
"""By code."""

_MAKERS: Final = frozenset({Opcode.SYMLINK, Opcode.MKNOD, Opcode.MKDIR, Opcode.CREATE, Opcode.TMPFILE})
_SIZE_ASKERS: Final = frozenset({Opcode.GETXATTR, Opcode.LISTXATTR})
_SIZE_REPLY: Final = Body((xattrs.GETXATTR_OUT,))


def read_head(reader: Reader, opcode: int) -> Any:
    """Read a request's head from a reader of just that many bytes; None if it has none, or not all of it is there."""
    body = REQUESTS[opcode]
    head = reader.structure(_form(body, reader.left)) if body.structures else None
    reader.rest("data", "are too many for the operation's structure")
    return head


def read_payload(reader: Reader, opcode: int, head: Any, extensions_size: int | None, missing: int = 0) -> None:
    """Read what follows a request's head.

    Args:
        reader: of the payload.
        opcode: of a known operation.
        head: what :func:`read_head` returned.
        extensions_size: bytes of extensions at the end (``8 * total_extlen``); None: not known, what is left is some.
        missing: bytes that are announced but not given, at the end.
    """
    at_end = min(max(0, (extensions_size or 0) - missing), reader.left)
    inner = reader.within(reader.left - at_end)
    if all(inner.name(role) is not None for role in name_roles(opcode)):
        rest = REQUESTS[opcode].rest
        if rest:
            rest(inner, head)
        if extensions_size is None and opcode in _MAKERS:
            read_extensions(inner)
    inner.rest("data", f"follow where {opcode_name(opcode)} ends")
    reader.items += inner.items
    if extensions_size is not None and extensions_size > at_end:
        reader.problem(f"total_extlen says {extensions_size} bytes of extensions, {at_end} are given")
    read_extensions(reader)


def read_request(reader: Reader, opcode: int, extensions_size: int | None = None, missing: int = 0) -> None:
    """Read head and payload of a request from one stretch of bytes: all that follows ``fuse_in_header``.

    ``extensions_size`` and ``missing`` are as of :func:`read_payload`.
    """
    if opcode not in REQUESTS:
        reader.rest("body", f"of an operation that is not known ({opcode})")
        return
    inner = reader.within(_head_size(reader, opcode))
    head = read_head(inner, opcode)
    reader.items += inner.items
    read_payload(reader, opcode, head, extensions_size, missing)


def read_reply(reader: Reader, opcode: int, request: Any = None) -> None:
    """Read the body of a reply without an error: all that follows ``fuse_out_header``.

    Args:
        reader: of the body.
        opcode: of the request.
        request: the request's head, as far as it is known; GETXATTR and LISTXATTR reply by what it asked for.
    """
    if opcode not in REQUESTS:
        reader.rest("body", f"of the reply to an operation that is not known ({opcode})")
        return
    _read_body(reader, _reply_body(reader, opcode, request))
    reader.rest("data", f"follow where the reply to {opcode_name(opcode)} ends")


def read_notification(reader: Reader, code: int) -> None:
    """Read what follows ``fuse_out_header`` in a notification (``fuse_notify`` of ``fs/fuse/notify.c``)."""
    body = NOTIFICATIONS.get(code)
    if body is None:
        reader.problem(f"notifications of code {code} are not known")
        reader.bytes("body", reader.left)
        return
    _read_body(reader, body)
    reader.rest("data", "follow where the notification ends")


def _read_body(reader: Reader, body: Body) -> None:
    value = None
    for layout in body.structures:
        value = reader.structure(_form(body, reader.left) if body.shorter else layout)
    if body.rest:
        body.rest(reader, value)


def _form(body: Body, size: int) -> AnyLayout:
    """The form of a body's structure that has just this size, else the newest."""
    return next((layout for layout in body.shorter if layout.size == size), body.structures[0])


def _head_size(reader: Reader, opcode: int) -> int:
    """Bytes of a request's head where names and data follow it at once."""
    body = REQUESTS[opcode]
    if not body.structures:
        return 0
    if opcode == Opcode.INIT:
        return reader.left
    if opcode == Opcode.SETXATTR and _is_old_setxattr(reader.peek()):
        return xattrs.SETXATTR_IN_COMPAT.size
    return min(body.structures[0].size, reader.left)


def _is_old_setxattr(given: bytes) -> bool:
    """Whether SETXATTR's head is the one of 8 bytes: then, and only then, name and value fill what there is."""
    old = xattrs.SETXATTR_IN_COMPAT.size
    end = given.find(b"\0", old)
    return end > old and end + 1 + int.from_bytes(given[:4], "little") == len(given)


def _reply_body(reader: Reader, opcode: int, request: Any) -> Body:
    body = REPLIES.get(opcode, _NONE)
    if opcode not in _SIZE_ASKERS:
        return body
    if request is not None:
        return body if request.size else _SIZE_REPLY
    if reader.left == xattrs.GETXATTR_OUT.size and not any(reader.peek()[4:]):
        reader.problem("fuse_getxattr_out if the request asked for the size, else what was asked for: they look alike")
        return _SIZE_REPLY
    return body
