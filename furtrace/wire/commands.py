"""``struct fuse_uring_cmd_req``: what a server's command brings in the 80-byte command area of its SQE.

Plain and bufpool forms are those of ``include/uapi/linux/fuse.h`` of Linux 6.14 and 7.3, the bufring form that of the
proposal's version 2. Linux 7.3 has a union at byte 24; each command has a class here with the member it uses.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias

from furtrace.wire import meaning
from furtrace.wire.dialect import Dialect
from furtrace.wire.flags import BufringFlag
from furtrace.wire.layout import U16, U32, U64, Buffer, Bytes6, Layout
from furtrace.wire.opcodes import UringCommand

CMD_AREA_SIZE: Final = 80
"""Bytes of the command area of an SQE of 128 bytes (IORING_SETUP_SQE128); it starts at byte 48."""


@dataclass(frozen=True, slots=True)
class CmdReq:
    """The 24 bytes that all commands of the plain and bufpool forms have.

    Attributes:
        flags: FUSE_URING_*; which there are depends on dialect and command (``flags.cmd_flag_names``).
        commit_id: the request that COMMIT_AND_FETCH answers.
        qid: index of the queue.
        padding: 0.

    """

    flags: U64
    commit_id: U64
    qid: U16
    padding: Bytes6


@dataclass(frozen=True, slots=True)
class CmdReqRegister(CmdReq):
    """REGISTER of the bufpool form, 26 bytes: ``CmdReq`` and the union's second member.

    Attributes:
        ent_zero_copy_buf_index: slot of the server's registered buffers where this entry's pages appear; 0 on a
            queue without zero-copy.

    """

    ent_zero_copy_buf_index: U16


@dataclass(frozen=True, slots=True)
class Bufpool:
    """The union's first member, 16 bytes.

    Attributes:
        uaddr: the pool's address in the server's memory.
        len: its bytes.
        reserved: 0.

    """

    uaddr: Annotated[U64, meaning.hexadecimal]
    len: U32
    reserved: U32


@dataclass(frozen=True, slots=True)
class CmdReqAddBufpool(CmdReq):
    """ADD_BUFPOOL, 40 bytes: ``CmdReq`` and the union's first member.

    Attributes:
        bufpool: the pool to add.

    """

    bufpool: Bufpool


@dataclass(frozen=True, slots=True)
class BufringInit:
    """What the first REGISTER of a queue says about its buffer ring, 8 bytes.

    Attributes:
        buf_size: bytes of each payload buffer.
        queue_depth: number of entries.
        padding: 0.

    """

    buf_size: U32
    queue_depth: U16
    padding: U16


@dataclass(frozen=True, slots=True)
class CmdReqBufring:
    """Any command of the bufring form, 28 bytes.

    Attributes:
        flags: FUSE_URING_* (``flags.BufringFlag``).
        commit_id: the request that COMMIT_AND_FETCH answers.
        qid: index of the queue.
        padding: 0.
        init: of REGISTER.

    """

    flags: Annotated[U64, meaning.flags(BufringFlag)]
    commit_id: U64
    qid: U16
    padding: U16
    init: BufringInit


AnyCmdReq: TypeAlias = CmdReq | CmdReqBufring

CMD_REQ = Layout("fuse_uring_cmd_req", CmdReq)
CMD_REQ_REGISTER = Layout("fuse_uring_cmd_req", CmdReqRegister)
CMD_REQ_ADD_BUFPOOL = Layout("fuse_uring_cmd_req", CmdReqAddBufpool)
CMD_REQ_BUFRING = Layout("fuse_uring_cmd_req", CmdReqBufring)


def cmd_req(dialect: Dialect, cmd_op: int) -> Layout[Any]:
    """Return the layout of a command: for the bufpool form that of the union's member which it uses."""
    if dialect is Dialect.BUFRING:
        return CMD_REQ_BUFRING
    if dialect is Dialect.BUFPOOL and cmd_op == UringCommand.REGISTER:
        return CMD_REQ_REGISTER
    if dialect is Dialect.BUFPOOL and cmd_op == UringCommand.ADD_BUFPOOL:
        return CMD_REQ_ADD_BUFPOOL
    return CMD_REQ


def parse_cmd_req(data: Buffer, dialect: Dialect, cmd_op: int) -> AnyCmdReq:
    """Read the command area of an SQE whose ``cmd_op`` is given.

    Returns:
        ``CmdReqBufring`` for the bufring form. For the bufpool form ``CmdReqRegister`` or ``CmdReqAddBufpool`` where
        the command has one. ``CmdReq`` for everything else, commands that are not known included.

    Raises:
        DecodeError: the area is shorter than the structure.

    """
    command: AnyCmdReq = cmd_req(dialect, cmd_op).parse(data)
    return command
