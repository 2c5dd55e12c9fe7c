"""Requests about open files: opening, data, locks, ioctl(2), poll(2) (``include/uapi/linux/fuse.h``)."""

from dataclasses import dataclass
from typing import Annotated

from furtrace.wire import meaning
from furtrace.wire.flags import (
    FsyncFlag,
    IoctlFlag,
    LockFlag,
    OpenReplyFlag,
    OpenRequestFlag,
    PollFlag,
    ReadFlag,
    ReleaseFlag,
    SetupMappingFlag,
    WriteFlag,
)
from furtrace.wire.layout import I32, U32, U64, Layout
from furtrace.wire.vfs import FallocateFlag, LockType, PollEvent, Whence


@dataclass(frozen=True, slots=True)
class OpenIn:
    """``struct fuse_open_in``, 8 bytes: OPEN and OPENDIR.

    Attributes:
        flags: of open(2), without O_CREAT, O_EXCL and O_NOCTTY.
        open_flags: FUSE_OPEN_*.

    """

    flags: Annotated[U32, meaning.open_flags]
    open_flags: Annotated[U32, meaning.flags(OpenRequestFlag)]


@dataclass(frozen=True, slots=True)
class CreateIn:
    """``struct fuse_create_in``, 16 bytes: CREATE and TMPFILE.

    Attributes:
        flags: of open(2).
        mode: type and permissions.
        umask: the client's.
        open_flags: FUSE_OPEN_*.

    """

    flags: Annotated[U32, meaning.open_flags]
    mode: Annotated[U32, meaning.mode]
    umask: Annotated[U32, meaning.octal]
    open_flags: Annotated[U32, meaning.flags(OpenRequestFlag)]


@dataclass(frozen=True, slots=True)
class OpenOut:
    """``struct fuse_open_out``, 16 bytes: the reply to OPEN and OPENDIR, and the end of that to CREATE and TMPFILE.

    Attributes:
        fh: the open file, as the server numbers it.
        open_flags: FOPEN_*.
        backing_id: the file to pass through to; counts with FOPEN_PASSTHROUGH.

    """

    fh: U64
    open_flags: Annotated[U32, meaning.flags(OpenReplyFlag)]
    backing_id: Annotated[I32, meaning.only_if("open_flags", OpenReplyFlag.PASSTHROUGH)]


@dataclass(frozen=True, slots=True)
class ReleaseIn:
    """``struct fuse_release_in``, 24 bytes: RELEASE and RELEASEDIR.

    Attributes:
        fh: the open file.
        flags: of open(2).
        release_flags: FUSE_RELEASE_*.
        lock_owner: names the owner of locks.

    """

    fh: U64
    flags: Annotated[U32, meaning.open_flags]
    release_flags: Annotated[U32, meaning.flags(ReleaseFlag)]
    lock_owner: Annotated[U64, meaning.hexadecimal]


@dataclass(frozen=True, slots=True)
class FlushIn:
    """``struct fuse_flush_in``, 24 bytes: FLUSH, one for each close(2).

    Attributes:
        fh: the open file.
        unused: 0.
        padding: 0.
        lock_owner: names the owner of POSIX locks.

    """

    fh: U64
    unused: U32
    padding: U32
    lock_owner: Annotated[U64, meaning.hexadecimal]


@dataclass(frozen=True, slots=True)
class ReadIn:
    """``struct fuse_read_in``, 40 bytes: READ, READDIR and READDIRPLUS.

    Attributes:
        fh: the open file.
        offset: bytes; of a directory, what the last entry's ``off`` said.
        size: bytes at most.
        read_flags: FUSE_READ_*.
        lock_owner: counts with FUSE_READ_LOCKOWNER.
        flags: of open(2).
        padding: 0.

    """

    fh: U64
    offset: U64
    size: U32
    read_flags: Annotated[U32, meaning.flags(ReadFlag)]
    lock_owner: Annotated[U64, meaning.only_if("read_flags", ReadFlag.LOCKOWNER, meaning.hexadecimal)]
    flags: Annotated[U32, meaning.open_flags]
    padding: U32


@dataclass(frozen=True, slots=True)
class WriteIn:
    """``struct fuse_write_in``, 40 bytes: WRITE; the data follows.

    Attributes:
        fh: the open file.
        offset: bytes.
        size: bytes of data.
        write_flags: FUSE_WRITE_*.
        lock_owner: counts with FUSE_WRITE_LOCKOWNER.
        flags: of open(2).
        padding: 0.

    """

    fh: U64
    offset: U64
    size: U32
    write_flags: Annotated[U32, meaning.flags(WriteFlag)]
    lock_owner: Annotated[U64, meaning.only_if("write_flags", WriteFlag.LOCKOWNER, meaning.hexadecimal)]
    flags: Annotated[U32, meaning.open_flags]
    padding: U32


@dataclass(frozen=True, slots=True)
class WriteOut:
    """``struct fuse_write_out``, 8 bytes: the reply to WRITE and COPY_FILE_RANGE.

    Attributes:
        size: bytes written.
        padding: 0.

    """

    size: U32
    padding: U32


