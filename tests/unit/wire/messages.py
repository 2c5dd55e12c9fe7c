"""Good messages of every kind, each with what the decoder has to make of it."""

from dataclasses import dataclass
from typing import Final

from furtrace.wire.dialect import Dialect
from furtrace.wire.opcodes import Opcode
from tests.unit.wire.cstructs import Piece, filler, joined, struct, whole

STALE: Final = b"\xee"
"""What is left of earlier requests in a header slot."""
UNIQUE: Final = 0x1234
OUT_HEADER_SIZE: Final = 16
IN_HEADER_SIZE: Final = 40


def name(role: str, value: bytes) -> Piece:
    return Piece(role, value + b"\0", value)


def data(what: str, value: bytes) -> Piece:
    return Piece(what, value, value)


def number(what: str, value: int, size: int) -> Piece:
    return Piece(what, value.to_bytes(size, "little"), value)


def aligned(what: str, *pieces: Piece) -> Piece:
    """Pieces as one, filled up to 8 bytes."""
    return whole(what, *pieces, filler(-len(joined(pieces)) % 8))


@dataclass(frozen=True)
class Request:
    """A request, apart from its header.

    Attributes:
        opcode: what it asks for.
        head: the operation's own structure.
        payload: what follows it.
        extensions: what follows that.
    """

    opcode: int
    head: Piece | None = None
    payload: tuple[Piece, ...] = ()
    extensions: tuple[Piece, ...] = ()

    def body(self) -> tuple[Piece, ...]:
        """All that follows the header."""
        return (*((self.head,) if self.head else ()), *self.payload, *self.extensions)

    def header(self) -> Piece:
        return struct(
            "fuse_in_header",
            len=IN_HEADER_SIZE + len(joined(self.body())),
            opcode=int(self.opcode),
            unique=UNIQUE,
            total_extlen=len(joined(self.extensions)) // 8,
        )

    def contiguous(self) -> tuple[Piece, ...]:
        """As read(2) of /dev/fuse gives it."""
        return (self.header(), *self.body())

    def slot(self, dialect: Dialect, flags: int = 0) -> tuple[Piece, ...]:
        """In the memory of a ring entry."""
        return slot(dialect, self.header(), self.head, (*self.payload, *self.extensions), flags)


def entry(dialect: Dialect, payload_sz: int, flags: int = 0, commit_id: int = UNIQUE) -> Piece:
    return struct("ring_ent_in_out", str(dialect), flags=flags, commit_id=commit_id, payload_sz=payload_sz)


def slot(
    dialect: Dialect, header: Piece, head: Piece | None, payload: tuple[Piece, ...], flags: int = 0
) -> tuple[Piece, ...]:
    """A header slot and its payload; stale bytes follow what counts in its two parts."""
    heads = (head,) if head else ()
    return (
        whole("in_out", header, filler(128 - len(header.raw), STALE)),
        whole("op_in", *heads, filler(128 - len(joined(heads)), STALE)),
        entry(dialect, len(joined(payload)), flags),
        whole("payload", *payload),
    )


@dataclass(frozen=True)
class Reply:
    """A reply without an error, apart from its header.

    Attributes:
        opcode: of the request.
        body: what follows the header.
        asked: the request's head, where the test cares.
    """

    opcode: int
    body: tuple[Piece, ...] = ()
    asked: Piece | None = None

    def header(self, error: int = 0) -> Piece:
        return struct("fuse_out_header", len=OUT_HEADER_SIZE + len(joined(self.body)), error=error, unique=UNIQUE)

    def contiguous(self) -> tuple[Piece, ...]:
        """As write(2) of /dev/fuse takes it."""
        return (self.header(), *self.body)

    def slot(self, dialect: Dialect) -> tuple[Piece, ...]:
        """In the memory of a ring entry, where the request's head is still there."""
        return slot(dialect, self.header(), self.asked or request_head(self.opcode), self.body)


# ---- requests ----

