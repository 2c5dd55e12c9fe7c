"""Messages that real kernels and servers exchanged, against what was asked for.

What is expected here was not read from the decoder: requests say what ``tests/live/protocol/client.py`` asked with its
system calls, replies what those told it, or what ``tests/live/protocol/rawserver.py`` packed by hand.
``python -m tests.live.protocol.collect`` captures them anew.
"""

import errno
import json
import re
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import pytest

from furtrace.wire.decode import Context, Part, decode
from furtrace.wire.notifications import Notification
from furtrace.wire.opcodes import Opcode
from tests.live.protocol.capture import Fields

CORPUS: Final = Path(__file__).resolve().parents[2] / "data" / "messages.jsonl"

Expected: TypeAlias = int | bytes | str | list[Any] | frozenset[Any] | re.Pattern[bytes]
"""A value; a string: what it means; of several pieces of one name: their list, or what is among them; a pattern."""
Message: TypeAlias = dict[str, Expected]


class Line(NamedTuple):
    """One message."""

    opcode: str
    direction: str
    about: str
    server: str
    kernel: str
    hex: str

    @property
    def data(self) -> bytes:
        return bytes.fromhex(self.hex)

    @property
    def code(self) -> int:
        return (Notification if self.direction == "notification" else Opcode)[self.opcode]


LINES: Final = [Line(**json.loads(line)) for line in CORPUS.read_text().splitlines()]

# ---- what comes again and again ----

ROOT: Final = 1
HANDLE: Final = 1 << 40 | 2
"""Of the raw server's first file."""
TO_THE_END: Final = 2**63 - 1
RAW_TIMES: Final[Message] = {
    "atime": "2009-02-13T23:31:30.123456789Z",
    "mtime": "1969-12-31T00:00:00.000000007Z",
    "ctime": "2038-01-19T03:14:08.999999999Z",
}
RAW_ATTR: Final[Message] = {**RAW_TIMES, "nlink": 1, "rdev": 0, "blksize": 4096, "flags": 0, "size": 0, "blocks": 0}
EXTENSIONS: Final[Message] = {
    "fuse_in_header.uid": 1000,
    "fuse_in_header.gid": 500,
    "fuse_in_header.total_extlen": 3,
    "extension.fuse_secctx_header.size": 8,
    "extension.fuse_secctx_header.nr_secctx": 0,
    "extension.fuse_ext_header.size": 16,
    "extension.fuse_ext_header.type": "EXT_GROUPS",
    "extension.fuse_supp_groups.nr_groups": 1,
    "extension.group": 4242,
}
CLOCK: Final = re.compile(rb"The current time is \d\d:\d\d:\d\d\n")
ENTRY_NAME: Final = re.compile(rb"Time_is_\d\dh_\d\dm_\d\ds")


def under(prefix: str, fields: Message) -> Message:
    return {f"{prefix}.{name}": value for name, value in fields.items()}


def raw_entry(node: int, mode: int, uid: int = 1000, gid: int = 500) -> Message:
    """The raw server's ``fuse_entry_out``."""
    head: Message = {"nodeid": node, "generation": 7, "entry_valid": "3600 s", "attr_valid": "1.25 s"}
    attr: Message = {**RAW_ATTR, "ino": node, "mode": mode, "uid": uid, "gid": gid}
    return under("fuse_entry_out", head) | under("fuse_entry_out.attr", attr)


def copied(node: int, length: int) -> Message:
    head: Message = {"off_in": 123, "nodeid_out": 3, "fh_out": HANDLE + 1, "off_out": 456, "len": length, "flags": 0}
    return {"fuse_in_header.nodeid": node} | under("fuse_copy_file_range_in", {"fh_in": HANDLE, **head})


def lock(start: int, end: int, kind: str) -> Message:
    return {"fuse_lk_in.lk.start": start, "fuse_lk_in.lk.end": end, "fuse_lk_in.lk.type": kind}


def both(one: Message, other: Message) -> Message:
    return one | other


def failed(number: int) -> Message:
    return {"fuse_out_header.error": -number}


