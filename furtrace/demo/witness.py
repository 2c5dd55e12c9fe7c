"""The server's own account of what it received and answered: one JSON object a line.

========== ===========================================================================================================
field      meaning
========== ===========================================================================================================
transport  ``uring`` or ``dev`` (read and write of /dev/fuse)
queue      the ring queue's number, ``null`` for ``dev``
entry      the entry's index in its queue, ``null`` for ``dev``
unique     ``fuse_in_header.unique``
commit_id  ``fuse_uring_ent_in_out.commit_id``, ``null`` for ``dev``
opcode, op the operation's number and name
nodeid     the node that the request is about
pid        the client's process, as the kernel told it
error      what was replied: 0 or a negative errno; ``null`` where no reply is due (FORGET, BATCH_FORGET, INTERRUPT)
in         bytes of payload that came: names and data, without the header and without the operation's own structure
out        bytes of payload that went back
receipt_ns CLOCK_MONOTONIC when the server took the request up
reply_ns   CLOCK_MONOTONIC when the answer was ready to be handed over; ``null`` where no reply is due
========== ===========================================================================================================
"""

from collections import deque
from pathlib import Path
from typing import NamedTuple, TextIO

from furtrace.demo.errors import DemoError
from furtrace.wire.opcodes import opcode_name

_LINE = (
    '{{"transport":"{}","queue":{},"entry":{},"unique":{},"commit_id":{},"opcode":{},"op":"{}","nodeid":{},"pid":{},'
    '"error":{},"in":{},"out":{},"receipt_ns":{},"reply_ns":{}}}\n'
)


class Seen(NamedTuple):
    """One request and its answer; the fields are those of the log, ``None`` for ``null``."""

    queue: int | None
    entry: int | None
    unique: int
    commit_id: int | None
    opcode: int
    nodeid: int
    pid: int
    error: int | None
    payload_in: int
    payload_out: int
    receipt_ns: int
    reply_ns: int | None


class Witness:
    """Collects what was seen, from any thread, and writes it out when ``drain`` is called.

    ``path`` ``None``: nothing is kept. ``DemoError`` when the file can't be written.
    """

    def __init__(self, path: Path | None) -> None:
        self._waiting: deque[Seen] = deque()
        self._file: TextIO | None = None
        self.enabled = path is not None
        if path is not None:
            try:
                self._file = path.open("w", encoding="ascii")
            except OSError as problem:
                raise DemoError(f"the log {path} can't be written: {problem.strerror}") from problem

    def add(self, seen: Seen) -> None:
        """Keep one request for the next ``drain``. Formatting is left to that: this is called for every request."""
        if self.enabled:
            self._waiting.append(seen)

    def drain(self) -> None:
        """Write out all that was added so far. For one thread at a time."""
        if self._file is None:
            return
        count = len(self._waiting)
        self._file.writelines([_line(self._waiting.popleft()) for _ in range(count)])
        self._file.flush()

    def close(self) -> None:
        """Write out the rest and close the file."""
        if self._file is not None:
            self.drain()
            self._file.close()
            self._file = None


def _line(seen: Seen) -> str:
    transport = "dev" if seen.queue is None else "uring"
    values = ["null" if value is None else value for value in seen]
    return _LINE.format(transport, *values[:5], opcode_name(seen.opcode), *values[5:])
