"""Requests that the connection's end has cut off."""

import errno
from collections.abc import Iterator
from typing import Final

import numpy as np

from furtrace.checks.findings import Finding, Rule, Severity, about
from furtrace.checks.seen import Check, Seen
from furtrace.model.requests import Requests_, is_delivered
from furtrace.wire.opcodes import Opcode, opcode_name

CUT_OFF: Final = Rule(
    "cut-off",
    Severity.ERROR,
    "the connection ended with requests under way",
    "The connection was aborted: the server closed /dev/fuse or died, or someone wrote to "
    "/sys/fs/fuse/connections/N/abort or unmounted by force. Requests that were under way ended with ECONNABORTED or "
    "ENOTCONN, whatever the server had done about them (fuse_abort_conn() in fs/fuse/dev.c).",
    "If the server died: coredumpctl, dmesg. If it ended by itself: let it unmount first, and serve until that is "
    "done.",
)

_ERRORS: Final = (-errno.ECONNABORTED, -errno.ENOTCONN)
_NO_MATTER: Final = (Opcode.DESTROY, Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT, Opcode.RELEASE)
"""Operations whose end nobody waits for; at an unmount by force some are always under way."""
_MOST_NAMED: Final = 3


class Endings(Check):
    """Tells of each connection that ended too soon once, with the requests that it has cut off by then."""

    rules = (CUT_OFF,)

    def feed(self, seen: Seen) -> Iterator[Finding]:
        """Look at the requests that ended."""
        rows = seen.finished
        cut = np.isin(rows["error"], _ERRORS) & (rows["committed_ns"] == 0) & ~np.isin(rows["opcode"], _NO_MATTER)
        for connection in np.unique(rows["connection"][cut]).tolist():
            yield _told(rows[cut & (rows["connection"] == connection)])


def _told(rows: Requests_) -> Finding:
    served = int(is_delivered(rows).sum())
    named = ", ".join(f"{opcode_name(int(row['opcode']))} (unique {row['unique']})" for row in rows[:_MOST_NAMED])
    more = f" and {len(rows) - _MOST_NAMED} more" if len(rows) > _MOST_NAMED else ""
    requests = "1 request was" if len(rows) == 1 else f"{len(rows)} requests were"
    where = f"{served} of them in the server's hands" if served else "none of them in the server's hands yet"
    sentence = f"The connection ended while {requests} under way, {where}: {named}{more}."
    return about(CUT_OFF, sentence, int(rows["ended_ns"][0]), rows[0])
