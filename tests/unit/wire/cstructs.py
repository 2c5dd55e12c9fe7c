"""The protocol's structures, written down by hand from ``linux/fuse.h`` (7.46) and ``linux/io_uring.h``.

They build the messages that the decoder is tried with, so that it is not checked against its own layouts.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from struct import pack
from typing import TypeAlias

from furtrace.wire.items import Item

Value: TypeAlias = int | bytes | tuple[int, ...]
Given: TypeAlias = Value | Mapping[str, "Given"]
"""A member's value, or those of the members of a structure within."""
Shape: TypeAlias = tuple[str, int, int, Value | None, tuple["Shape", ...]]
"""What an item has to be but for its meaning: name, offset, size, value, items."""

_STRUCTS = """
fuse_attr: u64 ino size blocks atime mtime ctime;
    u32 atimensec mtimensec ctimensec mode nlink uid gid rdev blksize flags
fuse_sx_time: s64 tv_sec; u32 tv_nsec; s32 __reserved
fuse_statx: u32 mask blksize; u64 attributes; u32 nlink uid gid; u16 mode __spare0[1];
    u64 ino size blocks attributes_mask; fuse_sx_time atime btime ctime mtime;
    u32 rdev_major rdev_minor dev_major dev_minor; u64 __spare2[14]
fuse_kstatfs: u64 blocks bfree bavail files ffree; u32 bsize namelen frsize padding spare[6]
fuse_file_lock: u64 start end; u32 type pid
fuse_entry_out: u64 nodeid generation entry_valid attr_valid; u32 entry_valid_nsec attr_valid_nsec; fuse_attr attr
fuse_forget_in: u64 nlookup
fuse_forget_one: u64 nodeid nlookup
fuse_batch_forget_in: u32 count dummy
fuse_getattr_in: u32 getattr_flags dummy; u64 fh
fuse_attr_out: u64 attr_valid; u32 attr_valid_nsec dummy; fuse_attr attr
fuse_statx_in: u32 getattr_flags reserved; u64 fh; u32 sx_flags sx_mask
fuse_statx_out: u64 attr_valid; u32 attr_valid_nsec flags; u64 spare[2]; fuse_statx stat
fuse_mknod_in: u32 mode rdev umask padding
fuse_mkdir_in: u32 mode umask
fuse_rename_in: u64 newdir
fuse_rename2_in: u64 newdir; u32 flags padding
fuse_link_in: u64 oldnodeid
fuse_setattr_in: u32 valid padding; u64 fh size lock_owner atime mtime ctime;
    u32 atimensec mtimensec ctimensec mode unused4 uid gid unused5
fuse_open_in: u32 flags open_flags
fuse_create_in: u32 flags mode umask open_flags
fuse_open_out: u64 fh; u32 open_flags; s32 backing_id
fuse_release_in: u64 fh; u32 flags release_flags; u64 lock_owner
fuse_flush_in: u64 fh; u32 unused padding; u64 lock_owner
fuse_read_in: u64 fh offset; u32 size read_flags; u64 lock_owner; u32 flags padding
fuse_write_in: u64 fh offset; u32 size write_flags; u64 lock_owner; u32 flags padding
fuse_write_out: u32 size padding
fuse_statfs_out: fuse_kstatfs st
fuse_fsync_in: u64 fh; u32 fsync_flags padding
fuse_setxattr_in: u32 size flags setxattr_flags padding
fuse_setxattr_in of 8: u32 size flags
fuse_getxattr_in: u32 size padding
fuse_getxattr_out: u32 size padding
fuse_lk_in: u64 fh owner; fuse_file_lock lk; u32 lk_flags padding
fuse_lk_out: fuse_file_lock lk
fuse_access_in: u32 mask padding
fuse_init_in: u32 major minor max_readahead flags flags2 unused[11]
fuse_init_in of 16: u32 major minor max_readahead flags
fuse_init_out: u32 major minor max_readahead flags; u16 max_background congestion_threshold; u32 max_write time_gran;
    u16 max_pages map_alignment; u32 flags2 max_stack_depth; u16 request_timeout unused[11]
fuse_init_out of 8: u32 major minor
fuse_init_out of 24: u32 major minor max_readahead flags; u16 max_background congestion_threshold; u32 max_write
cuse_init_in: u32 major minor unused flags
cuse_init_out: u32 major minor unused flags max_read max_write dev_major dev_minor spare[10]
fuse_interrupt_in: u64 unique
fuse_bmap_in: u64 block; u32 blocksize padding
fuse_bmap_out: u64 block
fuse_ioctl_in: u64 fh; u32 flags cmd; u64 arg; u32 in_size out_size
fuse_ioctl_iovec: u64 base len
fuse_ioctl_out: s32 result; u32 flags in_iovs out_iovs
fuse_poll_in: u64 fh kh; u32 flags events
fuse_poll_out: u32 revents padding
fuse_notify_poll_wakeup_out: u64 kh
fuse_fallocate_in: u64 fh offset length; u32 mode padding
fuse_in_header: u32 len opcode; u64 unique nodeid; u32 uid gid pid; u16 total_extlen padding
fuse_out_header: u32 len; s32 error; u64 unique
fuse_dirent: u64 ino off; u32 namelen type
fuse_direntplus: fuse_entry_out entry_out; fuse_dirent dirent
fuse_notify_inval_inode_out: u64 ino; s64 off len
fuse_notify_inval_entry_out: u64 parent; u32 namelen flags
fuse_notify_delete_out: u64 parent child; u32 namelen padding
fuse_notify_store_out: u64 nodeid offset; u32 size padding
fuse_notify_retrieve_out: u64 notify_unique nodeid offset; u32 size padding
fuse_notify_retrieve_in: u64 dummy1 offset; u32 size dummy2; u64 dummy3 dummy4
fuse_notify_prune_out: u32 count padding; u64 spare
fuse_lseek_in: u64 fh offset; u32 whence padding
fuse_lseek_out: u64 offset
fuse_copy_file_range_in: u64 fh_in off_in nodeid_out fh_out off_out len flags
fuse_copy_file_range_out: u64 bytes_copied
fuse_setupmapping_in: u64 fh foffset len flags moffset
fuse_removemapping_in: u32 count
fuse_removemapping_one: u64 moffset len
fuse_syncfs_in: u64 padding
fuse_secctx: u32 size padding
fuse_secctx_header: u32 size nr_secctx
fuse_ext_header: u32 size type
fuse_supp_groups: u32 nr_groups
ring_ent_in_out of plain: u64 flags commit_id; u32 payload_sz padding; u64 reserved
ring_ent_in_out of bufring: u64 flags commit_id; u32 payload_sz; u16 buf_id padding; u64 reserved
ring_ent_in_out of bufpool: u64 flags commit_id; u32 payload_sz offset; u64 reserved
bufpool: u64 uaddr; u32 len reserved
init: u32 buf_size; u16 queue_depth padding
fuse_uring_cmd_req: u64 flags commit_id; u16 qid; char padding[6]
fuse_uring_cmd_req of REGISTER: u64 flags commit_id; u16 qid; char padding[6]; u16 ent_zero_copy_buf_index
fuse_uring_cmd_req of ADD_BUFPOOL: u64 flags commit_id; u16 qid; char padding[6]; bufpool bufpool
fuse_uring_cmd_req of bufring: u64 flags commit_id; u16 qid padding; init init
io_uring_sqe of URING_CMD: u8 opcode flags; u16 ioprio; s32 fd; u32 cmd_op __pad1; u64 addr; u32 len uring_cmd_flags;
    u64 user_data; u16 buf_index personality; u32 file_index
io_uring_sqe: u8 opcode flags; u16 ioprio; s32 fd; u64 off addr; u32 len rw_flags; u64 user_data;
    u16 buf_index personality; s32 splice_fd_in
"""
_CODES = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "s32": "i", "s64": "q"}