OLD_TIME: Final = "1969-12-31T23:59:58.999999999Z"
LATE_TIME: Final = "2040-06-02T03:57:02.999999999Z"
ACL: Final = bytes.fromhex("0200000001000600ffffffff020004004d00000004000400ffffffff") + bytes.fromhex(
    "10000400ffffffff20000000ffffffff"
)

EXCHANGES: Final[dict[tuple[str, str], tuple[Message, Message | None]]] = {
    ("LOOKUP", ""): ({"name": b"doomed"}, raw_entry(2, 0o100644, 0, 0)),
    ("LOOKUP", "no such file"): ({"fuse_in_header.nodeid": ROOT, "name": b"absent"}, failed(errno.ENOENT)),
    ("FORGET", ""): ({"fuse_forget_in.nlookup": 1}, None),
    ("GETATTR", ""): (
        {"fuse_getattr_in.getattr_flags": "FUSE_GETATTR_FH"},
        {"fuse_attr_out.attr.size": 4106, "fuse_attr_out.attr.mode": 0o100640, "fuse_attr_out.attr.nlink": 1},
    ),
    ("SETATTR", "times"): (
        {
            "fuse_setattr_in.valid": "FATTR_ATIME|FATTR_MTIME",
            "fuse_setattr_in.atime": OLD_TIME,
            "fuse_setattr_in.mtime": LATE_TIME,
        },
        {"fuse_attr_out.attr.atime": OLD_TIME, "fuse_attr_out.attr.mtime": LATE_TIME},
    ),
    ("SETATTR", "owner"): (
        {"fuse_setattr_in.valid": "FATTR_UID|FATTR_GID", "fuse_setattr_in.uid": 1234, "fuse_setattr_in.gid": 5678},
        {"fuse_attr_out.attr.uid": 1234, "fuse_attr_out.attr.gid": 5678},
    ),
    ("SETATTR", "size"): (
        {
            "fuse_setattr_in.valid": "FATTR_SIZE|FATTR_FH|FATTR_LOCKOWNER|FATTR_KILL_SUIDGID",
            "fuse_setattr_in.size": 10,
            "fuse_setattr_in.fh": HANDLE,
        },
        {"fuse_attr_out.attr_valid": "0.5 s", "fuse_attr_out.attr.size": 10, "fuse_attr_out.attr.blocks": 1},
    ),
    ("READLINK", ""): ({}, {"target": b"../some/target"}),
    ("SYMLINK", ""): (
        {"name": b"link", "target": b"../some/target"},
        {"fuse_entry_out.attr.mode": "0120777 lrwxrwxrwx", "fuse_entry_out.attr.size": 14},
    ),
    ("SYMLINK", "with extensions"): (
        both({"name": b"pointer", "target": b"nowhere"}, EXTENSIONS),
        raw_entry(4, 0o120777),
    ),
    ("MKNOD", ""): (
        {
            "name": b"device",
            "fuse_mknod_in.mode": "020640 crw-r-----",
            "fuse_mknod_in.rdev": "259:1234",
            "fuse_mknod_in.umask": "027",
        },
        {"fuse_entry_out.attr.rdev": "259:1234", "fuse_entry_out.attr.mode": 0o20640},
    ),
    ("MKDIR", ""): (
        {"name": b"dir", "fuse_mkdir_in.mode": 0o750, "fuse_mkdir_in.umask": 0o027, "fuse_in_header.nodeid": ROOT},
        {"fuse_entry_out.attr.mode": "040750 drwxr-x---", "fuse_entry_out.attr.nlink": 2},
    ),
    ("MKDIR", "with extensions"): (
        both(EXTENSIONS, {"name": b"made", "fuse_mkdir_in.mode": 0o755, "fuse_mkdir_in.umask": 0o022}),
        raw_entry(3, 0o40755),
    ),
    ("UNLINK", ""): ({"fuse_in_header.nodeid": ROOT, "name": b"moved"}, {}),
    ("RMDIR", "not empty"): ({"fuse_in_header.nodeid": ROOT, "name": b"dir"}, failed(errno.ENOTEMPTY)),
    ("RENAME", ""): ({"fuse_rename_in.newdir": ROOT, "oldname": b"hard", "newname": b"moved"}, {}),
    ("LINK", ""): ({"newname": b"hard"}, {"fuse_entry_out.attr.nlink": 2}),
    ("OPEN", ""): (
        {
            "fuse_open_in.flags": "O_WRONLY|O_TRUNC|O_LARGEFILE",
            "fuse_open_in.open_flags": "FUSE_OPEN_KILL_SUIDGID",
            "fuse_in_header.nodeid": 2,
        },
        {"fuse_open_out.fh": HANDLE, "fuse_open_out.open_flags": 0, "fuse_open_out.backing_id": 0},
    ),
    ("OPEN", "for direct I/O"): (
        {"fuse_open_in.flags": "O_RDWR|O_LARGEFILE", "fuse_open_in.open_flags": 0},
        {"fuse_open_out.open_flags": "FOPEN_DIRECT_IO|FOPEN_PARALLEL_DIRECT_WRITES"},
    ),
    ("READ", ""): (
        {"fuse_read_in.offset": 4098, "fuse_read_in.size": 5, "fuse_read_in.read_flags": "FUSE_READ_LOCKOWNER"},
        {"data": b"23456"},
    ),
    ("WRITE", ""): (
        {
            "fuse_write_in.offset": 4096,
            "fuse_write_in.size": 10,
            "fuse_write_in.write_flags": "FUSE_WRITE_LOCKOWNER",
            "fuse_write_in.flags": "O_RDWR|O_LARGEFILE",
            "data": b"0123456789",
        },
        {"fuse_write_out.size": 10},
    ),
    ("WRITE", "to a set-user-id file"): (
        {
            "fuse_write_in.fh": HANDLE,
            "fuse_write_in.offset": 0,
            "fuse_write_in.write_flags": "FUSE_WRITE_KILL_SUIDGID",
            "data": b"drops the set-user-id bit",
        },
        {"fuse_write_out.size": len(b"drops the set-user-id bit")},
    ),
    ("STATFS", ""): (
        {},
        under(
            "fuse_statfs_out.st",
            {
                "blocks": 1 << 40,
                "bfree": 1 << 39,
                "bavail": 1 << 38,
                "files": 1 << 37,
                "ffree": 1 << 36,
                "bsize": 65536,
                "namelen": 200,
                "frsize": 4096,
            },
        ),
    ),
    ("RELEASE", ""): (
        {
            "fuse_release_in.flags": "O_RDWR|O_LARGEFILE",
            "fuse_release_in.release_flags": "FUSE_RELEASE_FLOCK_UNLOCK",
        },
        {},
    ),
    ("FSYNC", ""): ({"fuse_fsync_in.fsync_flags": "FUSE_FSYNC_FDATASYNC"}, {}),
    ("SETXATTR", "of 8 bytes"): (
        {
            "fuse_setxattr_in.size": 6,
            "fuse_setxattr_in.flags": "XATTR_CREATE",
            "attribute": b"user.color",
            "value": b"blue\0\xff",
        },
        {},
    ),
    ("SETXATTR", "of 16 bytes"): (
        {
            "fuse_setxattr_in.size": 44,
            "fuse_setxattr_in.flags": 0,
            "fuse_setxattr_in.setxattr_flags": "FUSE_SETXATTR_ACL_KILL_SGID",
            "attribute": b"system.posix_acl_access",
            "value": ACL,
        },
        {},
    ),
    ("GETXATTR", "size"): (
        {"fuse_getxattr_in.size": 0, "attribute": b"user.color"},
        {"fuse_getxattr_out.size": 6},
    ),
    ("GETXATTR", "value"): (
        {"fuse_getxattr_in.size": 128, "attribute": b"user.color"},
        {"value": b"blue\0\xff"},
    ),
    ("LISTXATTR", "size"): ({"fuse_getxattr_in.size": 0}, {"fuse_getxattr_out.size": 18}),
    ("LISTXATTR", "names"): ({"fuse_getxattr_in.size": 256}, {"attribute": frozenset({b"user.color", b"user.b"})}),
    ("REMOVEXATTR", ""): ({"attribute": b"user.b"}, {}),
    ("FLUSH", ""): ({"fuse_flush_in.unused": 0, "fuse_flush_in.padding": 0}, {}),
    ("INIT", ""): (
        {"fuse_init_in.major": 7, "fuse_init_in.minor": 45},
        {"fuse_init_out.major": 7, "fuse_init_out.minor": 45, "fuse_init_out.time_gran": 1},
    ),
    ("INIT", "of 7.22"): (
        {"fuse_init_in.major": 7},
        under(
            "fuse_init_out",
            {
                "major": 7,
                "minor": 22,
                "flags": 0,
                "max_background": 12,
                "congestion_threshold": 9,
                "max_write": 1 << 17,
            },
        ),
    ),
    ("INIT", "of 7.4"): ({"fuse_init_in.major": 7}, {"fuse_init_out.major": 7, "fuse_init_out.minor": 4}),
    ("OPENDIR", ""): ({"fuse_open_in.flags": "O_RDONLY|O_NONBLOCK|O_LARGEFILE|O_DIRECTORY"}, {}),
    ("READDIR", ""): (
        {"fuse_in_header.nodeid": ROOT, "fuse_read_in.offset": 0},
        {
            "entry.name": [b".", b"..", b"hello"],
            "entry.fuse_dirent.ino": [1, 1, 2],
            "entry.fuse_dirent.off": [32, 64, 96],
            "entry.fuse_dirent.namelen": [1, 2, 5],
        },
    ),
    ("READDIR", "the end"): ({"fuse_read_in.offset": 96}, {}),
    ("RELEASEDIR", ""): ({"fuse_release_in.release_flags": 0}, {}),
    ("FSYNCDIR", ""): ({"fuse_fsync_in.fsync_flags": 0}, {}),
    ("GETLK", ""): (
        lock(0, TO_THE_END, "F_RDLCK") | {"fuse_lk_in.lk_flags": 0, "fuse_lk_in.fh": HANDLE},
        {"fuse_lk_out.lk.start": 1000, "fuse_lk_out.lk.end": 1099, "fuse_lk_out.lk.type": "F_WRLCK"},
    ),
    ("SETLK", ""): (lock(1000, 1099, "F_WRLCK") | {"fuse_lk_in.lk_flags": 0}, {}),
    ("SETLK", "of flock"): (lock(0, TO_THE_END, "F_RDLCK") | {"fuse_lk_in.lk_flags": "FUSE_LK_FLOCK"}, {}),
    ("SETLKW", "interrupted"): (lock(1050, 1050, "F_RDLCK"), failed(errno.EINTR)),
    ("ACCESS", ""): ({"fuse_access_in.mask": 6}, {}),
    ("CREATE", ""): (
        {
            "name": b"file",
            "fuse_create_in.flags": "O_RDWR|O_CREAT|O_EXCL|O_LARGEFILE",
            "fuse_create_in.mode": "0100640 -rw-r-----",
            "fuse_create_in.umask": "027",
        },
        {"fuse_entry_out.attr.mode": 0o100640, "fuse_open_out.open_flags": 1 | 1 << 6},
    ),
    ("CREATE", "with extensions"): (
        both(
            EXTENSIONS,
            {
                "name": b"created",
                "fuse_create_in.flags": "O_RDWR|O_CREAT|O_LARGEFILE",
                "fuse_create_in.mode": 0o100644,
            },
        ),
        raw_entry(2, 0o100644) | {"fuse_open_out.fh": HANDLE},
    ),
    ("INTERRUPT", ""): ({"fuse_in_header.nodeid": 0}, None),
    ("INTERRUPT", "refused"): ({"fuse_in_header.nodeid": 0}, failed(errno.ENOSYS)),
    ("BMAP", ""): ({"fuse_in_header.nodeid": 2, "fuse_bmap_in.block": 3}, {"fuse_bmap_out.block": 1003}),
    ("DESTROY", ""): ({"fuse_in_header.nodeid": 0}, {}),
    ("IOCTL", "in"): (
        {
            "fuse_ioctl_in.cmd": "0x40084501",
            "fuse_ioctl_in.in_size": 8,
            "fuse_ioctl_in.out_size": 0,
            "data": (0x1234).to_bytes(8, "little"),
        },
        {"fuse_ioctl_out.result": 0, "fuse_ioctl_out.flags": 0},
    ),
    ("IOCTL", "out"): (
        {"fuse_ioctl_in.cmd": "0x80084500", "fuse_ioctl_in.in_size": 0, "fuse_ioctl_in.out_size": 8},
        {"fuse_ioctl_out.result": 0, "data": (0x1234).to_bytes(8, "little")},
    ),
    ("POLL", ""): (
        {
            "fuse_poll_in.fh": 8,
            "fuse_poll_in.flags": "FUSE_POLL_SCHEDULE_NOTIFY",
            "fuse_poll_in.events": "POLLIN|POLLPRI|POLLERR|POLLHUP",
        },
        {"fuse_poll_out.padding": 0},
    ),
    ("NOTIFY_REPLY", ""): (
        {"fuse_notify_retrieve_in.offset": 0, "fuse_notify_retrieve_in.size": 29, "data": CLOCK},
        None,
    ),
    ("BATCH_FORGET", ""): ({"fuse_in_header.nodeid": 0, "fuse_batch_forget_in.dummy": 0}, None),
    ("FALLOCATE", ""): (
        {
            "fuse_fallocate_in.offset": 4,
            "fuse_fallocate_in.length": 40,
            "fuse_fallocate_in.mode": "FALLOC_FL_KEEP_SIZE|FALLOC_FL_PUNCH_HOLE",
        },
        {},
    ),
    ("READDIRPLUS", ""): (
        {"fuse_read_in.offset": 0},
        {
            "entry.name": frozenset({b".", b"..", b"file", b"copy", b"pipe", b"device", b"link"}),
            "entry.fuse_direntplus.entry_out.attr.mode": frozenset(
                {0o40000, 0o104751, 0o100600, 0o10600, 0o20640, 0o120777}
            ),
            "entry.fuse_direntplus.dirent.namelen": frozenset({1, 2, 4, 6}),
        },
    ),
    ("RENAME2", ""): (
        {
            "fuse_rename2_in.newdir": ROOT,
            "fuse_rename2_in.flags": "RENAME_EXCHANGE",
            "oldname": b"from",
            "newname": b"to",
        },
        {},
    ),
    ("LSEEK", ""): (
        {"fuse_lseek_in.offset": 100, "fuse_lseek_in.whence": "SEEK_HOLE"},
        {"fuse_lseek_out.offset": 100},
    ),
    ("COPY_FILE_RANGE", ""): (copied(2, 0xFFFFF000), {"fuse_write_out.size": 0xFFFFF000}),
    ("SYNCFS", ""): ({"fuse_syncfs_in.padding": 0}, {}),
    ("TMPFILE", ""): (
        {
            "fuse_create_in.flags": "O_RDWR|O_LARGEFILE|O_DIRECTORY|O_TMPFILE",
            "fuse_create_in.mode": 0o100640,
            "fuse_create_in.umask": 0o027,
        },
        {"fuse_entry_out.attr.nlink": 0, "fuse_entry_out.attr.mode": 0o100640},
    ),
    ("STATX", ""): (
        {"fuse_statx_in.sx_mask": 0xFFF, "fuse_statx_in.sx_flags": 0},
        under(
            "fuse_statx_out.stat",
            {
                "uid": 1234,
                "gid": 5678,
                "mode": "0104751 -rwsr-x--x",
                "size": 5000,
                "nlink": 1,
                "atime.tv_sec": OLD_TIME,
                "mtime.tv_sec": LATE_TIME,
                "mtime.tv_nsec": 999_999_999,
                "rdev_major": 0,
            },
        ),
    ),
    ("COPY_FILE_RANGE_64", ""): (copied(2, 5 << 30), {"fuse_copy_file_range_out.bytes_copied": 5 << 30}),
}

