"""What the numbers of messages say in words."""

import pytest

from furtrace.wire import meaning
from furtrace.wire.decode import Context, Part, decode
from furtrace.wire.items import PREVIEW, Item
from furtrace.wire.opcodes import Opcode
from tests.unit.wire.cstructs import Piece, joined, struct
from tests.unit.wire.messages import NOTIFICATIONS, REQUESTS, UNIQUE


def _find(items: tuple[Item, ...], path: str) -> Item:
    name, _, rest = path.partition(".")
    found = next(item for item in items if item.name == name)
    return _find(found.items, rest) if rest else found


def _asked(opcode: str, head: Piece, path: str) -> str:
    items = decode(head.raw, Part.IN, Context(opcode=Opcode[opcode])).items
    return _find(items[0].items, path).meaning


def _answered(opcode: str, body: Piece, path: str) -> str:
    items = decode(body.raw, Part.OUT, Context(opcode=Opcode[opcode])).items
    return _find(items[0].items, path).meaning


SETATTR = "fuse_setattr_in"
ATTRIBUTES = "STATX_ATTR_COMPRESSED|STATX_ATTR_IMMUTABLE"


@pytest.mark.parametrize(
    ("opcode", "head", "path", "words"),
    [
        ("OPEN", struct("fuse_open_in", flags=0o2001), "flags", "O_WRONLY|O_APPEND"),
        ("OPEN", struct("fuse_open_in", open_flags=1), "open_flags", "FUSE_OPEN_KILL_SUIDGID"),
        ("CREATE", struct("fuse_create_in", mode=0o104755), "mode", "0104755 -rwsr-xr-x"),
        ("CREATE", struct("fuse_create_in", mode=0x18000), "mode", "0300000 ---------- and unknown bits"),
        ("CREATE", struct("fuse_create_in", umask=0o22), "umask", "022"),
        ("CREATE", struct("fuse_create_in", open_flags=3), "open_flags", "FUSE_OPEN_KILL_SUIDGID|0x2"),
        ("MKNOD", struct("fuse_mknod_in", rdev=0x12345678), "rdev", "1110:74616"),
        ("MKNOD", struct("fuse_mknod_in", rdev=0), "rdev", ""),
        ("MKDIR", struct("fuse_mkdir_in", mode=0o755), "mode", "0755"),
        ("RENAME", struct("fuse_rename_in", newdir=1), "newdir", "the root"),
        ("RENAME2", struct("fuse_rename2_in", flags=5), "flags", "RENAME_NOREPLACE|RENAME_WHITEOUT"),
        ("LINK", struct("fuse_link_in", oldnodeid=2), "oldnodeid", ""),
        ("ACCESS", struct("fuse_access_in", mask=0), "mask", "0"),
        ("ACCESS", struct("fuse_access_in", mask=6), "mask", "W_OK|R_OK"),
        ("GETATTR", struct("fuse_getattr_in", getattr_flags=1), "getattr_flags", "FUSE_GETATTR_FH"),
        ("GETATTR", struct("fuse_getattr_in", getattr_flags=1), "fh", ""),
        ("GETATTR", struct("fuse_getattr_in", getattr_flags=0), "fh", "not used: getattr_flags lacks FH"),
        ("SETATTR", struct(SETATTR, valid=1 << 3), "valid", "FATTR_SIZE"),
        ("SETATTR", struct(SETATTR, valid=1 << 3), "size", ""),
        ("SETATTR", struct(SETATTR, valid=0), "size", "not used: valid lacks SIZE"),
        ("SETATTR", struct(SETATTR, valid=1 << 9, lock_owner=0xABC), "lock_owner", "0xabc"),
        ("SETATTR", struct(SETATTR, valid=1, mode=0o100600), "mode", "0100600 -rw-------"),
        ("SETATTR", struct(SETATTR, valid=0), "uid", "not used: valid lacks UID"),
        ("SETATTR", struct(SETATTR, valid=2), "gid", "not used: valid lacks GID"),
        ("SETATTR", struct(SETATTR, valid=1 << 4, atime=1, atimensec=5), "atime", "1970-01-01T00:00:01.000000005Z"),
        ("SETATTR", struct(SETATTR, valid=1 << 4 | 1 << 7), "atime", "the server's present time"),
        ("SETATTR", struct(SETATTR, valid=1 << 5, mtime=1, mtimensec=6), "mtime", "1970-01-01T00:00:01.000000006Z"),
        ("SETATTR", struct(SETATTR, valid=1 << 5 | 1 << 8), "mtime", "the server's present time"),
        ("SETATTR", struct(SETATTR, valid=1 << 10, ctime=1, ctimensec=7), "ctime", "1970-01-01T00:00:01.000000007Z"),
        ("SETATTR", struct(SETATTR, valid=0), "ctime", "not used: valid lacks CTIME"),
        ("STATX", struct("fuse_statx_in", sx_flags=0x2100), "sx_flags", "AT_SYMLINK_NOFOLLOW|AT_STATX_FORCE_SYNC"),
        ("STATX", struct("fuse_statx_in", sx_mask=0x801), "sx_mask", "STATX_TYPE|STATX_BTIME"),
        ("READ", struct("fuse_read_in", read_flags=2, lock_owner=255), "lock_owner", "0xff"),
        ("READ", struct("fuse_read_in", read_flags=1), "lock_owner", "not used: read_flags lacks LOCKOWNER"),
        ("READ", struct("fuse_read_in", read_flags=3), "read_flags", "0x1|FUSE_READ_LOCKOWNER"),
        ("READ", struct("fuse_read_in", flags=2), "flags", "O_RDWR"),
        ("WRITE", struct("fuse_write_in", write_flags=2, lock_owner=255), "lock_owner", "0xff"),
        ("WRITE", struct("fuse_write_in", write_flags=5), "write_flags", "FUSE_WRITE_CACHE|FUSE_WRITE_KILL_SUIDGID"),
        ("WRITE", struct("fuse_write_in", write_flags=5), "lock_owner", "not used: write_flags lacks LOCKOWNER"),
        ("RELEASE", struct("fuse_release_in", release_flags=2), "release_flags", "FUSE_RELEASE_FLOCK_UNLOCK"),
        ("FSYNC", struct("fuse_fsync_in", fsync_flags=1), "fsync_flags", "FUSE_FSYNC_FDATASYNC"),
        ("SETXATTR", struct("fuse_setxattr_in", size=0, flags=2), "flags", "XATTR_REPLACE"),
        ("SETXATTR", struct("fuse_setxattr_in", setxattr_flags=1), "setxattr_flags", "FUSE_SETXATTR_ACL_KILL_SGID"),
        ("LISTXATTR", struct("fuse_getxattr_in", size=0), "size", "only the size is asked for"),
        ("LISTXATTR", struct("fuse_getxattr_in", size=1), "size", ""),
        ("SETLK", struct("fuse_lk_in", lk={"type": 2}), "lk.type", "F_UNLCK"),
        ("SETLK", struct("fuse_lk_in", lk={"type": 3}), "lk.type", "unknown"),
        ("SETLK", struct("fuse_lk_in", lk={"end": 2**63 - 1}), "lk.end", "the end of the file"),
        ("SETLK", struct("fuse_lk_in", lk_flags=1), "lk_flags", "FUSE_LK_FLOCK"),
        ("IOCTL", struct("fuse_ioctl_in", flags=0x28), "flags", "FUSE_IOCTL_32BIT|FUSE_IOCTL_COMPAT_X32"),
        ("IOCTL", struct("fuse_ioctl_in", cmd=0x5401), "cmd", "0x5401"),
        ("POLL", struct("fuse_poll_in", flags=1), "flags", "FUSE_POLL_SCHEDULE_NOTIFY"),
        ("POLL", struct("fuse_poll_in", events=5), "events", "POLLIN|POLLOUT"),
        ("FALLOCATE", struct("fuse_fallocate_in", mode=3), "mode", "FALLOC_FL_KEEP_SIZE|FALLOC_FL_PUNCH_HOLE"),
        ("LSEEK", struct("fuse_lseek_in", whence=3), "whence", "SEEK_DATA"),
        (
            "SETUPMAPPING",
            struct("fuse_setupmapping_in", flags=3),
            "flags",
            "FUSE_SETUPMAPPING_FLAG_WRITE|FUSE_SETUPMAPPING_FLAG_READ",
        ),
        ("INIT", struct("fuse_init_in", flags=1 << 30 | 1), "flags", "FUSE_ASYNC_READ|FUSE_INIT_EXT"),
        ("INIT", struct("fuse_init_in", flags=1 << 30, flags2=1 << 9), "flags2", "FUSE_OVER_IO_URING"),
        (
            "INIT",
            struct("fuse_init_in", flags=1, flags2=1 << 9),
            "flags2",
            "not used: flags lacks INIT_EXT (FUSE_OVER_IO_URING)",
        ),
        ("CUSE_INIT", struct("cuse_init_in", flags=1), "flags", "CUSE_UNRESTRICTED_IOCTL"),
    ],
)
def test_request(opcode: str, head: Piece, path: str, words: str) -> None:
    assert _asked(opcode, head, path) == words