@dataclass(frozen=True)
class Piece:
    """Bytes of a message, and what the decoder has to make of them.

    Attributes:
        name: the item's; empty for filler, which is no item.
        raw: the bytes.
        value: what stands there; None for a structure.
        inner: the pieces of a structure, or of what else is made of several.

    """

    name: str
    raw: bytes
    value: Value | None = None
    inner: tuple["Piece", ...] = ()

    def shape(self, at: int = 0) -> Shape:
        """Return the item that this is at offset ``at``."""
        return self.name, at, len(self.raw), self.value, shapes(self.inner, at)


def joined(pieces: tuple[Piece, ...]) -> bytes:
    """Return the bytes of pieces that follow each other."""
    return b"".join(piece.raw for piece in pieces)


def shapes(pieces: tuple[Piece, ...], at: int = 0) -> tuple[Shape, ...]:
    """Return the items that pieces are which follow each other from offset ``at``."""
    found = []
    for piece in pieces:
        if piece.name:
            found.append(piece.shape(at))
        at += len(piece.raw)
    return tuple(found)


def whole(name: str, *pieces: Piece) -> Piece:
    """Return pieces that follow each other as one."""
    return Piece(name, joined(pieces), None, pieces)


def filler(count: int, byte: bytes = b"\0") -> Piece:
    """Return bytes that mean nothing."""
    return Piece("", byte * count)


