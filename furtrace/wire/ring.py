"""The header slot of a ring entry, as it lies in the server's memory: request on the way up, reply on the way down.

Plain and bufpool forms are those of ``include/uapi/linux/fuse.h`` of Linux 6.14 and 7.3, the bufring form that of the
proposal's version 2.
"""

from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from furtrace.wire import meaning
from furtrace.wire.dialect import Dialect
from furtrace.wire.flags import EntFlag, NoFlag
from furtrace.wire.headers import InHeader, OutHeader, parse_in_header, parse_out_header
from furtrace.wire.layout import U16, U32, U64, Buffer, Bytes128, Layout


@dataclass(frozen=True, slots=True)
class EntInOutPlain:
    """``struct fuse_uring_ent_in_out`` of 32 bytes where each entry has its own payload buffer.

    Attributes:
        flags: 0.
        commit_id: names the request in COMMIT_AND_FETCH.
        payload_sz: bytes in the payload buffer; written by the kernel for a request, by the server for a reply.
        padding: 0.
        reserved: 0.

    """

    flags: Annotated[U64, meaning.flags(NoFlag)]
    commit_id: U64
    payload_sz: U32
    padding: U32
    reserved: U64


@dataclass(frozen=True, slots=True)
class EntInOutBufring:
    """``struct fuse_uring_ent_in_out`` of 32 bytes with buffer rings.

    Attributes:
        flags: 0.
        commit_id: names the request in COMMIT_AND_FETCH.
        payload_sz: bytes in the payload buffer; written by both sides.
        buf_id: which payload buffer of the queue's ring: it lies at ``buf_id * buf_size``.
        padding: 0.
        reserved: 0.

    """

    flags: Annotated[U64, meaning.flags(NoFlag)]
    commit_id: U64
    payload_sz: U32
    buf_id: U16
    padding: U16
    reserved: U64


@dataclass(frozen=True, slots=True)
class EntInOutBufpool:
    """``struct fuse_uring_ent_in_out`` of 32 bytes with buffer pools.

    Attributes:
        flags: FUSE_URING_ENT_* (``flags.EntFlag``).
        commit_id: names the request in COMMIT_AND_FETCH.
        payload_sz: payload bytes, those of zero-copied pages included; written by both sides.
        offset: bytes from the start of the queue's pool; 0 is the first buffer, or none at all.
        reserved: 0.

    """

    flags: Annotated[U64, meaning.flags(EntFlag)]
    commit_id: U64
    payload_sz: U32
    offset: Annotated[U32, lambda value, _: "" if value else "the first buffer, or none at all"]
    reserved: U64


@dataclass(frozen=True, slots=True)
class _ReqHeader:
    in_out: Bytes128
    op_in: Bytes128

    def in_header(self) -> InHeader:
        """Read ``in_out`` as the kernel leaves it for the server: a request."""
        return parse_in_header(self.in_out)

    def out_header(self) -> OutHeader:
        """Read ``in_out`` as the server leaves it for the kernel: a reply."""
        return parse_out_header(self.in_out)


@dataclass(frozen=True, slots=True)
class ReqHeaderPlain(_ReqHeader):
    """``struct fuse_uring_req_header``, 288 bytes, plain.

    Attributes:
        in_out: 128 bytes that begin with the request's or the reply's header.
        op_in: 128 bytes that begin with the operation's first argument (``struct fuse_write_in``, …).
        ring_ent_in_out: what concerns the ring entry.

    """

    ring_ent_in_out: EntInOutPlain


@dataclass(frozen=True, slots=True)
class ReqHeaderBufring(_ReqHeader):
    """``struct fuse_uring_req_header``, 288 bytes, with buffer rings; the attributes are ``ReqHeaderPlain``'s."""

    ring_ent_in_out: EntInOutBufring


@dataclass(frozen=True, slots=True)
class ReqHeaderBufpool(_ReqHeader):
    """``struct fuse_uring_req_header``, 288 bytes, with buffer pools; the attributes are ``ReqHeaderPlain``'s."""

    ring_ent_in_out: EntInOutBufpool


EntInOut: TypeAlias = EntInOutPlain | EntInOutBufring | EntInOutBufpool
ReqHeader: TypeAlias = ReqHeaderPlain | ReqHeaderBufring | ReqHeaderBufpool

ENT_IN_OUT_PLAIN = Layout("fuse_uring_ent_in_out", EntInOutPlain)
ENT_IN_OUT_BUFRING = Layout("fuse_uring_ent_in_out", EntInOutBufring)
ENT_IN_OUT_BUFPOOL = Layout("fuse_uring_ent_in_out", EntInOutBufpool)
REQ_HEADER_PLAIN = Layout("fuse_uring_req_header", ReqHeaderPlain)
REQ_HEADER_BUFRING = Layout("fuse_uring_req_header", ReqHeaderBufring)
REQ_HEADER_BUFPOOL = Layout("fuse_uring_req_header", ReqHeaderBufpool)

_ENT_IN_OUT: dict[Dialect, Layout[EntInOutPlain] | Layout[EntInOutBufring] | Layout[EntInOutBufpool]] = {
    Dialect.PLAIN: ENT_IN_OUT_PLAIN,
    Dialect.BUFRING: ENT_IN_OUT_BUFRING,
    Dialect.BUFPOOL: ENT_IN_OUT_BUFPOOL,
}
_REQ_HEADER: dict[Dialect, Layout[ReqHeaderPlain] | Layout[ReqHeaderBufring] | Layout[ReqHeaderBufpool]] = {
    Dialect.PLAIN: REQ_HEADER_PLAIN,
    Dialect.BUFRING: REQ_HEADER_BUFRING,
    Dialect.BUFPOOL: REQ_HEADER_BUFPOOL,
}


def ent_in_out(dialect: Dialect) -> Layout[Any]:
    """Return the layout of the entry's own part of a header slot."""
    return _ENT_IN_OUT[dialect]


def parse_ent_in_out(data: Buffer, dialect: Dialect) -> EntInOut:
    """Read the entry's own part of a header slot, by itself.

    Raises:
        DecodeError: fewer than 32 bytes.

    """
    return _ENT_IN_OUT[dialect].parse(data)


def parse_req_header(data: Buffer, dialect: Dialect) -> ReqHeader:
    """Read a whole header slot.

    Raises:
        DecodeError: fewer than 288 bytes.

    """
    return _REQ_HEADER[dialect].parse(data)