def _init(flags: int, flags2: int = 0) -> Piece:
    return struct("fuse_init_out", flags=flags, flags2=flags2)


@pytest.mark.parametrize(
    ("opcode", "body", "path", "words"),
    [
        ("LOOKUP", struct("fuse_entry_out", nodeid=0), "nodeid", "no such file"),
        ("LOOKUP", struct("fuse_entry_out", nodeid=7), "nodeid", ""),
        ("LOOKUP", struct("fuse_entry_out", entry_valid=10, entry_valid_nsec=0), "entry_valid", "10 s"),
        ("LOOKUP", struct("fuse_entry_out", attr_valid=1, attr_valid_nsec=5 * 10**8), "attr_valid", "1.5 s"),
        (
            "LOOKUP",
            struct("fuse_entry_out", attr_valid=1, attr_valid_nsec=10**9),
            "attr_valid",
            "1 s and 1000000000 ns, which is too many",
        ),
        ("GETATTR", struct("fuse_attr_out", attr={"flags": 3}), "attr.flags", "FUSE_ATTR_SUBMOUNT|FUSE_ATTR_DAX"),
        ("GETATTR", struct("fuse_attr_out", attr={"mode": 0o40755}), "attr.mode", "040755 drwxr-xr-x"),
        ("GETATTR", struct("fuse_attr_out", attr={"mtime": 2**64 - 1}), "attr.mtime", "1969-12-31T23:59:59.000000008Z"),
        ("GETATTR", struct("fuse_attr_out", attr={"rdev": 0x801}), "attr.rdev", "8:1"),
        (
            "STATX",
            struct("fuse_statx_out", stat={"btime": {"tv_sec": -1, "tv_nsec": 3}}),
            "stat.btime.tv_sec",
            "1969-12-31T23:59:59.000000003Z",
        ),
        ("STATX", struct("fuse_statx_out", stat={"mask": 0x200}), "stat.size", ""),
        ("STATX", struct("fuse_statx_out", stat={"mask": 0x200}), "stat.ino", "not used: mask lacks INO"),
        ("STATX", struct("fuse_statx_out", stat={"mode": 0o120777}), "stat.mode", "0120777 lrwxrwxrwx"),
        ("STATX", struct("fuse_statx_out", stat={"attributes": 0x14}), "stat.attributes", ATTRIBUTES),
        ("STATX", struct("fuse_statx_out", stat={"attributes_mask": 0x14}), "stat.attributes_mask", ATTRIBUTES),
        ("OPEN", struct("fuse_open_out", open_flags=0x101), "open_flags", "FOPEN_DIRECT_IO|FOPEN_IO_URING_ZERO_COPY"),
        ("OPEN", struct("fuse_open_out", open_flags=0x80), "backing_id", ""),
        ("OPEN", struct("fuse_open_out", open_flags=0), "backing_id", "not used: open_flags lacks PASSTHROUGH"),
        ("IOCTL", struct("fuse_ioctl_out", flags=0), "in_iovs", "not used: flags lacks RETRY"),
        ("POLL", struct("fuse_poll_out", revents=0x2010), "revents", "POLLHUP|POLLRDHUP"),
        ("INIT", _init(1 << 22), "max_pages", ""),
        ("INIT", _init(0), "max_pages", "not used: MAX_PAGES is not set"),
        ("INIT", _init(0), "map_alignment", "not used: MAP_ALIGNMENT is not set"),
        ("INIT", _init(1 << 30, 1 << 5), "max_stack_depth", ""),
        ("INIT", _init(0, 1 << 5), "max_stack_depth", "not used: PASSTHROUGH is not set"),
        ("INIT", _init(1 << 30, 1 << 10), "request_timeout", ""),
        ("INIT", _init(1 << 30, 1 << 11), "request_timeout", "not used: REQUEST_TIMEOUT is not set"),
        ("INIT", _init(1 << 30, 1 << 11), "flags2", "FUSE_HAS_IO_URING_BUFPOOL"),
    ],
)
def test_reply(opcode: str, body: Piece, path: str, words: str) -> None:
    assert _answered(opcode, body, path) == words