def shape_of(item: Item) -> Shape:
    """Return an item without its meaning."""
    return item.name, item.offset, item.size, item.value, tuple(map(shape_of, item.items))


def _declared() -> dict[str, list[tuple[str, str, int]]]:
    """Return type, name and count of each structure's members; a count of 0 is no array."""
    structs = {}
    for declaration in re.sub(r"\n +", " ", _STRUCTS).strip().splitlines():
        key, _, body = declaration.partition(": ")
        members = []
        for group in body.split("; "):
            kind, *names = group.split()
            for name in names:
                plain, _, count = name.rstrip("]").partition("[")
                members.append((kind, plain, int(count or 0)))
        structs[key] = members
    return structs


STRUCTS = _declared()


def struct(key: str, variant: str = "", /, **values: Given) -> Piece:
    """Return a structure with these values; a member that is not named has its place in the structure as value.

    The name is the key's first word, ``variant`` is what follows ``of`` in it. The value of a structure within is a
    mapping.
    """
    members = STRUCTS[f"{key} of {variant}" if variant else key]
    unknown = values.keys() - {name for _, name, _ in members}
    if unknown:
        raise TypeError(f"struct {key} has no {', '.join(unknown)}")
    return whole(key, *_fields(members, values))


def _fields(members: list[tuple[str, str, int]], values: Mapping[str, Given]) -> Iterator[Piece]:
    for place, (kind, name, count) in enumerate(members, 1):
        value = values.get(name)
        if kind in STRUCTS:
            inner = value if isinstance(value, Mapping) else {}
            yield whole(name, *struct(kind, **inner).inner)
        elif kind == "char":
            yield _text(name, value, count)
        else:
            yield _number(kind, name, count, place if value is None else value)


def _text(name: str, value: object, count: int) -> Piece:
    """Return an array of characters; by default the digits of its places."""
    raw = value if isinstance(value, bytes) else bytes(range(1, count + 1))
    return Piece(name, raw, raw)


def _number(kind: str, name: str, count: int, value: object) -> Piece:
    if not count:
        assert isinstance(value, int)
        return Piece(name, pack("<" + _CODES[kind], value), value)
    row = value if isinstance(value, tuple) else tuple(range(1, count + 1))
    return Piece(name, pack(f"<{count}{_CODES[kind]}", *row), row)


def leaves(found: tuple[Shape, ...]) -> Iterator[Shape]:
    """Yield the pieces that have a value, those of structures within too."""
    for shape in found:
        if shape[3] is not None:
            yield shape
        yield from leaves(shape[4])
