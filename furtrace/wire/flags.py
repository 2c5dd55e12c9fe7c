"""Names of the protocol's flags (``include/uapi/linux/fuse.h`` of Linux 7.3, protocol 7.46).

Members are the header's macros without the prefix that each class names. Flags that the protocol passes on from
system calls are in ``vfs``.
"""

from collections.abc import Callable
from enum import IntFlag
from functools import cache
from typing import Final, TypeVar

from furtrace.wire.dialect import Dialect
from furtrace.wire.opcodes import UringCommand

_PREFIXES: dict[type[IntFlag], str] = {}
_Flags = TypeVar("_Flags", bound=type[IntFlag])


def prefixed(prefix: str) -> Callable[[_Flags], _Flags]:
    """Say what the macros of a class of flags begin with in C."""

    def note(kind: _Flags) -> _Flags:
        _PREFIXES[kind] = prefix
        return kind

    return note


@prefixed("FUSE_")
class InitFlag(IntFlag):
    """``FUSE_*`` of the INIT request and reply; bits 32 and up travel in ``flags2``."""

    ASYNC_READ = 1 << 0
    POSIX_LOCKS = 1 << 1
    FILE_OPS = 1 << 2
    ATOMIC_O_TRUNC = 1 << 3
    EXPORT_SUPPORT = 1 << 4
    BIG_WRITES = 1 << 5
    DONT_MASK = 1 << 6
    SPLICE_WRITE = 1 << 7
    SPLICE_MOVE = 1 << 8
    SPLICE_READ = 1 << 9
    FLOCK_LOCKS = 1 << 10
    HAS_IOCTL_DIR = 1 << 11
    AUTO_INVAL_DATA = 1 << 12
    DO_READDIRPLUS = 1 << 13
    READDIRPLUS_AUTO = 1 << 14
    ASYNC_DIO = 1 << 15
    WRITEBACK_CACHE = 1 << 16
    NO_OPEN_SUPPORT = 1 << 17
    PARALLEL_DIROPS = 1 << 18
    HANDLE_KILLPRIV = 1 << 19
    POSIX_ACL = 1 << 20
    ABORT_ERROR = 1 << 21
    MAX_PAGES = 1 << 22
    CACHE_SYMLINKS = 1 << 23
    NO_OPENDIR_SUPPORT = 1 << 24
    EXPLICIT_INVAL_DATA = 1 << 25
    MAP_ALIGNMENT = 1 << 26
    SUBMOUNTS = 1 << 27
    HANDLE_KILLPRIV_V2 = 1 << 28
    SETXATTR_EXT = 1 << 29
    INIT_EXT = 1 << 30
    INIT_RESERVED = 1 << 31
    SECURITY_CTX = 1 << 32
    HAS_INODE_DAX = 1 << 33
    CREATE_SUPP_GROUP = 1 << 34
    HAS_EXPIRE_ONLY = 1 << 35
    DIRECT_IO_ALLOW_MMAP = 1 << 36
    PASSTHROUGH = 1 << 37
    NO_EXPORT_SUPPORT = 1 << 38
    HAS_RESEND = 1 << 39
    ALLOW_IDMAP = 1 << 40
    OVER_IO_URING = 1 << 41
    REQUEST_TIMEOUT = 1 << 42
    HAS_IO_URING_BUFPOOL = 1 << 43


@prefixed("FUSE_URING_")
class QueueFlag(IntFlag):
    """``FUSE_URING_*`` of the bufpool form, on ADD_QUEUE."""

    ZERO_COPY = 1 << 0


@prefixed("FUSE_URING_")
class BufringFlag(IntFlag):
    """``FUSE_URING_*`` of the bufring form."""

    BUF_RING = 1 << 0
    PINNED_HEADERS = 1 << 1
    PINNED_BUFFERS = 1 << 2
    ZERO_COPY = 1 << 3


@prefixed("FUSE_URING_ENT_")
class EntFlag(IntFlag):
    """``FUSE_URING_ENT_*`` of the bufpool form, in ``fuse_uring_ent_in_out``."""

    ZERO_COPY = 1 << 0


@prefixed("FATTR_")
class SetattrValid(IntFlag):
    """``FATTR_*`` in ``fuse_setattr_in.valid``: which attributes to set."""

    MODE = 1 << 0
    UID = 1 << 1
    GID = 1 << 2
    SIZE = 1 << 3
    ATIME = 1 << 4
    MTIME = 1 << 5
    FH = 1 << 6
    ATIME_NOW = 1 << 7
    MTIME_NOW = 1 << 8
    LOCKOWNER = 1 << 9
    CTIME = 1 << 10
    KILL_SUIDGID = 1 << 11


@prefixed("FOPEN_")
class OpenReplyFlag(IntFlag):
    """``FOPEN_*`` in ``fuse_open_out.open_flags``: what the server says of a file that it has opened."""

    DIRECT_IO = 1 << 0
    KEEP_CACHE = 1 << 1
    NONSEEKABLE = 1 << 2
    CACHE_DIR = 1 << 3
    STREAM = 1 << 4
    NOFLUSH = 1 << 5
    PARALLEL_DIRECT_WRITES = 1 << 6
    PASSTHROUGH = 1 << 7
    IO_URING_ZERO_COPY = 1 << 8


@prefixed("FUSE_OPEN_")
class OpenRequestFlag(IntFlag):
    """``FUSE_OPEN_*`` in ``open_flags`` of ``fuse_open_in`` and ``fuse_create_in``."""

    KILL_SUIDGID = 1 << 0


@prefixed("CUSE_")
class CuseFlag(IntFlag):
    """``CUSE_*`` of the CUSE_INIT request and reply."""

    UNRESTRICTED_IOCTL = 1 << 0