_NAME = name("name", b"file")
_CREATE = struct("fuse_create_in", flags=0o102, mode=0o100644, umask=0o22, open_flags=1)
_READ = struct("fuse_read_in", size=4096)
_DATA = b"some data\0of a file"
_OLD = name("oldname", b"old")
_NEW = name("newname", b"new")
_ATTRIBUTE = name("attribute", b"user.x")
_SETXATTR = struct("fuse_setxattr_in", size=5, setxattr_flags=0, padding=0)
_LOCK = struct("fuse_lk_in", lk={"type": 1})

CONTEXTS: Final = whole(
    "extension",
    struct("fuse_secctx_header", size=8 + 8 + 17 + 5 + 2 + 8 + 3 + 2 + 3, nr_secctx=2),
    struct("fuse_secctx", size=5, padding=0),
    name("name", b"security.selinux"),
    data("context", b"a:b:c"),
    filler(2),
    struct("fuse_secctx", size=2, padding=0),
    name("name", b"ab"),
    data("context", b"xy"),
    filler(3),
)
GROUPS: Final = whole(
    "extension",
    struct("fuse_ext_header", size=24, type=32),
    struct("fuse_supp_groups", nr_groups=2),
    number("group", 1000, 4),
    number("group", 4, 4),
    filler(4),
)

