"""Attributes of files, as requests set them and replies bring them (``include/uapi/linux/fuse.h``)."""

from dataclasses import dataclass
from typing import Annotated

from furtrace.wire import meaning
from furtrace.wire.flags import AttrFlag, GetattrFlag, SetattrValid
from furtrace.wire.layout import I32, I64, U16, U32, U64, Layout, U16x1, U32x6, U64x2, U64x14
from furtrace.wire.vfs import StatxAttribute, StatxFlag, StatxMask


@dataclass(frozen=True, slots=True)
class Attr:
    """``struct fuse_attr``, 88 bytes: what stat(2) tells.

    Attributes:
        ino: the inode number that clients see, which need not be the node id.
        size: bytes.
        blocks: of 512 bytes.
        atime: seconds since 1970, signed; the same of ``mtime`` and ``ctime``.
        mtime: as ``atime``.
        ctime: as ``atime``.
        atimensec: nanoseconds; the same of ``mtimensec`` and ``ctimensec``.
        mtimensec: as ``atimensec``.
        ctimensec: as ``atimensec``.
        mode: type and permissions.
        nlink: number of hard links.
        uid: the owner's.
        gid: the same of the group.
        rdev: of a device file, 32 bits (``new_encode_dev``).
        blksize: bytes; 0: the kernel's own choice.
        flags: FUSE_ATTR_*.

    """

    ino: U64
    size: U64
    blocks: U64
    atime: Annotated[U64, meaning.timestamp("atimensec")]
    mtime: Annotated[U64, meaning.timestamp("mtimensec")]
    ctime: Annotated[U64, meaning.timestamp("ctimensec")]
    atimensec: U32
    mtimensec: U32
    ctimensec: U32
    mode: Annotated[U32, meaning.mode]
    nlink: U32
    uid: U32
    gid: U32
    rdev: Annotated[U32, meaning.device]
    blksize: U32
    flags: Annotated[U32, meaning.flags(AttrFlag)]


@dataclass(frozen=True, slots=True)
class EntryOut:
    """``struct fuse_entry_out``, 128 bytes: the reply to LOOKUP and to whatever makes a file.

    Attributes:
        nodeid: the inode, as the server numbers it; 0: there is no such file, and the kernel may remember that.
        generation: tells a number that is used anew from what it named before.
        entry_valid: how long the name may be cached, seconds; with ``entry_valid_nsec``.
        attr_valid: how long the attributes may be cached, seconds; with ``attr_valid_nsec``.
        entry_valid_nsec: nanoseconds.
        attr_valid_nsec: nanoseconds.
        attr: the file's attributes.

    """

    nodeid: Annotated[U64, lambda value, _: "" if value else "no such file"]
    generation: U64
    entry_valid: Annotated[U64, meaning.duration("entry_valid_nsec")]
    attr_valid: Annotated[U64, meaning.duration("attr_valid_nsec")]
    entry_valid_nsec: U32
    attr_valid_nsec: U32
    attr: Attr


@dataclass(frozen=True, slots=True)
class GetattrIn:
    """``struct fuse_getattr_in``, 16 bytes: GETATTR.

    Attributes:
        getattr_flags: FUSE_GETATTR_*.
        dummy: 0.
        fh: an open file of the client's; counts with FUSE_GETATTR_FH.

    """

    getattr_flags: Annotated[U32, meaning.flags(GetattrFlag)]
    dummy: U32
    fh: Annotated[U64, meaning.only_if("getattr_flags", GetattrFlag.FH)]


@dataclass(frozen=True, slots=True)
class AttrOut:
    """``struct fuse_attr_out``, 104 bytes: the reply to GETATTR and SETATTR.

    Attributes:
        attr_valid: how long the attributes may be cached, seconds; with ``attr_valid_nsec``.
        attr_valid_nsec: nanoseconds.
        dummy: 0.
        attr: the file's attributes.

    """

    attr_valid: Annotated[U64, meaning.duration("attr_valid_nsec")]
    attr_valid_nsec: U32
    dummy: U32
    attr: Attr