@prefixed("FUSE_RELEASE_")
class ReleaseFlag(IntFlag):
    """``FUSE_RELEASE_*`` in ``fuse_release_in.release_flags``."""

    FLUSH = 1 << 0
    FLOCK_UNLOCK = 1 << 1


@prefixed("FUSE_GETATTR_")
class GetattrFlag(IntFlag):
    """``FUSE_GETATTR_*`` in ``getattr_flags`` of ``fuse_getattr_in`` and ``fuse_statx_in``."""

    FH = 1 << 0


@prefixed("FUSE_LK_")
class LockFlag(IntFlag):
    """``FUSE_LK_*`` in ``fuse_lk_in.lk_flags``."""

    FLOCK = 1 << 0


@prefixed("FUSE_WRITE_")
class WriteFlag(IntFlag):
    """``FUSE_WRITE_*`` in ``fuse_write_in.write_flags``."""

    CACHE = 1 << 0
    LOCKOWNER = 1 << 1
    KILL_SUIDGID = 1 << 2


@prefixed("FUSE_READ_")
class ReadFlag(IntFlag):
    """``FUSE_READ_*`` in ``fuse_read_in.read_flags``."""

    LOCKOWNER = 1 << 1


# Not as a class: "32BIT" is no name in Python.
IoctlFlag = IntFlag(
    "IoctlFlag",
    {"COMPAT": 1 << 0, "UNRESTRICTED": 1 << 1, "RETRY": 1 << 2, "32BIT": 1 << 3, "DIR": 1 << 4, "COMPAT_X32": 1 << 5},
)
"""``FUSE_IOCTL_*`` in ``flags`` of ``fuse_ioctl_in`` and ``fuse_ioctl_out``."""
prefixed("FUSE_IOCTL_")(IoctlFlag)


@prefixed("FUSE_POLL_")
class PollFlag(IntFlag):
    """``FUSE_POLL_*`` in ``fuse_poll_in.flags``."""

    SCHEDULE_NOTIFY = 1 << 0


@prefixed("FUSE_FSYNC_")
class FsyncFlag(IntFlag):
    """``FUSE_FSYNC_*`` in ``fuse_fsync_in.fsync_flags``."""

    FDATASYNC = 1 << 0


@prefixed("FUSE_ATTR_")
class AttrFlag(IntFlag):
    """``FUSE_ATTR_*`` in ``fuse_attr.flags``."""

    SUBMOUNT = 1 << 0
    DAX = 1 << 1


@prefixed("FUSE_SETXATTR_")
class SetxattrFlag(IntFlag):
    """``FUSE_SETXATTR_*`` in ``fuse_setxattr_in.setxattr_flags``."""

    ACL_KILL_SGID = 1 << 0


@prefixed("FUSE_")
class InvalEntryFlag(IntFlag):
    """``FUSE_*`` in ``fuse_notify_inval_entry_out.flags``."""

    EXPIRE_ONLY = 1 << 0


@prefixed("FUSE_SETUPMAPPING_FLAG_")
class SetupMappingFlag(IntFlag):
    """``FUSE_SETUPMAPPING_FLAG_*`` in ``fuse_setupmapping_in.flags``."""

    WRITE = 1 << 0
    READ = 1 << 1


class NoFlag(IntFlag):
    """Where the protocol has no flags: whatever is set is unknown."""


U32_BITS: Final = 32


def init_flag_bits(flags: int, flags2: int) -> int:
    """Return INIT's two words as one set of 64 bits, the way the kernel reads them (``process_init_reply``).

    ``flags2`` counts only if ``flags`` has INIT_EXT.
    """
    return flags | flags2 << U32_BITS if flags & InitFlag.INIT_EXT else flags


@cache
def _names(flags: type[IntFlag]) -> dict[int, str]:
    return {int(flag): name for name, flag in flags.__members__.items()}


def flag_names(value: int, flags: type[IntFlag]) -> tuple[str, ...]:
    """Return the names of the bits set in ``value``, lowest first; a bit without a name is shown as hex."""
    names = _names(flags)
    bits = (1 << index for index in range(value.bit_length()) if value >> index & 1)
    return tuple(names.get(bit) or hex(bit) for bit in bits)


def macros(value: int, flags: type[IntFlag]) -> tuple[str, ...]:
    """As :func:`flag_names`, with the prefix that the names have in C: ``FOPEN_DIRECT_IO``."""
    prefix = _PREFIXES.get(flags, "")
    return tuple(name if name.startswith("0x") else prefix + name for name in flag_names(value, flags))


def init_flag_names(bits: int) -> tuple[str, ...]:
    """Return the names of a set of 64 INIT flags (``init_flag_bits``), lowest bit first."""
    return flag_names(bits, InitFlag)


def cmd_flags(dialect: Dialect, cmd_op: int) -> type[IntFlag]:
    """Return the flags that a command has in ``fuse_uring_cmd_req.flags``."""
    if dialect is Dialect.BUFRING:
        return BufringFlag
    return QueueFlag if dialect is Dialect.BUFPOOL and cmd_op == UringCommand.ADD_QUEUE else NoFlag


def cmd_flag_names(value: int, dialect: Dialect, cmd_op: int) -> tuple[str, ...]:
    """Return the names of ``fuse_uring_cmd_req.flags``; flags that this command does not have are shown as hex."""
    return flag_names(value, cmd_flags(dialect, cmd_op))


def ent_flag_names(value: int, dialect: Dialect) -> tuple[str, ...]:
    """Return the names of ``fuse_uring_ent_in_out.flags``; flags that the dialect does not have are shown as hex."""
    return flag_names(value, EntFlag if dialect is Dialect.BUFPOOL else NoFlag)
