"""How many bytes of payload a reply without an error may have, by operation and request, and how many there were.

The kernel wants the operation's ``out_args`` whole, but for the last one where it is of variable size
(``fuse_copy_out_args()`` of ``fs/fuse/dev.c``); the structures are those of :mod:`furtrace.wire.bodies`.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from furtrace.model.requests import IN_SLOT, Requests_
from furtrace.wire.bodies import REPLIES, REQUESTS
from furtrace.wire.files import IOCTL_IN, IOCTL_OUT, READ_IN, WRITE_IN
from furtrace.wire.layout import Layout
from furtrace.wire.opcodes import Opcode
from furtrace.wire.xattrs import GETXATTR_IN, GETXATTR_OUT, SETXATTR_IN_COMPAT

Sizes = npt.NDArray[np.int64]
Opcodes = npt.NDArray[np.uint32]


def _offset(layout: Layout[Any], name: str) -> int:
    """Where a member is."""
    return next(member.offset for member in layout.members if member.name == name)


_ANY: Final = 1 << 40  # no bound that is known
_CODES: Final = 256
_READERS: Final = (Opcode.READ, Opcode.READDIR, Opcode.READDIRPLUS)
_SIZE_IN_READ: Final = _offset(READ_IN, "size")
_ASKERS: Final = (Opcode.GETXATTR, Opcode.LISTXATTR)
_SIZE_IN_IOCTL: Final = _offset(IOCTL_IN, "out_size")
_UNSURE: Final = (Opcode.INIT, Opcode.CUSE_INIT, Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT)


def _fixed() -> tuple[Sizes, Sizes]:
    """Least and most by opcode, as far as the request has no part in it."""
    least, most = np.zeros(_CODES, np.int64), np.full(_CODES, _ANY, np.int64)
    for opcode in REQUESTS:
        if opcode in _UNSURE:
            continue
        body = REPLIES.get(opcode)
        size = sum(layout.size for layout in body.structures) if body else 0
        least[opcode] = size
        if body is None or body.rest is None:
            most[opcode] = size
    return least, most


_LEAST, _MOST = _fixed()


def reply_sizes(rows: Requests_) -> tuple[Sizes, Sizes]:
    """The least and the most bytes of payload, for each request; what is not known bounds nothing."""
    opcodes = np.minimum(rows["opcode"], _CODES - 1)
    least, most = _LEAST[opcodes], _MOST[opcodes]
    _by_request(rows, opcodes, _READERS, _SIZE_IN_READ, most)
    _by_request(rows, opcodes, (Opcode.IOCTL,), _SIZE_IN_IOCTL, most, besides=IOCTL_OUT.size)
    _by_request(rows, opcodes, _ASKERS, _offset(GETXATTR_IN, "size"), most)
    size_only = np.isin(opcodes, _ASKERS) & (most == 0)
    least[size_only] = most[size_only] = GETXATTR_OUT.size
    return least, most


def _by_request(
    rows: Requests_, opcodes: Opcodes, which: tuple[Opcode, ...], offset: int, most: Sizes, besides: int = 0
) -> None:
    """Where the operation's structure says how much was asked for."""
    at = np.flatnonzero(np.isin(opcodes, which) & (rows["operation_size"] >= offset + 4))
    most[at] = _member(rows, at, offset) + besides


def _member(rows: Requests_, at: npt.NDArray[np.intp], offset: int) -> Sizes:
    """A member of 32 bits of the operation's structure."""
    structures = np.ascontiguousarray(rows["operation"][at])
    heads = structures.view(np.uint8).reshape(len(at), structures.dtype.itemsize)
    return np.ascontiguousarray(heads[:, offset : offset + 4]).view("<u4")[:, 0].astype(np.int64)


_SENDERS: Final = ((Opcode.WRITE, _offset(WRITE_IN, "size")), (Opcode.SETXATTR, _offset(SETXATTR_IN_COMPAT, "size")))


def payload_sizes(rows: Requests_) -> Sizes:
    """Bytes that each request had in its payload buffer: of the request or of the reply, whichever were more.

    Of what a request brings, names and the data of WRITE and SETXATTR are counted. Data of a zero-copied one is in the
    client's pages.
    """
    sent = rows["name_size"].astype(np.int64)
    for opcode, offset in _SENDERS:
        at = np.flatnonzero((rows["opcode"] == opcode) & (rows["operation_size"] >= offset + 4))
        sent[at] += _member(rows, at, offset)
    sizes: Sizes = np.maximum(sent, rows["reply_size"])
    sizes[(rows["flags"] & IN_SLOT) == IN_SLOT] = 0
    return sizes