REQUESTS: Final[dict[str, Request]] = {
    "LOOKUP": Request(Opcode.LOOKUP, None, (_NAME,)),
    "FORGET": Request(Opcode.FORGET, struct("fuse_forget_in")),
    "GETATTR": Request(Opcode.GETATTR, struct("fuse_getattr_in")),
    "SETATTR": Request(Opcode.SETATTR, struct("fuse_setattr_in", valid=0xFFF)),
    "READLINK": Request(Opcode.READLINK),
    "SYMLINK": Request(Opcode.SYMLINK, None, (_NAME, name("target", b"to/there"))),
    "SYMLINK with groups": Request(Opcode.SYMLINK, None, (_NAME, name("target", b"to/there")), (GROUPS,)),
    "MKNOD": Request(Opcode.MKNOD, struct("fuse_mknod_in"), (_NAME,)),
    "MKNOD with contexts": Request(Opcode.MKNOD, struct("fuse_mknod_in"), (_NAME,), (CONTEXTS,)),
    "MKDIR": Request(Opcode.MKDIR, struct("fuse_mkdir_in"), (_NAME,), (CONTEXTS, GROUPS)),
    "UNLINK": Request(Opcode.UNLINK, None, (_NAME,)),
    "RMDIR": Request(Opcode.RMDIR, None, (_NAME,)),
    "RENAME": Request(Opcode.RENAME, struct("fuse_rename_in"), (_OLD, _NEW)),
    "LINK": Request(Opcode.LINK, struct("fuse_link_in"), (_NEW,)),
    "OPEN": Request(Opcode.OPEN, struct("fuse_open_in")),
    "READ": Request(Opcode.READ, _READ),
    "WRITE": Request(Opcode.WRITE, struct("fuse_write_in", size=len(_DATA)), (data("data", _DATA),)),
    "STATFS": Request(Opcode.STATFS),
    "RELEASE": Request(Opcode.RELEASE, struct("fuse_release_in")),
    "FSYNC": Request(Opcode.FSYNC, struct("fuse_fsync_in")),
    "SETXATTR": Request(Opcode.SETXATTR, _SETXATTR, (_ATTRIBUTE, data("value", b"v\0lue"))),
    "SETXATTR of 8 bytes": Request(
        Opcode.SETXATTR, struct("fuse_setxattr_in", "8", size=5), (_ATTRIBUTE, data("value", b"v\0lue"))
    ),
    "GETXATTR": Request(Opcode.GETXATTR, struct("fuse_getxattr_in", size=64), (_ATTRIBUTE,)),
    "LISTXATTR": Request(Opcode.LISTXATTR, struct("fuse_getxattr_in", size=64)),
    "REMOVEXATTR": Request(Opcode.REMOVEXATTR, None, (_ATTRIBUTE,)),
    "FLUSH": Request(Opcode.FLUSH, struct("fuse_flush_in")),
    "INIT": Request(Opcode.INIT, struct("fuse_init_in", major=7, minor=46, flags=1 << 30)),
    "INIT of 16 bytes": Request(Opcode.INIT, struct("fuse_init_in", "16", major=7, minor=31)),
    "OPENDIR": Request(Opcode.OPENDIR, struct("fuse_open_in")),
    "READDIR": Request(Opcode.READDIR, _READ),
    "RELEASEDIR": Request(Opcode.RELEASEDIR, struct("fuse_release_in")),
    "FSYNCDIR": Request(Opcode.FSYNCDIR, struct("fuse_fsync_in")),
    "GETLK": Request(Opcode.GETLK, _LOCK),
    "SETLK": Request(Opcode.SETLK, _LOCK),
    "SETLKW": Request(Opcode.SETLKW, _LOCK),
    "ACCESS": Request(Opcode.ACCESS, struct("fuse_access_in")),
    "CREATE": Request(Opcode.CREATE, _CREATE, (_NAME,), (CONTEXTS,)),
    "INTERRUPT": Request(Opcode.INTERRUPT, struct("fuse_interrupt_in")),
    "BMAP": Request(Opcode.BMAP, struct("fuse_bmap_in")),
    "DESTROY": Request(Opcode.DESTROY),
    "IOCTL": Request(Opcode.IOCTL, struct("fuse_ioctl_in", in_size=4), (data("data", b"\1\2\3\4"),)),
    "POLL": Request(Opcode.POLL, struct("fuse_poll_in")),
    "NOTIFY_REPLY": Request(
        Opcode.NOTIFY_REPLY, struct("fuse_notify_retrieve_in", size=len(_DATA)), (data("data", _DATA),)
    ),
    "BATCH_FORGET": Request(
        Opcode.BATCH_FORGET,
        struct("fuse_batch_forget_in", count=3),
        tuple(struct("fuse_forget_one", nodeid=node) for node in (7, 8, 9)),
    ),
    "FALLOCATE": Request(Opcode.FALLOCATE, struct("fuse_fallocate_in")),
    "READDIRPLUS": Request(Opcode.READDIRPLUS, _READ),
    "RENAME2": Request(Opcode.RENAME2, struct("fuse_rename2_in"), (_OLD, _NEW)),
    "LSEEK": Request(Opcode.LSEEK, struct("fuse_lseek_in", whence=4)),
    "COPY_FILE_RANGE": Request(Opcode.COPY_FILE_RANGE, struct("fuse_copy_file_range_in")),
    "SETUPMAPPING": Request(Opcode.SETUPMAPPING, struct("fuse_setupmapping_in")),
    "REMOVEMAPPING": Request(
        Opcode.REMOVEMAPPING,
        struct("fuse_removemapping_in", count=2),
        (struct("fuse_removemapping_one"), struct("fuse_removemapping_one", moffset=9)),
    ),
    "SYNCFS": Request(Opcode.SYNCFS, struct("fuse_syncfs_in")),
    "TMPFILE": Request(Opcode.TMPFILE, _CREATE, (_NAME,), (GROUPS,)),
    "STATX": Request(Opcode.STATX, struct("fuse_statx_in")),
    "COPY_FILE_RANGE_64": Request(Opcode.COPY_FILE_RANGE_64, struct("fuse_copy_file_range_in")),
    "CUSE_INIT": Request(Opcode.CUSE_INIT, struct("cuse_init_in")),
}


def request_head(opcode: int) -> Piece | None:
    """Return the head of the first of the requests above with this opcode."""
    return next(request.head for request in REQUESTS.values() if request.opcode == opcode)


# ---- replies ----


def _dirent(value: bytes, kind: int) -> Piece:
    return aligned("entry", struct("fuse_dirent", namelen=len(value), type=kind), data("name", value))


def _direntplus(value: bytes) -> Piece:
    return aligned("entry", struct("fuse_direntplus", dirent={"namelen": len(value), "type": 4}), data("name", value))


_ENTRY = (struct("fuse_entry_out"),)
_ATTR = (struct("fuse_attr_out"),)
_OPEN = (struct("fuse_open_out", backing_id=-1),)
_MADE = _ENTRY + _OPEN
_NO_SIZE = struct("fuse_getxattr_in", size=0)