@pytest.mark.parametrize(
    ("code", "structure", "path", "words"),
    [
        (2, struct("fuse_notify_inval_inode_out", off=-1), "off", "attributes only"),
        (2, struct("fuse_notify_inval_inode_out", off=0), "off", ""),
        (2, struct("fuse_notify_inval_inode_out", len=0), "len", "to the end"),
        (2, struct("fuse_notify_inval_inode_out", len=-1), "len", "to the end"),
        (2, struct("fuse_notify_inval_inode_out", len=1), "len", ""),
        (3, struct("fuse_notify_inval_entry_out", flags=1), "flags", "FUSE_EXPIRE_ONLY"),
        (3, struct("fuse_notify_inval_entry_out", parent=1), "parent", "the root"),
    ],
)
def test_notification(code: int, structure: Piece, path: str, words: str) -> None:
    rest = NOTIFICATIONS[code][1:]
    header = struct("fuse_out_header", len=16 + len(structure.raw) + len(joined(rest)), error=code, unique=0)
    items = decode(header.raw + structure.raw + joined(rest), Part.REPLY).items
    assert _find(items[1].items, path).meaning == words


@pytest.mark.parametrize(
    ("values", "path", "words"),
    [
        ({"opcode": 16}, "opcode", "WRITE"),
        ({"opcode": 99}, "opcode", "OP_99"),
        ({"unique": 5}, "unique", ""),
        ({"unique": 1 << 63 | 5}, "unique", "5, sent again"),
        ({"nodeid": 1}, "nodeid", "the root"),
        ({"uid": 0xFFFFFFFF}, "uid", "none: not mapped"),
        ({"gid": 0xFFFFFFFF}, "gid", "none: not mapped"),
        ({"uid": 0}, "uid", ""),
        ({"total_extlen": 3}, "total_extlen", "24 bytes"),
        ({"total_extlen": 0}, "total_extlen", ""),
    ],
)
def test_header(values: dict[str, int], path: str, words: str) -> None:
    header = struct("fuse_in_header", **{"len": 40, "opcode": 17, "unique": UNIQUE, **values})
    assert _find(decode(header.raw, Part.REQUEST).items[0].items, path).meaning == words