@dataclass(frozen=True, slots=True)
class FsyncIn:
    """``struct fuse_fsync_in``, 16 bytes: FSYNC and FSYNCDIR.

    Attributes:
        fh: the open file.
        fsync_flags: FUSE_FSYNC_*.
        padding: 0.

    """

    fh: U64
    fsync_flags: Annotated[U32, meaning.flags(FsyncFlag)]
    padding: U32


@dataclass(frozen=True, slots=True)
class FileLock:
    """``struct fuse_file_lock``, 24 bytes.

    Attributes:
        start: first byte.
        end: last byte; 2**63 - 1: to the end of the file (OFFSET_MAX).
        type: F_RDLCK, F_WRLCK, F_UNLCK.
        pid: thread group of the owner.

    """

    start: U64
    end: Annotated[U64, lambda value, _: "the end of the file" if value == (1 << 63) - 1 else ""]
    type: Annotated[U32, meaning.number_of(LockType)]
    pid: U32


@dataclass(frozen=True, slots=True)
class LkIn:
    """``struct fuse_lk_in``, 48 bytes: GETLK, SETLK and SETLKW.

    Attributes:
        fh: the open file.
        owner: names the owner of the lock.
        lk: the lock.
        lk_flags: FUSE_LK_*.
        padding: 0.

    """

    fh: U64
    owner: Annotated[U64, meaning.hexadecimal]
    lk: FileLock
    lk_flags: Annotated[U32, meaning.flags(LockFlag)]
    padding: U32


@dataclass(frozen=True, slots=True)
class LkOut:
    """``struct fuse_lk_out``, 24 bytes: the reply to GETLK.

    Attributes:
        lk: a lock that is in the way; F_UNLCK: none is.

    """

    lk: FileLock


@dataclass(frozen=True, slots=True)
class BmapIn:
    """``struct fuse_bmap_in``, 16 bytes: BMAP, on block devices only.

    Attributes:
        block: index within the file.
        blocksize: bytes.
        padding: 0.

    """

    block: U64
    blocksize: U32
    padding: U32


@dataclass(frozen=True, slots=True)
class BmapOut:
    """``struct fuse_bmap_out``, 8 bytes: the reply to BMAP.

    Attributes:
        block: index on the device.

    """

    block: U64


@dataclass(frozen=True, slots=True)
class IoctlIn:
    """``struct fuse_ioctl_in``, 32 bytes: IOCTL; ``in_size`` bytes of data follow.

    Attributes:
        fh: the open file.
        flags: FUSE_IOCTL_*.
        cmd: of ioctl(2).
        arg: of ioctl(2), often an address in the client.
        in_size: bytes of data that follow.
        out_size: bytes of data at most in the reply.

    """

    fh: U64
    flags: Annotated[U32, meaning.flags(IoctlFlag)]
    cmd: Annotated[U32, meaning.hexadecimal]
    arg: Annotated[U64, meaning.hexadecimal]
    in_size: U32
    out_size: U32


@dataclass(frozen=True, slots=True)
class IoctlIovec:
    """``struct fuse_ioctl_iovec``, 16 bytes: what a server of an unrestricted ioctl wants to read or write.

    Attributes:
        base: address in the client.
        len: bytes.

    """

    base: Annotated[U64, meaning.hexadecimal]
    len: U64


@dataclass(frozen=True, slots=True)
class IoctlOut:
    """``struct fuse_ioctl_out``, 16 bytes: the reply to IOCTL; data follows, or with FUSE_IOCTL_RETRY iovecs.

    Attributes:
        result: of ioctl(2).
        flags: FUSE_IOCTL_*.
        in_iovs: iovecs to read that follow, with FUSE_IOCTL_RETRY.
        out_iovs: iovecs to write that follow after those.

    """

    result: I32
    flags: Annotated[U32, meaning.flags(IoctlFlag)]
    in_iovs: Annotated[U32, meaning.only_if("flags", IoctlFlag.RETRY)]
    out_iovs: Annotated[U32, meaning.only_if("flags", IoctlFlag.RETRY)]


@dataclass(frozen=True, slots=True)
class PollIn:
    """``struct fuse_poll_in``, 24 bytes: POLL.

    Attributes:
        fh: the open file.
        kh: names the poll in FUSE_NOTIFY_POLL.
        flags: FUSE_POLL_*.
        events: of poll(2): what is waited for.

    """

    fh: U64
    kh: U64
    flags: Annotated[U32, meaning.flags(PollFlag)]
    events: Annotated[U32, meaning.flags(PollEvent)]


@dataclass(frozen=True, slots=True)
class PollOut:
    """``struct fuse_poll_out``, 8 bytes: the reply to POLL.

    Attributes:
        revents: of poll(2): what is the case.
        padding: 0.

    """

    revents: Annotated[U32, meaning.flags(PollEvent)]
    padding: U32


@dataclass(frozen=True, slots=True)
class FallocateIn:
    """``struct fuse_fallocate_in``, 32 bytes: FALLOCATE.

    Attributes:
        fh: the open file.
        offset: bytes.
        length: bytes.
        mode: FALLOC_FL_*.
        padding: 0.

    """

    fh: U64
    offset: U64
    length: U64
    mode: Annotated[U32, meaning.flags(FallocateFlag)]
    padding: U32


