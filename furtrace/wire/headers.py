"""The headers that every request and every reply begins with (``include/uapi/linux/fuse.h``)."""

from dataclasses import dataclass
from typing import Annotated, Final

from furtrace.wire import meaning
from furtrace.wire.layout import I32, U16, U32, U64, Buffer, Layout
from furtrace.wire.opcodes import opcode_name

UNIQUE_RESEND: Final = 1 << 63
"""FUSE_UNIQUE_RESEND: a bit of ``unique``, set in a request that is sent again."""
INVALID_ID: Final = 0xFFFFFFFF
"""FUSE_INVALID_UIDGID."""


def _unique(value: int, _: object) -> str:
    return f"{value & ~UNIQUE_RESEND}, sent again" if value & UNIQUE_RESEND else ""


def _owner(value: int, _: object) -> str:
    return "none: not mapped" if value == INVALID_ID else ""


@dataclass(frozen=True, slots=True)
class InHeader:
    """``struct fuse_in_header``, 40 bytes: the head of a request.

    Attributes:
        len: bytes of the whole request, this header included.
        opcode: ``enum fuse_opcode``.
        unique: names the request; bit 63 marks one that is sent again (FUSE_UNIQUE_RESEND).
        nodeid: the inode that the request is about, as the server numbered it; 1 is the root.
        uid: the client's, 0xffffffff where an idmapped mount has none.
        gid: the same of its group.
        pid: the client's, in the server's PID namespace; 0 for the kernel itself or a process outside of it.
        total_extlen: length of the extensions after the arguments, in units of 8 bytes.
        padding: 0.

    """

    len: U32
    opcode: Annotated[U32, lambda value, _: opcode_name(value)]
    unique: Annotated[U64, _unique]
    nodeid: Annotated[U64, meaning.node]
    uid: Annotated[U32, _owner]
    gid: Annotated[U32, _owner]
    pid: U32
    total_extlen: Annotated[U16, lambda value, _: f"{8 * value} bytes" if value else ""]
    padding: U16


@dataclass(frozen=True, slots=True)
class OutHeader:
    """``struct fuse_out_header``, 16 bytes: the head of a reply.

    Attributes:
        len: bytes of the whole reply, this header included.
        error: 0 or a negated errno; for a notification (``unique`` 0) its code.
        unique: the request's.

    """

    len: U32
    error: Annotated[I32, meaning.error]
    unique: U64


IN_HEADER = Layout("fuse_in_header", InHeader)
OUT_HEADER = Layout("fuse_out_header", OutHeader)


def parse_in_header(data: Buffer) -> InHeader:
    """Read the request header at the start of ``data``.

    Raises:
        DecodeError: fewer than 40 bytes.

    """
    return IN_HEADER.parse(data)


def parse_out_header(data: Buffer) -> OutHeader:
    """Read the reply header at the start of ``data``.

    Raises:
        DecodeError: fewer than 16 bytes.

    """
    return OUT_HEADER.parse(data)
