"""The protocol's structures as the server reads and writes them, packed with ``struct``.

Layouts are those of ``include/uapi/linux/fuse.h`` (7.46). All numbers are in the machine's byte order, naturally
aligned, so every padding byte is spelled out. Unpacked, a structure is a plain tuple in the order of the C struct.
"""

from struct import Struct
from typing import NamedTuple

MAJOR = 7
MINOR = 46
ROOT_ID = 1

IN_HEADER = Struct("=IIQQIIIHH")
"""``fuse_in_header``: len, opcode, unique, nodeid, uid, gid, pid, total_extlen, padding."""
OUT_HEADER = Struct("=IiQ")
"""``fuse_out_header``: len, error (0 or a negative errno), unique."""

ATTR = Struct("=QQQqqqIIIIIIIIII")
"""``fuse_attr``: ino, size, blocks, atime, mtime, ctime, their nanoseconds, mode, nlink, uid, gid, rdev,
blksize, flags."""
ENTRY_OUT = Struct("=QQQQII")
"""``fuse_entry_out`` up to its attr: nodeid, generation, entry_valid, attr_valid, and both validities' nanoseconds."""
ATTR_OUT = Struct("=QII")
"""``fuse_attr_out`` up to its attr: attr_valid, attr_valid_nsec, dummy."""
STATX_OUT = Struct("=QIIQQ")
"""``fuse_statx_out`` up to its stat: attr_valid, attr_valid_nsec, flags, two spare words."""
STATX = Struct("=IIQIIIHHQQQQqIiqIiqIiqIiIIII112x")
"""``fuse_statx``: mask, blksize, attributes, nlink, uid, gid, mode, spare, ino, size, blocks, attributes_mask,
then (sec, nsec, reserved) of atime, btime, ctime, mtime, and rdev and dev as major and minor."""
DIRENT = Struct("=QQII")
"""``fuse_dirent`` up to its name: ino, off (where the next entry starts), namelen, type (``mode >> 12``)."""

INIT_IN = Struct("=IIII")
"""``fuse_init_in`` up to flags: major, minor, max_readahead, flags; flags2 follows since 7.36."""
INIT_OUT = Struct("=IIIIHHIIHHIIH22x")
"""``fuse_init_out``: major, minor, max_readahead, flags, max_background, congestion_threshold, max_write, time_gran,
max_pages, map_alignment, flags2, max_stack_depth, request_timeout."""
STATFS_OUT = Struct("=QQQQQIII28x")
"""``fuse_kstatfs``: blocks, bfree, bavail, files, ffree, bsize, namelen, frsize."""
OPEN_OUT = Struct("=QIi")
"""``fuse_open_out``: fh, open_flags, backing_id."""

SETATTR_IN = Struct("=IIQQQqqqIIIIIIII")
"""``fuse_setattr_in``: valid, padding, fh, size, lock_owner, atime, mtime, ctime, their nanoseconds, mode, unused, uid,
gid, unused."""
READ_IN = Struct("=QQIIQII")
"""``fuse_read_in`` and ``fuse_write_in``: fh, offset, size, flags of the operation, lock_owner, open flags, padding."""
MKNOD_IN = Struct("=IIII")
"""``fuse_mknod_in``: mode, rdev, umask, padding."""
CREATE_IN = Struct("=IIII")
"""``fuse_create_in``: flags, mode, umask, open_flags."""
RENAME2_IN = Struct("=QII")
"""``fuse_rename2_in``: newdir, flags, padding."""
FALLOCATE_IN = Struct("=QQQII")
"""``fuse_fallocate_in``: fh, offset, length, mode, padding."""
LSEEK_IN = Struct("=QQII")
"""``fuse_lseek_in``: fh, offset, whence, padding."""
COPY_FILE_RANGE_IN = Struct("=QQQQQQQ")
"""``fuse_copy_file_range_in``: fh_in, off_in, nodeid_out, fh_out, off_out, len, flags."""
FORGET_ONE = Struct("=QQ")
"""``fuse_forget_one``: nodeid, nlookup."""
TWO_U32 = Struct("=II")
"""Two 32-bit words: ``fuse_getxattr_in`` and ``_out``, ``fuse_write_out``, ``fuse_mkdir_in``, ``fuse_open_in``, ..."""
U64 = Struct("=Q")
"""One 64-bit word: ``fuse_link_in``, ``fuse_rename_in``, ``fuse_forget_in``, ``fuse_lseek_out``, a file handle, ..."""

