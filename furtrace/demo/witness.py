"""The server's own account of what it received and answered: one JSON object a line.

=========== ==========================================================================================================
field       meaning
=========== ==========================================================================================================
transport   ``uring`` or ``dev`` (read and write of /dev/fuse)
queue       the ring queue's number, ``null`` for ``dev``
entry       the entry's index in its queue, ``null`` for ``dev``
unique      ``fuse_in_header.unique``
commit_id   ``fuse_uring_ent_in_out.commit_id``, ``null`` for ``dev``
opcode, op  the operation's number and name
nodeid      the node that the request is about
pid         the client's process, as the kernel told it
error       what was replied: 0 or a negative errno; ``null`` where no reply is due (FORGET, BATCH_FORGET, INTERRUPT)
in          bytes of payload that came: names and data, without the header and without the operation's own structure;
            for ``uring`` what ``payload_sz`` said, which counts the data of a zero-copied WRITE
out         bytes of payload that went back, which counts the data of a zero-copied READ
receipt_ns  CLOCK_MONOTONIC when the server took the request up
reply_ns    CLOCK_MONOTONIC when the answer was ready to be handed over; ``null`` where no reply is due
offset      where in the queue's pool the payload lay, 0 also if there was none; ``null`` without a pool
zero_copied whether the client's pages were a registered buffer
slot        the registered buffer that they were; ``null`` if not zero-copied
moved       bytes that READ_FIXED and WRITE_FIXED moved between those pages and the file; ``null`` if none was tried
=========== ==========================================================================================================
"""

from pathlib import Path
from typing import NamedTuple

from furtrace.demo.linelog import LineLog
from furtrace.wire.opcodes import opcode_name

_LINE = (
    '{{"transport":"{}","queue":{},"entry":{},"unique":{},"commit_id":{},"opcode":{},"op":"{}","nodeid":{},"pid":{},'
    '"error":{},"in":{},"out":{},"receipt_ns":{},"reply_ns":{},"offset":{},"zero_copied":{},"slot":{},"moved":{}}}\n'
)
_WORDS = {None: "null", True: "true", False: "false"}


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
    offset: int | None = None
    zero_copied: bool = False
    slot: int | None = None
    moved: int | None = None


class Witness(LineLog[Seen]):
    """The log of requests, written to ``path``."""

    def __init__(self, path: Path | None) -> None:
        super().__init__(path, _line)


def _line(seen: Seen) -> str:
    transport = "dev" if seen.queue is None else "uring"
    values = [_WORDS[value] if value is None or isinstance(value, bool) else value for value in seen]
    return _LINE.format(transport, *values[:5], opcode_name(seen.opcode), *values[5:])
