"""Zero-copy that is not what it says (Linux 7.3)."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from furtrace.checks.findings import Finding, Rule, Severity, about, about_event, request_name
from furtrace.checks.seen import Check, Seen
from furtrace.model.requests import IN_SLOT
from furtrace.trace.record import Kind
from furtrace.wire.errnos import error_text
from furtrace.wire.opcodes import Opcode

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


class ZeroCopy(Check):
    """Holds what the server says it moved against what its own I/O has moved."""

    rules = (UNREAD, UNWRITTEN, SLOT)

    def feed(self, seen: Seen) -> Iterator[Finding]:
        """Judge the requests that ended."""
        registered = seen.of(Kind.PAGES_REGISTERED)
        for event in registered[registered["error"] != 0]:
            name, error = request_name(event), error_text(int(event["error"]))
            sentence = f"The pages of {name} can't be put into slot {event['slot']}: {error}."
            yield about_event(SLOT, sentence, event)
        rows = seen.finished
        zero_copied = ((rows["flags"] & IN_SLOT) == IN_SLOT) & (rows["error"] == 0) & (rows["moved"] > 0)
        zero_copied &= ~rows["uncertain"] & (rows["delivered_ns"] != 0) & (rows["committed_ns"] != 0)
        zero_copied &= np.maximum(rows["fixed_bytes"], 0) < rows["moved"]
        for rule, opcode in ((UNREAD, Opcode.WRITE), (UNWRITTEN, Opcode.READ)):
            for row in rows[zero_copied & (rows["opcode"] == opcode)]:
                yield _told(rule, row)


def _told(rule: Rule, row: np.void) -> Finding:
    moved = max(0, int(row["fixed_bytes"]))
    doing = "wrote" if rule is UNREAD else "read"
    how = "no I/O of its own used" if not row["fixed_ios"] else f"its own I/O moved {moved} bytes from or to"
    said = f"To {request_name(row)}, the server replied that it {doing} {row['moved']} bytes"
    sentence = f"{said}, but {how} slot {row['slot']}."
    return about(rule, sentence, int(row["committed_ns"]), row)