REPLIES: Final[dict[str, Reply]] = {
    "LOOKUP": Reply(Opcode.LOOKUP, _ENTRY),
    "GETATTR": Reply(Opcode.GETATTR, _ATTR),
    "SETATTR": Reply(Opcode.SETATTR, _ATTR),
    "READLINK": Reply(Opcode.READLINK, (data("target", b"to/there"),)),
    "SYMLINK": Reply(Opcode.SYMLINK, _ENTRY),
    "MKNOD": Reply(Opcode.MKNOD, _ENTRY),
    "MKDIR": Reply(Opcode.MKDIR, _ENTRY),
    "UNLINK": Reply(Opcode.UNLINK),
    "RMDIR": Reply(Opcode.RMDIR),
    "RENAME": Reply(Opcode.RENAME),
    "LINK": Reply(Opcode.LINK, _ENTRY),
    "OPEN": Reply(Opcode.OPEN, _OPEN),
    "READ": Reply(Opcode.READ, (data("data", _DATA),)),
    "READ of nothing": Reply(Opcode.READ),
    "WRITE": Reply(Opcode.WRITE, (struct("fuse_write_out"),)),
    "STATFS": Reply(Opcode.STATFS, (struct("fuse_statfs_out"),)),
    "RELEASE": Reply(Opcode.RELEASE),
    "FSYNC": Reply(Opcode.FSYNC),
    "SETXATTR": Reply(Opcode.SETXATTR),
    "GETXATTR": Reply(Opcode.GETXATTR, (data("value", b"v\0lue of it"),)),
    "GETXATTR, size alone": Reply(Opcode.GETXATTR, (struct("fuse_getxattr_out", size=11, padding=0),), _NO_SIZE),
    "LISTXATTR": Reply(Opcode.LISTXATTR, (_ATTRIBUTE, name("attribute", b"security.selinux"))),
    "LISTXATTR, size alone": Reply(Opcode.LISTXATTR, (struct("fuse_getxattr_out", size=24, padding=0),), _NO_SIZE),
    "REMOVEXATTR": Reply(Opcode.REMOVEXATTR),
    "FLUSH": Reply(Opcode.FLUSH),
    "INIT": Reply(Opcode.INIT, (struct("fuse_init_out", major=7, minor=46, flags=1 << 30),)),
    "INIT of 8 bytes": Reply(Opcode.INIT, (struct("fuse_init_out", "8", major=7, minor=4),)),
    "INIT of 24 bytes": Reply(Opcode.INIT, (struct("fuse_init_out", "24", major=7, minor=22),)),
    "OPENDIR": Reply(Opcode.OPENDIR, _OPEN),
    "READDIR": Reply(Opcode.READDIR, (_dirent(b"twelve bytes", 8), _dirent(b"8 bytes!", 4), _dirent(b".", 4))),
    "RELEASEDIR": Reply(Opcode.RELEASEDIR),
    "FSYNCDIR": Reply(Opcode.FSYNCDIR),
    "GETLK": Reply(Opcode.GETLK, (struct("fuse_lk_out", lk={"type": 2}),)),
    "SETLK": Reply(Opcode.SETLK),
    "SETLKW": Reply(Opcode.SETLKW),
    "ACCESS": Reply(Opcode.ACCESS),
    "CREATE": Reply(Opcode.CREATE, _MADE),
    "BMAP": Reply(Opcode.BMAP, (struct("fuse_bmap_out"),)),
    "DESTROY": Reply(Opcode.DESTROY),
    "IOCTL": Reply(Opcode.IOCTL, (struct("fuse_ioctl_out", flags=0), data("data", b"result"))),
    "IOCTL, again": Reply(
        Opcode.IOCTL,
        (
            struct("fuse_ioctl_out", flags=1 << 2, in_iovs=1, out_iovs=2),
            *(struct("fuse_ioctl_iovec", base=base) for base in (0x1000, 0x2000, 0x3000)),
        ),
    ),
    "POLL": Reply(Opcode.POLL, (struct("fuse_poll_out"),)),
    "FALLOCATE": Reply(Opcode.FALLOCATE),
    "READDIRPLUS": Reply(Opcode.READDIRPLUS, (_direntplus(b"a"), _direntplus(b"nine byte"))),
    "RENAME2": Reply(Opcode.RENAME2),
    "LSEEK": Reply(Opcode.LSEEK, (struct("fuse_lseek_out"),)),
    "COPY_FILE_RANGE": Reply(Opcode.COPY_FILE_RANGE, (struct("fuse_write_out"),)),
    "SETUPMAPPING": Reply(Opcode.SETUPMAPPING),
    "REMOVEMAPPING": Reply(Opcode.REMOVEMAPPING),
    "SYNCFS": Reply(Opcode.SYNCFS),
    "TMPFILE": Reply(Opcode.TMPFILE, _MADE),
    "STATX": Reply(Opcode.STATX, (struct("fuse_statx_out"),)),
    "COPY_FILE_RANGE_64": Reply(Opcode.COPY_FILE_RANGE_64, (struct("fuse_copy_file_range_out"),)),
    "CUSE_INIT": Reply(
        Opcode.CUSE_INIT, (struct("cuse_init_out"), name("info", b"DEVNAME=null"), name("info", b"X=y"))
    ),
}
"""FORGET, BATCH_FORGET, INTERRUPT and NOTIFY_REPLY have none."""