@dataclass(frozen=True, slots=True)
class SetattrIn:
    """``struct fuse_setattr_in``, 88 bytes: SETATTR. Only what ``valid`` selects counts.

    Attributes:
        valid: FATTR_*.
        padding: 0.
        fh: the open file of ftruncate(2) and the like.
        size: bytes.
        lock_owner: names the owner of POSIX locks.
        atime: seconds since 1970, signed; with ``atimensec``.
        mtime: the same.
        ctime: the same.
        atimensec: nanoseconds.
        mtimensec: nanoseconds.
        ctimensec: nanoseconds.
        mode: type and permissions.
        unused4: 0.
        uid: the new owner.
        gid: the new group.
        unused5: 0.

    """

    valid: Annotated[U32, meaning.flags(SetattrValid)]
    padding: U32
    fh: Annotated[U64, meaning.only_if("valid", SetattrValid.FH)]
    size: Annotated[U64, meaning.only_if("valid", SetattrValid.SIZE)]
    lock_owner: Annotated[U64, meaning.only_if("valid", SetattrValid.LOCKOWNER, meaning.hexadecimal)]
    atime: Annotated[
        U64,
        meaning.only_if(
            "valid",
            SetattrValid.ATIME,
            meaning.either(
                "valid", SetattrValid.ATIME_NOW, "the server's present time", meaning.timestamp("atimensec")
            ),
        ),
    ]
    mtime: Annotated[
        U64,
        meaning.only_if(
            "valid",
            SetattrValid.MTIME,
            meaning.either(
                "valid", SetattrValid.MTIME_NOW, "the server's present time", meaning.timestamp("mtimensec")
            ),
        ),
    ]
    ctime: Annotated[U64, meaning.only_if("valid", SetattrValid.CTIME, meaning.timestamp("ctimensec"))]
    atimensec: U32
    mtimensec: U32
    ctimensec: U32
    mode: Annotated[U32, meaning.only_if("valid", SetattrValid.MODE, meaning.mode)]
    unused4: U32
    uid: Annotated[U32, meaning.only_if("valid", SetattrValid.UID)]
    gid: Annotated[U32, meaning.only_if("valid", SetattrValid.GID)]
    unused5: U32


@dataclass(frozen=True, slots=True)
class StatxIn:
    """``struct fuse_statx_in``, 24 bytes: STATX.

    Attributes:
        getattr_flags: FUSE_GETATTR_*.
        reserved: 0.
        fh: an open file of the client's; counts with FUSE_GETATTR_FH.
        sx_flags: AT_STATX_*, as the client gave them.
        sx_mask: STATX_*: what is asked for.

    """

    getattr_flags: Annotated[U32, meaning.flags(GetattrFlag)]
    reserved: U32
    fh: Annotated[U64, meaning.only_if("getattr_flags", GetattrFlag.FH)]
    sx_flags: Annotated[U32, meaning.flags(StatxFlag)]
    sx_mask: Annotated[U32, meaning.flags(StatxMask)]


@dataclass(frozen=True, slots=True)
class SxTime:
    """``struct fuse_sx_time``, 16 bytes.

    Attributes:
        tv_sec: seconds since 1970.
        tv_nsec: nanoseconds.
        reserved_: ``__reserved``, 0.

    """

    tv_sec: Annotated[I64, meaning.timestamp("tv_nsec")]
    tv_nsec: U32
    reserved_: I32


