"""A submission queue entry of io_uring, as FUSE servers use it (``include/uapi/linux/io_uring.h`` of Linux 7.3)."""

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Annotated, Final

from furtrace.wire import meaning
from furtrace.wire.flags import prefixed
from furtrace.wire.layout import I32, U8, U16, U32, U64, Layout
from furtrace.wire.opcodes import UringCommand

SQE_SIZE: Final = 128
"""Bytes of an SQE with IORING_SETUP_SQE128, which FUSE over io_uring needs; 64 without."""
COMMAND_OFFSET: Final = 48
"""Where the command area starts (``io_uring_sqe.cmd``)."""

IoUringOp = IntEnum(
    "IoUringOp",
    [
        "NOP", "READV", "WRITEV", "FSYNC", "READ_FIXED", "WRITE_FIXED", "POLL_ADD", "POLL_REMOVE", "SYNC_FILE_RANGE",
        "SENDMSG", "RECVMSG", "TIMEOUT", "TIMEOUT_REMOVE", "ACCEPT", "ASYNC_CANCEL", "LINK_TIMEOUT", "CONNECT",
        "FALLOCATE", "OPENAT", "CLOSE", "FILES_UPDATE", "STATX", "READ", "WRITE", "FADVISE", "MADVISE", "SEND", "RECV",
        "OPENAT2", "EPOLL_CTL", "SPLICE", "PROVIDE_BUFFERS", "REMOVE_BUFFERS", "TEE", "SHUTDOWN", "RENAMEAT",
        "UNLINKAT", "MKDIRAT", "SYMLINKAT", "LINKAT", "MSG_RING", "FSETXATTR", "SETXATTR", "FGETXATTR", "GETXATTR",
        "SOCKET", "URING_CMD", "SEND_ZC", "SENDMSG_ZC", "READ_MULTISHOT", "WAITID", "FUTEX_WAIT", "FUTEX_WAKE",
        "FUTEX_WAITV", "FIXED_FD_INSTALL", "FTRUNCATE", "BIND", "LISTEN", "RECV_ZC", "EPOLL_WAIT", "READV_FIXED",
        "WRITEV_FIXED", "PIPE", "NOP128", "URING_CMD128",
    ],
    start=0,
)  # fmt: skip
"""``enum io_uring_op``, without its prefix ``IORING_OP_``."""

COMMANDS: Final = frozenset({int(IoUringOp.URING_CMD), int(IoUringOp.URING_CMD128)})
"""Operations whose SQE has a command area."""


@prefixed("IOSQE_")
class SqeFlag(IntFlag):
    """``IOSQE_*``."""

    FIXED_FILE = 1 << 0
    IO_DRAIN = 1 << 1
    IO_LINK = 1 << 2
    IO_HARDLINK = 1 << 3
    ASYNC = 1 << 4
    BUFFER_SELECT = 1 << 5
    CQE_SKIP_SUCCESS = 1 << 6


@prefixed("IORING_URING_CMD_")
class UringCmdFlag(IntFlag):
    """``IORING_URING_CMD_*`` in ``uring_cmd_flags``; FIXED: the buffer pool is the registered buffer ``buf_index``."""

    FIXED = 1 << 0
    MULTISHOT = 1 << 1


@dataclass(frozen=True, slots=True)
class SqeUringCmd:
    """The first 48 bytes of ``struct io_uring_sqe`` of a command; the command area follows.

    Attributes:
        opcode: ``enum io_uring_op``.
        flags: IOSQE_*.
        ioprio: 0.
        fd: of /dev/fuse; with IOSQE_FIXED_FILE an index of the ring's registered files.
        cmd_op: ``enum fuse_uring_cmd``.
        pad1_: ``__pad1``, 0.
        addr: of REGISTER: address of two iovecs, for headers and payload.
        len: of REGISTER: number of those iovecs.
        uring_cmd_flags: IORING_URING_CMD_*.
        user_data: comes back with the CQE.
        buf_index: of the bufring form the entry's id; of the bufpool form with IORING_URING_CMD_FIXED the registered
            buffer that is the pool.
        personality: credentials to use, 0: the submitter's.
        file_index: 0.

    """

    opcode: Annotated[U8, meaning.number_of(IoUringOp)]
    flags: Annotated[U8, meaning.flags(SqeFlag)]
    ioprio: U16
    fd: I32
    cmd_op: Annotated[U32, meaning.number_of(UringCommand)]
    pad1_: U32
    addr: Annotated[U64, meaning.hexadecimal]
    len: U32
    uring_cmd_flags: Annotated[U32, meaning.flags(UringCmdFlag)]
    user_data: Annotated[U64, meaning.hexadecimal]
    buf_index: U16
    personality: U16
    file_index: U32


@dataclass(frozen=True, slots=True)
class SqeOther:
    """The first 48 bytes of ``struct io_uring_sqe`` of an operation that is no command.

    Attributes:
        opcode: ``enum io_uring_op``.
        flags: IOSQE_*.
        ioprio: priority, or flags of the operation.
        fd: the file; with IOSQE_FIXED_FILE an index of the ring's registered files.
        off: offset in the file, for operations that have one.
        addr: address of a buffer; within a registered buffer of zero-copied pages it counts from 0.
        len: bytes, or a number of iovecs.
        rw_flags: flags of the operation.
        user_data: comes back with the CQE.
        buf_index: of READ_FIXED and WRITE_FIXED the registered buffer, such as that of zero-copied pages.
        personality: credentials to use, 0: the submitter's.
        splice_fd_in: of splice(2) and tee(2).

    """

    opcode: Annotated[U8, meaning.number_of(IoUringOp)]
    flags: Annotated[U8, meaning.flags(SqeFlag)]
    ioprio: U16
    fd: I32
    off: U64
    addr: Annotated[U64, meaning.hexadecimal]
    len: U32
    rw_flags: Annotated[U32, meaning.hexadecimal]
    user_data: Annotated[U64, meaning.hexadecimal]
    buf_index: U16
    personality: U16
    splice_fd_in: I32


SQE_URING_CMD = Layout("io_uring_sqe", SqeUringCmd)
SQE_OTHER = Layout("io_uring_sqe", SqeOther)
