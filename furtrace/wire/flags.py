"""Names of the protocol's flags (``include/uapi/linux/fuse.h`` of Linux 7.3, protocol 7.46).

Members are the header's macros without their prefix (``FUSE_``, ``FUSE_URING_``, ``FUSE_URING_ENT_``).
"""

from enum import IntFlag
from typing import Final

from furtrace.wire.dialect import Dialect
from furtrace.wire.opcodes import UringCommand


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


class QueueFlag(IntFlag):
    """``FUSE_URING_*`` of the bufpool form, on ADD_QUEUE."""

    ZERO_COPY = 1 << 0


class BufringFlag(IntFlag):
    """``FUSE_URING_*`` of the bufring form."""

    BUF_RING = 1 << 0
    PINNED_HEADERS = 1 << 1
    PINNED_BUFFERS = 1 << 2
    ZERO_COPY = 1 << 3


class EntFlag(IntFlag):
    """``FUSE_URING_ENT_*`` of the bufpool form, in ``fuse_uring_ent_in_out``."""

    ZERO_COPY = 1 << 0


class NoFlag(IntFlag):
    """Where the protocol has no flags: whatever is set is unknown."""


U32_BITS: Final = 32


def init_flag_bits(flags: int, flags2: int) -> int:
    """Return INIT's two words as one set of 64 bits, the way the kernel reads them (``process_init_reply``).

    ``flags2`` counts only if ``flags`` has INIT_EXT.
    """
    return flags | flags2 << U32_BITS if flags & InitFlag.INIT_EXT else flags


def flag_names(value: int, flags: type[IntFlag]) -> tuple[str, ...]:
    """Return the names of the bits set in ``value``, lowest first; a bit without a name is shown as hex."""
    names = {int(flag): name for name, flag in flags.__members__.items()}
    bits = (1 << index for index in range(value.bit_length()) if value >> index & 1)
    return tuple(names.get(bit) or hex(bit) for bit in bits)


def init_flag_names(bits: int) -> tuple[str, ...]:
    """Return the names of a set of 64 INIT flags (``init_flag_bits``), lowest bit first."""
    return flag_names(bits, InitFlag)


def cmd_flag_names(value: int, dialect: Dialect, cmd_op: int) -> tuple[str, ...]:
    """Return the names of ``fuse_uring_cmd_req.flags``; flags that this command does not have are shown as hex."""
    if dialect is Dialect.BUFRING:
        return flag_names(value, BufringFlag)
    if dialect is Dialect.BUFPOOL and cmd_op == UringCommand.ADD_QUEUE:
        return flag_names(value, QueueFlag)
    return flag_names(value, NoFlag)


def ent_flag_names(value: int, dialect: Dialect) -> tuple[str, ...]:
    """Return the names of ``fuse_uring_ent_in_out.flags``; flags that the dialect does not have are shown as hex."""
    return flag_names(value, EntFlag if dialect is Dialect.BUFPOOL else NoFlag)