NOTIFICATIONS: Final[dict[tuple[str, str], Message]] = {
    ("POLL", ""): {"fuse_notify_poll_wakeup_out.kh": 1},
    ("INVAL_INODE", ""): under("fuse_notify_inval_inode_out", {"ino": 2, "off": 0, "len": "to the end"}),
    ("INVAL_INODE", "attributes"): under("fuse_notify_inval_inode_out", {"ino": 2, "off": -1, "len": 0}),
    ("INVAL_ENTRY", ""): under("fuse_notify_inval_entry_out", {"parent": ROOT, "namelen": 19, "flags": 0})
    | {"name": ENTRY_NAME},
    ("INVAL_ENTRY", "expired"): {
        "fuse_notify_inval_entry_out.flags": "FUSE_EXPIRE_ONLY",
        "name": ENTRY_NAME,
    },
    ("STORE", ""): under("fuse_notify_store_out", {"nodeid": 2, "offset": 0, "size": 29}) | {"data": CLOCK},
    ("RETRIEVE", ""): under("fuse_notify_retrieve_out", {"nodeid": 2, "offset": 0, "size": 128}),
    ("DELETE", ""): under("fuse_notify_delete_out", {"parent": ROOT, "child": 2, "namelen": 6}) | {"name": b"doomed"},
    ("RESEND", ""): {},
    ("INC_EPOCH", ""): {},
    ("PRUNE", ""): {"fuse_notify_prune_out.count": 2, "nodeid": [2, 1 << 40]},
}