NOTIFICATIONS: Final[dict[int, tuple[Piece, ...]]] = {
    1: (struct("fuse_notify_poll_wakeup_out"),),
    2: (struct("fuse_notify_inval_inode_out", off=-1),),
    3: (struct("fuse_notify_inval_entry_out", namelen=4), name("name", b"file")),
    4: (struct("fuse_notify_store_out", size=len(_DATA)), data("data", _DATA)),
    5: (struct("fuse_notify_retrieve_out"),),
    6: (struct("fuse_notify_delete_out", namelen=4), name("name", b"file")),
    7: (),
    8: (),
    9: (struct("fuse_notify_prune_out", count=2), number("nodeid", 5, 8), number("nodeid", 1 << 40, 8)),
}
"""By code, what follows the header."""


def notification(code: int) -> tuple[Piece, ...]:
    """Return a whole notification."""
    size = OUT_HEADER_SIZE + len(joined(NOTIFICATIONS[code]))
    return (struct("fuse_out_header", len=size, error=code, unique=0), *NOTIFICATIONS[code])


# ---- commands ----


@dataclass(frozen=True)
class Command:
    """A command area.

    Attributes:
        dialect: of the structure.
        code: ``cmd_op``.
        request: the structure.
    """

    dialect: Dialect
    code: int
    request: Piece

    def area(self) -> tuple[Piece, ...]:
        """The 80 bytes."""
        left = bytes(80 - len(self.request.raw))
        return self.request, Piece("unused", left, left)

    def sqe(self, opcode: int = 46) -> tuple[Piece, ...]:
        """The whole SQE, of IORING_OP_URING_CMD."""
        head = struct("io_uring_sqe", "URING_CMD", opcode=opcode, cmd_op=self.code)
        return head, whole("cmd", *self.area())


def _command(variant: str = "", **values: int) -> Piece:
    return struct("fuse_uring_cmd_req", variant, **values)


COMMANDS: Final[dict[str, Command]] = {
    "plain REGISTER": Command(Dialect.PLAIN, 1, _command(flags=0)),
    "plain COMMIT_AND_FETCH": Command(Dialect.PLAIN, 2, _command(flags=0)),
    "bufring REGISTER": Command(Dialect.BUFRING, 1, _command("bufring", flags=0xF)),
    "bufring COMMIT_AND_FETCH": Command(Dialect.BUFRING, 2, _command("bufring", flags=0)),
    "bufpool REGISTER": Command(Dialect.BUFPOOL, 1, _command("REGISTER", flags=0)),
    "bufpool COMMIT_AND_FETCH": Command(Dialect.BUFPOOL, 2, _command(flags=0)),
    "bufpool ADD_QUEUE": Command(Dialect.BUFPOOL, 3, _command(flags=1)),
    "bufpool ADD_BUFPOOL": Command(Dialect.BUFPOOL, 4, _command("ADD_BUFPOOL", flags=0)),
    "not known": Command(Dialect.BUFPOOL, 77, _command(flags=2)),
}
READV_SQE: Final = struct("io_uring_sqe", opcode=1, fd=-1, splice_fd_in=-1)
