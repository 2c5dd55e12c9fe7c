"""Zero-copy that is not what it says, and buffer pools that run dry (Linux 7.3)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from furtrace.checks.findings import Finding, Rule, Severity, about, about_event
from furtrace.checks.seen import Seen
from furtrace.model.requests import Requests_
from furtrace.trace.record import Flag, Kind
from furtrace.wire.errnos import errno_name
from furtrace.wire.opcodes import Opcode, opcode_name

UNREAD: Final = Rule(
    "write-unread",
    Severity.ERROR,
    "a zero-copied WRITE is acknowledged, and its data was not read",
    "The client's pages are a registered buffer of the server's ring until the request is committed. The server said "
    "that it wrote them, but no I/O of its own took that many bytes out of the slot: the data is nowhere.",
    "Move the data by WRITE_FIXED with the entry's buffer index, and commit when that has completed; reply with the "
    "bytes that it moved.",
)
UNWRITTEN: Final = Rule(
    "read-unwritten",
    Severity.ERROR,
    "a zero-copied READ is answered, and its pages were not written",
    "The client's pages are a registered buffer of the server's ring until the request is committed. The server said "
    "how many bytes it read, but no I/O of its own put that many into the slot: the client gets what was in the "
    "pages.",
    "Move the data by READ_FIXED with the entry's buffer index, and commit when that has completed; reply with the "
    "bytes that it moved.",
)
SLOT: Final = Rule(
    "slot-refused",
    Severity.ERROR,
    "a request's pages can't be put into its entry's slot",
    "For zero-copy the kernel puts the request's pages into the slot of the server's ring that the entry's REGISTER "
    "named. That slot is not in the ring's table of registered buffers (EINVAL), or holds another buffer (EBUSY). The "
    "request fails, and the server does not see it (fuse_uring_set_up_zero_copy() in fs/fuse/dev_uring.c; Linux 7.3).",
    "Give each entry a slot of its own, within the table that was registered with the ring, and leave it empty.",
)
DRY: Final = Rule(
    "pool-dry",
    Severity.NOTE,
    "requests wait for a buffer of the pool",
    "None of the queue's buffers was free when an entry was. A request waits until another one is committed, even if "
    "entries are idle (fuse_uring_select_buffer() in fs/fuse/dev_uring.c).",
    "Give the pool as many buffers as requests with payload are in hand at a time.",
)

_IN_SLOT: Final = np.uint16(Flag.ZERO_COPIED | Flag.HAS_SLOT)
_ENOUGH: Final = 10


@dataclass
class _Waits:
    """Requests of a queue that found the pool dry."""

    requests: int = 0
    waited_ns: int = 0
    told: int = 0


class ZeroCopy:
    """Holds what the server says it moved against what its own I/O has moved."""

    rules = (UNREAD, UNWRITTEN, SLOT, DRY)

    def __init__(self) -> None:
        self._waits: dict[tuple[int, int], _Waits] = {}

    def feed(self, seen: Seen) -> Iterator[Finding]:
        """Judge the requests that ended."""
        registered = seen.of(Kind.PAGES_REGISTERED)
        for event in registered[registered["error"] != 0]:
            request = f"{opcode_name(int(event['opcode']))}, unique {event['unique']}"
            sentence = (
                f"The pages of {request} can't be put into slot {event['slot']}: -{errno_name(int(event['error']))}."
            )
            yield about_event(SLOT, sentence, event)
        rows = seen.finished
        zero_copied = ((rows["flags"] & _IN_SLOT) == _IN_SLOT) & (rows["error"] == 0) & (rows["moved"] > 0)
        zero_copied &= ~rows["uncertain"] & (rows["delivered_ns"] != 0) & (rows["committed_ns"] != 0)
        zero_copied &= np.maximum(rows["fixed_bytes"], 0) < rows["moved"]
        for rule, opcode in ((UNREAD, Opcode.WRITE), (UNWRITTEN, Opcode.READ)):
            for row in rows[zero_copied & (rows["opcode"] == opcode)]:
                yield _told(rule, row)
        self._count(rows[(rows["dry_ns"] != 0) & (rows["selected_ns"] > rows["dry_ns"])])

    def _count(self, rows: Requests_) -> None:
        for row in rows:
            waits = self._waits.setdefault((int(row["connection"]), int(row["queue"])), _Waits())
            waits.requests += 1
            waits.waited_ns += int(row["selected_ns"]) - int(row["dry_ns"])

    def tick(self, now_ns: int, _seen: Seen) -> Iterable[Finding]:
        """Tell of pools that ran dry, again when that has become ten times as often."""
        for (connection, queue), waits in self._waits.items():
            if waits.requests < max(_ENOUGH, waits.told * 10):
                continue
            waits.told = waits.requests
            mean = waits.waited_ns / waits.requests / 1000
            sentence = (
                f"{waits.requests} requests of queue {queue} found no free buffer, and waited {mean:.1f} us each."
            )
            yield Finding(DRY, sentence, now_ns, connection, queue)


def _told(rule: Rule, row: np.void) -> Finding:
    moved = max(0, int(row["fixed_bytes"]))
    name = f"{opcode_name(int(row['opcode']))}, unique {row['unique']},"
    doing = "wrote" if rule is UNREAD else "read"
    how = "no I/O of its own used" if not row["fixed_ios"] else f"its own I/O moved {moved} bytes from or to"
    sentence = f"To {name} the server replied that it {doing} {row['moved']} bytes, but {how} slot {row['slot']}."
    return about(rule, sentence, int(row["committed_ns"]), row)
