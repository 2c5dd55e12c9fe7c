"""How a request's data went: through which buffer of the pool, by which slot for zero-copy, or why it was copied."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from furtrace.model.requests import Requests_
from furtrace.model.zerocopy import CopiedBecause, copied_because
from furtrace.trace.record import Flag
from furtrace.wire.opcodes import Opcode

REASONS: Final = {
    CopiedBecause.FILE: "file not opened for zero-copy",
    CopiedBecause.QUEUE: "queue not made for zero-copy",
    CopiedBecause.OPERATION: "neither READ nor WRITE",
    CopiedBecause.NO_PAGES: "no data in pages",
    CopiedBecause.UNKNOWN: "not known why",
}
"""Why data was copied, in words."""

SHORT: Final = {
    CopiedBecause.FILE: "file",
    CopiedBecause.QUEUE: "queue",
    CopiedBecause.OPERATION: "operation",
    CopiedBecause.UNKNOWN: "unknown",
}
"""The same in a word, without NO_PAGES: those have nothing to be zero-copied."""

_ASKED: Final = int(Flag.QUEUE_ZERO_COPY | Flag.FILE_ZERO_COPY)


def copying(rows: Requests_) -> Iterator[tuple[int, str]]:
    """Yield where a request is on a queue with a pool or with zero-copy, and how its data went.

    As in ``buf=3@98304``, ``slot=2 zero-copied 65536B`` and ``copied: file not opened for zero-copy``.
    """
    special = rows["pooled"] | ((rows["flags"] & _ASKED) != 0)
    if not special.any():
        return
    at = np.flatnonzero(special)
    reasons = copied_because(rows)[at]
    # NO_PAGES is worth a word only where there should be data.
    reasons[(reasons == CopiedBecause.NO_PAGES) & ~np.isin(rows["opcode"][at], _WITH_DATA)] = _UNTOLD
    columns = (rows[name][at].tolist() for name in ("buffer_id", "pool_offset", "slot", "page_bytes", "buffer_waits"))
    for place, reason, buffer, offset, slot, size, waits in zip(at.tolist(), reasons.tolist(), *columns, strict=True):
        words = [f"buf={buffer}@{offset}"] if buffer >= 0 else []
        if reason == CopiedBecause.ZERO_COPIED:
            words.append(_zero_copied(slot, size))
        elif reason in _TOLD:
            words.append(_TOLD[reason])
        if waits:
            words.append(_wait(rows[place]))
        if words:
            yield place, ", ".join(words)


def _zero_copied(slot: int, size: int) -> str:
    return (f"slot={slot} " if slot >= 0 else "") + "zero-copied" + (f" {size}B" if size >= 0 else "")


_WITH_DATA: Final = (Opcode.READ, Opcode.WRITE)
_UNTOLD: Final = int(CopiedBecause.NOT_APPLICABLE)
_TOLD: Final = {int(why): f"copied: {words}" for why, words in REASONS.items() if why != CopiedBecause.UNKNOWN}


def _wait(row: np.void) -> str:
    taken = next((int(row[name]) for name in ("selected_ns", "assigned_ns", "delivered_ns") if row[name]), 0)
    if not taken:
        return "waits for a buffer" if not row["ended_ns"] else "waited for a buffer"
    return f"waited {(taken - int(row['dry_ns'])) / 1000:.1f}us for a buffer"
