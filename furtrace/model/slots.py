"""Header slots as they lie in a server's memory while it has a request."""

import struct
from dataclasses import dataclass
from typing import Final

from furtrace.model.snapshot import Request
from furtrace.trace.record import HEADER_SIZE, PAYLOAD_SIZE_OFFSET

_HEAD: Final = struct.Struct("=IiQ")  # fuse_out_header; fuse_in_header has len, opcode and unique in the same places
_PAYLOAD: Final = struct.Struct("=I")


@dataclass(frozen=True)
class Reply:
    """A reply that lies in a header slot and was not committed. ``payload_size``: bytes, as the server says."""

    error: int
    length: int
    payload_size: int


def reply_in(header: bytes, request: Request) -> Reply | None:
    """The reply to the request that the slot's entry has; None: the request still lies there, or something else.

    A reply begins with ``fuse_out_header``: the request's unique, and an error that is 0 or negative. Where the kernel
    put the request there is its opcode, which is neither (include/uapi/linux/fuse.h).

    Args:
        header: ``fuse_uring_req_header``, 288 bytes.
        request: which the entry has.
    """
    if len(header) < HEADER_SIZE:
        return None
    length, error, unique = _HEAD.unpack_from(header)
    if unique != request.unique or error > 0:
        return None
    (payload_size,) = _PAYLOAD.unpack_from(header, PAYLOAD_SIZE_OFFSET)
    return Reply(error, length, payload_size)
