"""Flags and numbers of Linux's system calls that the protocol passes on as they are.

Members are the macros without the prefix that each class names. Their numbers are those of x86-64; where another
machine's differ, that is said.
"""

import platform
from enum import IntEnum, IntFlag
from typing import Final

from furtrace.wire.flags import flag_names, prefixed

ACCESS_MODE: Final = 3
"""The two lowest bits of open(2)'s flags (``O_ACCMODE``): a number, no flags."""
_ACCESS_MODES: Final = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")


class OpenFlag(IntFlag):
    """``O_*`` of open(2) (``include/uapi/asm-generic/fcntl.h``), and ``FMODE_EXEC`` that execve(2) opens with."""

    FMODE_EXEC = 0o40
    O_CREAT = 0o100
    O_EXCL = 0o200
    O_NOCTTY = 0o400
    O_TRUNC = 0o1000
    O_APPEND = 0o2000
    O_NONBLOCK = 0o4000
    O_DSYNC = 0o10000
    FASYNC = 0o20000
    O_DIRECT = 0o40000
    O_LARGEFILE = 0o100000
    O_DIRECTORY = 0o200000
    O_NOFOLLOW = 0o400000
    O_NOATIME = 0o1000000
    O_CLOEXEC = 0o2000000
    O_SYNC = 0o4000000  # __O_SYNC; O_SYNC is this and O_DSYNC
    O_PATH = 0o10000000
    O_TMPFILE = 0o20000000  # __O_TMPFILE; O_TMPFILE is this and O_DIRECTORY
    O_EMPTYPATH = 0o400000000


class ArmOpenFlag(IntFlag):
    """The four of ``OpenFlag`` that differ on 32 and 64-bit Arm (``arch/arm64/include/uapi/asm/fcntl.h``)."""

    O_DIRECTORY = 0o40000
    O_NOFOLLOW = 0o100000
    O_DIRECT = 0o200000
    O_LARGEFILE = 0o400000


_IS_ARM: Final = platform.machine().startswith(("aarch64", "arm"))


def open_flag_names(value: int, *, arm: bool = _IS_ARM) -> tuple[str, ...]:
    """Return the names of open(2)'s flags as this machine numbers them: the access mode, then the bits, lowest first.

    ``O_SYNC`` is shown for its two bits together, as a client writes it.
    """
    rest = value & ~ACCESS_MODE
    if rest & OpenFlag.O_SYNC:
        rest &= ~OpenFlag.O_DSYNC
    if arm:
        differing = sum(ArmOpenFlag)
        names = flag_names(rest & ~differing, OpenFlag) + flag_names(rest & differing, ArmOpenFlag)
    else:
        names = flag_names(rest, OpenFlag)
    return (_ACCESS_MODES[value & ACCESS_MODE], *names)


class AccessMask(IntFlag):
    """``*_OK`` of access(2); 0 is F_OK."""

    X_OK = 1
    W_OK = 2
    R_OK = 4


@prefixed("RENAME_")
class RenameFlag(IntFlag):
    """``RENAME_*`` of renameat2(2) (``include/uapi/linux/fs.h``)."""

    NOREPLACE = 1 << 0
    EXCHANGE = 1 << 1
    WHITEOUT = 1 << 2


@prefixed("XATTR_")
class XattrFlag(IntFlag):
    """``XATTR_*`` of setxattr(2) (``include/uapi/linux/xattr.h``)."""

    CREATE = 1
    REPLACE = 2


@prefixed("FALLOC_FL_")
class FallocateFlag(IntFlag):
    """``FALLOC_FL_*`` of fallocate(2) (``include/uapi/linux/falloc.h``)."""

    KEEP_SIZE = 0x01
    PUNCH_HOLE = 0x02
    NO_HIDE_STALE = 0x04
    COLLAPSE_RANGE = 0x08
    ZERO_RANGE = 0x10
    INSERT_RANGE = 0x20
    UNSHARE_RANGE = 0x40
    WRITE_ZEROES = 0x80


@prefixed("STATX_")
class StatxMask(IntFlag):
    """``STATX_*`` of statx(2) (``include/uapi/linux/stat.h``): which fields are asked for, or filled."""

    TYPE = 0x1
    MODE = 0x2
    NLINK = 0x4
    UID = 0x8
    GID = 0x10
    ATIME = 0x20
    MTIME = 0x40
    CTIME = 0x80
    INO = 0x100
    SIZE = 0x200
    BLOCKS = 0x400
    BTIME = 0x800
    MNT_ID = 0x1000
    DIOALIGN = 0x2000
    MNT_ID_UNIQUE = 0x4000
    SUBVOL = 0x8000
    WRITE_ATOMIC = 0x10000
    DIO_READ_ALIGN = 0x20000


@prefixed("STATX_ATTR_")
class StatxAttribute(IntFlag):
    """``STATX_ATTR_*`` of statx(2)."""

    COMPRESSED = 0x4
    IMMUTABLE = 0x10
    APPEND = 0x20
    NODUMP = 0x40
    ENCRYPTED = 0x800
    AUTOMOUNT = 0x1000
    MOUNT_ROOT = 0x2000
    VERITY = 0x100000
    DAX = 0x200000
    WRITE_ATOMIC = 0x400000


@prefixed("AT_")
class StatxFlag(IntFlag):
    """``AT_STATX_*`` and the like of statx(2) (``include/uapi/linux/fcntl.h``)."""

    SYMLINK_NOFOLLOW = 0x100
    NO_AUTOMOUNT = 0x800
    EMPTY_PATH = 0x1000
    STATX_FORCE_SYNC = 0x2000
    STATX_DONT_SYNC = 0x4000


class PollEvent(IntFlag):
    """``POLL*`` of poll(2) (``include/uapi/asm-generic/poll.h``)."""

    POLLIN = 0x1
    POLLPRI = 0x2
    POLLOUT = 0x4
    POLLERR = 0x8
    POLLHUP = 0x10
    POLLNVAL = 0x20
    POLLRDNORM = 0x40
    POLLRDBAND = 0x80
    POLLWRNORM = 0x100
    POLLWRBAND = 0x200
    POLLMSG = 0x400
    POLLREMOVE = 0x1000
    POLLRDHUP = 0x2000


class Whence(IntEnum):
    """``SEEK_*`` of lseek(2)."""

    SEEK_SET = 0
    SEEK_CUR = 1
    SEEK_END = 2
    SEEK_DATA = 3
    SEEK_HOLE = 4


class LockType(IntEnum):
    """``F_*`` of fcntl(2)'s locks."""

    F_RDLCK = 0
    F_WRLCK = 1
    F_UNLCK = 2


class DirentType(IntEnum):
    """``DT_*`` of getdents(2): the file type of a mode, shifted right by 12."""

    DT_UNKNOWN = 0
    DT_FIFO = 1
    DT_CHR = 2
    DT_DIR = 4
    DT_BLK = 6
    DT_REG = 8
    DT_LNK = 10
    DT_SOCK = 12
    DT_WHT = 14