@dataclass(frozen=True, slots=True)
class Statx:
    """``struct fuse_statx``, 256 bytes: what statx(2) tells, in that call's own layout.

    Attributes:
        mask: STATX_*: what of the following is filled.
        blksize: bytes.
        attributes: STATX_ATTR_*.
        nlink: number of hard links.
        uid: the owner's.
        gid: the same of the group.
        mode: type and permissions.
        ino: the inode number that clients see.
        size: bytes.
        blocks: of 512 bytes.
        attributes_mask: which of ``attributes`` the server knows.
        atime: last access.
        btime: creation.
        ctime: last change of the inode.
        mtime: last change of the data.
        rdev_major: of a device file.
        rdev_minor: the same.
        dev_major: of the device that holds the file.
        dev_minor: the same.
        spare0_: ``__spare0``, 0.
        spare2_: ``__spare2``, 0.

    """

    mask: Annotated[U32, meaning.flags(StatxMask)]
    blksize: U32
    attributes: Annotated[U64, meaning.flags(StatxAttribute)]
    nlink: Annotated[U32, meaning.only_if("mask", StatxMask.NLINK)]
    uid: Annotated[U32, meaning.only_if("mask", StatxMask.UID)]
    gid: Annotated[U32, meaning.only_if("mask", StatxMask.GID)]
    mode: Annotated[U16, meaning.mode]
    spare0_: U16x1
    ino: Annotated[U64, meaning.only_if("mask", StatxMask.INO)]
    size: Annotated[U64, meaning.only_if("mask", StatxMask.SIZE)]
    blocks: Annotated[U64, meaning.only_if("mask", StatxMask.BLOCKS)]
    attributes_mask: Annotated[U64, meaning.flags(StatxAttribute)]
    atime: SxTime
    btime: SxTime
    ctime: SxTime
    mtime: SxTime
    rdev_major: U32
    rdev_minor: U32
    dev_major: U32
    dev_minor: U32
    spare2_: U64x14


@dataclass(frozen=True, slots=True)
class StatxOut:
    """``struct fuse_statx_out``, 288 bytes: the reply to STATX.

    Attributes:
        attr_valid: how long the attributes may be cached, seconds; with ``attr_valid_nsec``.
        attr_valid_nsec: nanoseconds.
        flags: 0.
        spare: 0.
        stat: the file's attributes.

    """

    attr_valid: Annotated[U64, meaning.duration("attr_valid_nsec")]
    attr_valid_nsec: U32
    flags: U32
    spare: U64x2
    stat: Statx


@dataclass(frozen=True, slots=True)
class Kstatfs:
    """``struct fuse_kstatfs``, 80 bytes: what statfs(2) tells.

    Attributes:
        blocks: of ``frsize`` bytes, in all.
        bfree: of them free.
        bavail: free to users without privilege.
        files: inodes in all.
        ffree: of them free.
        bsize: bytes of a transfer.
        namelen: the longest name.
        frsize: bytes of a block.
        padding: 0.
        spare: 0.

    """

    blocks: U64
    bfree: U64
    bavail: U64
    files: U64
    ffree: U64
    bsize: U32
    namelen: U32
    frsize: U32
    padding: U32
    spare: U32x6


@dataclass(frozen=True, slots=True)
class StatfsOut:
    """``struct fuse_statfs_out``, 80 bytes: the reply to STATFS.

    Attributes:
        st: of the whole file system.

    """

    st: Kstatfs


ATTR = Layout("fuse_attr", Attr)
ENTRY_OUT = Layout("fuse_entry_out", EntryOut)
GETATTR_IN = Layout("fuse_getattr_in", GetattrIn)
ATTR_OUT = Layout("fuse_attr_out", AttrOut)
SETATTR_IN = Layout("fuse_setattr_in", SetattrIn)
STATX_IN = Layout("fuse_statx_in", StatxIn)
SX_TIME = Layout("fuse_sx_time", SxTime)
STATX = Layout("fuse_statx", Statx)
STATX_OUT = Layout("fuse_statx_out", StatxOut)
KSTATFS = Layout("fuse_kstatfs", Kstatfs)
STATFS_OUT = Layout("fuse_statfs_out", StatfsOut)