def expected_of(line: Line) -> Message:
    """What a message says; a reply succeeds unless it is said otherwise."""
    key = line.opcode, line.about
    if line.direction == "notification":
        return {"fuse_out_header.error": int(line.code), "fuse_out_header.unique": 0} | NOTIFICATIONS[key]
    request, reply = EXCHANGES[key]
    if line.direction == "request":
        return {"fuse_in_header.opcode": line.opcode} | request
    assert reply is not None
    return {"fuse_out_header.error": 0} | reply


def decoded(line: Line) -> Fields:
    context = Context(opcode=line.code) if line.direction == "reply" else None
    return Fields(decode(line.data, Part.REQUEST if line.direction == "request" else Part.REPLY, context))


def check(fields: Fields, path: str, expected: Expected) -> None:
    match expected:
        case str():
            assert fields.words(path) == expected, path
        case list():
            assert fields.all(path) == expected, path
        case frozenset():
            assert frozenset(fields.all(path)) == expected, path
        case re.Pattern():
            assert expected.fullmatch(fields.data(path)), path
        case _:
            assert fields[path] == expected, path


NAMES: Final = [" ".join(filter(None, line[:3])) for line in LINES]


@pytest.mark.parametrize("line", LINES, ids=NAMES)
def test_says_what_was_asked_and_told(line: Line) -> None:
    fields = decoded(line)
    for path, expected in expected_of(line).items():
        check(fields, path, expected)


