"""Zero-copy: whether a request's data was copied although the server asked for zero-copy, and why."""

from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from furtrace.model.requests import Requests_
from furtrace.trace.record import Flag, Transport
from furtrace.wire.opcodes import Opcode


class CopiedBecause(IntEnum):
    """Why the data of a request went through a buffer.

    NOT_APPLICABLE: nobody asked for zero-copy, neither when the queue was made nor when the file was opened.
    ZERO_COPIED: it did not. FILE: the file was not opened with ``FOPEN_IO_URING_ZERO_COPY``. QUEUE: the queue was not
    made with ``FUSE_URING_ZERO_COPY``. OPERATION: it is neither READ nor WRITE. NO_PAGES: it has no data in pages.
    UNKNOWN: no event told of its queue.
    """

    NOT_APPLICABLE = 0
    ZERO_COPIED = 1
    FILE = 2
    QUEUE = 3
    OPERATION = 4
    NO_PAGES = 5
    UNKNOWN = 6


def copied_because(rows: Requests_) -> npt.NDArray[np.uint8]:
    """Why each request's data was copied: a :class:`CopiedBecause` for each.

    The kernel asks it in ``can_zero_copy_req()`` of ``fs/fuse/dev_uring.c`` (Linux 7.3): a queue made for zero-copy, a
    file opened for it, READ or WRITE, data in pages. Of several reasons the one is named that explains most: an
    operation that can't be zero-copied at all comes before what the server could do about it.
    """
    flags, opcodes = rows["flags"], rows["opcode"]
    queue, file = (flags & Flag.QUEUE_ZERO_COPY) != 0, (flags & Flag.FILE_ZERO_COPY) != 0
    told = (rows["delivered_ns"] != 0) | (rows["committed_ns"] != 0)
    told &= rows["entry"] != 0
    # In this order: the first that holds.
    reasons = {
        CopiedBecause.ZERO_COPIED: (flags & Flag.ZERO_COPIED) != 0,
        CopiedBecause.NOT_APPLICABLE: (rows["transport"] == Transport.DEV) | (told & ~queue & ~file),
        CopiedBecause.UNKNOWN: ~told,
        CopiedBecause.NO_PAGES: (flags & Flag.HAS_PAGES) == 0,
        CopiedBecause.OPERATION: ~np.isin(opcodes, _ZERO_COPYABLE),
        CopiedBecause.QUEUE: ~queue,
        CopiedBecause.FILE: ~file,
    }
    found: npt.NDArray[np.uint8] = np.select(
        list(reasons.values()), [np.uint8(reason) for reason in reasons], np.uint8(CopiedBecause.UNKNOWN)
    )
    return found


_ZERO_COPYABLE: Final = (Opcode.READ, Opcode.WRITE)