RING_HEADER_SIZE = 288
"""``fuse_uring_req_header``: in_out[128], op_in[128], ``fuse_uring_ent_in_out``."""
OP_IN_OFFSET = 128
OP_IN_SIZE = 128
ENT_IN_OUT_OFFSET = 256
ENT_IN_OUT = Struct("=QQIIQ")
"""``fuse_uring_ent_in_out``: flags, commit_id, payload_sz, offset into the pool (padding before 7.46), reserved."""

PAYLOAD_SIZE_OFFSET = ENT_IN_OUT_OFFSET + 16
"""Of ``fuse_uring_ent_in_out`` the server writes this word alone; the kernel reads nothing else of an answer."""
PAYLOAD_SIZE = Struct("=I")

DIRENT_ALIGN = 8
MIN_READ_BUFFER = 8192
"""``FUSE_MIN_READ_BUFFER``: the least payload that the kernel makes a ring entry bring."""

# INIT flags: bits 32 and up travel in flags2.
ASYNC_READ = 1 << 0
ATOMIC_O_TRUNC = 1 << 3
BIG_WRITES = 1 << 5
DO_READDIRPLUS = 1 << 13
READDIRPLUS_AUTO = 1 << 14
ASYNC_DIO = 1 << 15
PARALLEL_DIROPS = 1 << 18
MAX_PAGES = 1 << 22
SETXATTR_EXT = 1 << 29
INIT_EXT = 1 << 30
OVER_IO_URING = 1 << 41
HAS_IO_URING_BUFPOOL = 1 << 43

FOPEN_IO_URING_ZERO_COPY = 1 << 8
"""``fuse_open_out.open_flags``: data of this open file's reads and writes stays in the client's pages."""

# fuse_setattr_in.valid
FATTR_MODE = 1 << 0
FATTR_UID = 1 << 1
FATTR_GID = 1 << 2
FATTR_SIZE = 1 << 3
FATTR_ATIME = 1 << 4
FATTR_MTIME = 1 << 5
FATTR_ATIME_NOW = 1 << 7
FATTR_MTIME_NOW = 1 << 8
FATTR_CTIME = 1 << 10

STATX_BASIC_AND_BTIME = 0x7FF | 0x800
"""``STATX_BASIC_STATS | STATX_BTIME`` (``include/uapi/linux/stat.h``)."""

Buffer = bytes | bytearray | memoryview


class Request:
    """One request, whichever way it came.

    ``op_in`` holds the operation's own structure from byte 0 on (more bytes may follow), ``payload`` the names and data
    behind it. Both may be views of memory that is used again once the request has been answered.
    """

    __slots__ = ("gid", "nodeid", "op_in", "opcode", "payload", "pid", "uid", "unique")

    def __init__(self, header: tuple[int, ...], op_in: Buffer, payload: Buffer) -> None:
        _length, self.opcode, self.unique, self.nodeid, self.uid, self.gid, self.pid, _extlen, _padding = header
        self.op_in = op_in
        self.payload = payload


class Reply(NamedTuple):
    """What goes back: ``error`` (0, a negative errno, ``None`` where no answer is due) and what follows the header."""

    error: int | None
    body: Buffer


def names(payload: Buffer, count: int) -> list[bytes]:
    """Return the first ``count`` NUL-terminated names of a payload; ``ValueError`` when there are fewer."""
    parts = bytes(payload).split(b"\0", count)
    if len(parts) <= count:
        raise ValueError(f"a payload of {len(payload)} bytes holds fewer than {count} names")
    return parts[:count]


def pack_dirent(ino: int, offset: int, file_type: int, name: bytes) -> bytes:
    """Return one ``fuse_dirent``, padded to 8 bytes; ``offset`` is where the entry after it starts."""
    record = DIRENT.pack(ino, offset, len(name), file_type) + name
    return record + bytes(-len(record) % DIRENT_ALIGN)