@pytest.mark.parametrize(
    ("error", "words"),
    [(0, "success"), (-2, "-ENOENT"), (-512, "-ERESTARTSYS"), (-4000, "no errno"), (2, "no errno")],
)
def test_error(error: int, words: str) -> None:
    assert meaning.error(error, None) == words


@pytest.mark.parametrize(
    ("seconds", "nanoseconds", "words"),
    [
        (0, 0, "1970-01-01T00:00:00.000000000Z"),
        (1_795_369_766, 1, "2026-11-22T17:49:26.000000001Z"),
        (-1, 999_999_999, "1969-12-31T23:59:59.999999999Z"),
        (2**64 - 1, 0, "1969-12-31T23:59:59.000000000Z"),
        (2**63, 0, "out of the calendar"),
        (-(2**63), 0, "out of the calendar"),
        (2**63 - 1, 0, "out of the calendar"),
        (-62135596800, 0, "0001-01-01T00:00:00.000000000Z"),
        (0, 10**9, "1970-01-01T00:00:00Z and 1000000000 ns, which is too many"),
    ],
)
def test_point_in_time(seconds: int, nanoseconds: int, words: str) -> None:
    assert meaning.point_in_time(seconds, nanoseconds) == words


def test_data_is_quoted_and_cut() -> None:
    head = struct("fuse_write_in", size=PREVIEW + 1)
    given = b'say "hi"\n' + bytes(PREVIEW - 8)
    item = decode(head.raw + given, Part.IN, Context(opcode=Opcode.WRITE)).items[1]
    assert item.value == given
    assert item.meaning == '"say \\"hi\\"\\n' + r"\x00" * (PREVIEW - 9) + '"...'
    head = struct("fuse_write_in", size=PREVIEW)
    assert decode(head.raw + b"x" * PREVIEW, Part.IN, Context(opcode=Opcode.WRITE)).items[1].meaning == (
        '"' + "x" * PREVIEW + '"'
    )


def test_names_are_quoted_whole() -> None:
    given = b"\xff" + b"x" * PREVIEW + b"\0"
    item = decode(given, Part.IN, Context(opcode=Opcode.LOOKUP)).items[0]
    assert item.meaning == '"\\xff' + "x" * PREVIEW + '"'


def test_type_of_an_extension() -> None:
    contexts = decode(joined(REQUESTS["MKDIR"].contiguous()), Part.REQUEST).items[-1].items
    assert _find(contexts, "fuse_ext_header.type").meaning == "EXT_GROUPS"
    unknown = struct("fuse_ext_header", size=8, type=33).raw
    items = decode(b"name\0target\0" + unknown, Part.IN, Context(opcode=Opcode.SYMLINK)).items[-1].items
    assert _find(items, "fuse_ext_header.type").meaning == "unknown"