@dataclass(frozen=True, slots=True)
class LseekIn:
    """``struct fuse_lseek_in``, 24 bytes: LSEEK, for SEEK_DATA and SEEK_HOLE.

    Attributes:
        fh: the open file.
        offset: bytes.
        whence: SEEK_*.
        padding: 0.

    """

    fh: U64
    offset: U64
    whence: Annotated[U32, meaning.number_of(Whence)]
    padding: U32


@dataclass(frozen=True, slots=True)
class LseekOut:
    """``struct fuse_lseek_out``, 8 bytes: the reply to LSEEK.

    Attributes:
        offset: bytes.

    """

    offset: U64


@dataclass(frozen=True, slots=True)
class CopyFileRangeIn:
    """``struct fuse_copy_file_range_in``, 56 bytes: COPY_FILE_RANGE and COPY_FILE_RANGE_64, from the request's node.

    Attributes:
        fh_in: the open file to copy from.
        off_in: bytes.
        nodeid_out: the inode to copy to.
        fh_out: the open file to copy to.
        off_out: bytes.
        len: bytes.
        flags: of copy_file_range(2), 0.

    """

    fh_in: U64
    off_in: U64
    nodeid_out: Annotated[U64, meaning.node]
    fh_out: U64
    off_out: U64
    len: U64
    flags: U64


@dataclass(frozen=True, slots=True)
class CopyFileRangeOut:
    """``struct fuse_copy_file_range_out``, 8 bytes: the reply to COPY_FILE_RANGE_64.

    Attributes:
        bytes_copied: may be more than the 32 bits of ``fuse_write_out`` hold.

    """

    bytes_copied: U64


@dataclass(frozen=True, slots=True)
class SetupmappingIn:
    """``struct fuse_setupmapping_in``, 40 bytes: SETUPMAPPING, of virtiofs with DAX.

    Attributes:
        fh: the open file; 2**64 - 1: none.
        foffset: bytes within the file.
        len: bytes.
        flags: FUSE_SETUPMAPPING_FLAG_*.
        moffset: bytes within the memory window.

    """

    fh: U64
    foffset: U64
    len: U64
    flags: Annotated[U64, meaning.flags(SetupMappingFlag)]
    moffset: U64


@dataclass(frozen=True, slots=True)
class RemovemappingIn:
    """``struct fuse_removemapping_in``, 4 bytes: REMOVEMAPPING.

    Attributes:
        count: how many ``fuse_removemapping_one`` follow.

    """

    count: U32


@dataclass(frozen=True, slots=True)
class RemovemappingOne:
    """``struct fuse_removemapping_one``, 16 bytes.

    Attributes:
        moffset: bytes within the memory window.
        len: bytes.

    """

    moffset: U64
    len: U64


OPEN_IN = Layout("fuse_open_in", OpenIn)
CREATE_IN = Layout("fuse_create_in", CreateIn)
OPEN_OUT = Layout("fuse_open_out", OpenOut)
RELEASE_IN = Layout("fuse_release_in", ReleaseIn)
FLUSH_IN = Layout("fuse_flush_in", FlushIn)
READ_IN = Layout("fuse_read_in", ReadIn)
WRITE_IN = Layout("fuse_write_in", WriteIn)
WRITE_OUT = Layout("fuse_write_out", WriteOut)
FSYNC_IN = Layout("fuse_fsync_in", FsyncIn)
FILE_LOCK = Layout("fuse_file_lock", FileLock)
LK_IN = Layout("fuse_lk_in", LkIn)
LK_OUT = Layout("fuse_lk_out", LkOut)
BMAP_IN = Layout("fuse_bmap_in", BmapIn)
BMAP_OUT = Layout("fuse_bmap_out", BmapOut)
IOCTL_IN = Layout("fuse_ioctl_in", IoctlIn)
IOCTL_IOVEC = Layout("fuse_ioctl_iovec", IoctlIovec)
IOCTL_OUT = Layout("fuse_ioctl_out", IoctlOut)
POLL_IN = Layout("fuse_poll_in", PollIn)
POLL_OUT = Layout("fuse_poll_out", PollOut)
FALLOCATE_IN = Layout("fuse_fallocate_in", FallocateIn)
LSEEK_IN = Layout("fuse_lseek_in", LseekIn)
LSEEK_OUT = Layout("fuse_lseek_out", LseekOut)
COPY_FILE_RANGE_IN = Layout("fuse_copy_file_range_in", CopyFileRangeIn)
COPY_FILE_RANGE_OUT = Layout("fuse_copy_file_range_out", CopyFileRangeOut)
SETUPMAPPING_IN = Layout("fuse_setupmapping_in", SetupmappingIn)
REMOVEMAPPING_IN = Layout("fuse_removemapping_in", RemovemappingIn)
REMOVEMAPPING_ONE = Layout("fuse_removemapping_one", RemovemappingOne)