@pytest.mark.parametrize("line", LINES, ids=NAMES)
def test_is_read_to_its_last_byte(line: Line) -> None:
    fields = decoded(line)
    problems = [problem.reason for problem in fields.decoded.problems]
    # Of a reply by itself nobody can tell whether its 8 bytes are a size.
    assert [reason.endswith("they look alike") for reason in problems] == [True] * ambiguous(line)
    ends = [item.offset + item.size for _, item in fields.leaves]
    assert len(line.data) - 8 < ends[-1] <= len(line.data)
    header = "fuse_in_header" if line.direction == "request" else "fuse_out_header"
    assert fields[f"{header}.len"] == len(line.data)


def ambiguous(line: Line) -> bool:
    return line.opcode in ("GETXATTR", "LISTXATTR") and (line.direction, line.about) == ("reply", "size")


def test_each_message_is_there_and_is_expected() -> None:
    seen = {line[:3] for line in LINES}
    assert len(seen) == len(LINES)
    expected = {(opcode, "request", about) for opcode, about in EXCHANGES}
    expected |= {(opcode, "reply", about) for (opcode, about), (_, reply) in EXCHANGES.items() if reply is not None}
    expected |= {(opcode, "notification", about) for opcode, about in NOTIFICATIONS}
    assert seen == expected


def test_has_nearly_all_operations() -> None:
    missing = set(Opcode.__members__) - {line.opcode for line in LINES if line.direction == "request"}
    assert missing == {"SETUPMAPPING", "REMOVEMAPPING", "CUSE_INIT"}
    assert {line.opcode for line in LINES if line.direction == "notification"} == set(Notification.__members__)


def test_as_many_nodes_are_forgotten_as_there_is_room_for() -> None:
    (line,) = (line for line in LINES if line.opcode == "BATCH_FORGET")
    fields = decoded(line)
    room = (len(line.data) - 40 - 8) // 16
    assert len(fields.all("fuse_forget_one.nodeid")) == fields["fuse_batch_forget_in.count"] == room > 1
