"""What a queue's thread submits to its ring, and the account of it: one JSON object a line.

========= ============================================================================================================
field     meaning
========= ============================================================================================================
op        ``ADD_QUEUE``, ``ADD_BUFPOOL``, ``REGISTER``, ``COMMIT_AND_FETCH``, ``READ_FIXED`` or ``WRITE_FIXED``
queue     the queue's number
entry     the entry's index; ``null`` for ADD_QUEUE and ADD_BUFPOOL
commit_id of COMMIT_AND_FETCH; ``null`` for the rest
flags     of ADD_QUEUE, ADD_BUFPOOL and REGISTER of a queue with a pool: ``fuse_uring_cmd_req.flags``; else ``null``
buf_index ``sqe->buf_index`` where it names a registered buffer, else ``null``
slot      ``ent_zero_copy_buf_index`` of REGISTER on a queue with zero-copy, else ``null``
bytes     the size of ADD_BUFPOOL's pool, or what READ_FIXED or WRITE_FIXED was to move; else ``null``
result    of the completion, which for REGISTER and COMMIT_AND_FETCH comes with the next request; ``null`` if none came
sent_ns   CLOCK_MONOTONIC when it was put into the ring
done_ns   CLOCK_MONOTONIC when the completion was taken out, or ``null``
========= ============================================================================================================
"""

import json
import time
from pathlib import Path
from typing import NamedTuple

from furtrace.demo import commands, uring
from furtrace.demo.entries import Command
from furtrace.demo.linelog import LineLog
from furtrace.demo.zerocopy import Transfer

_SETUP = 1 << 34
_MOVING = 1 << 33
ASIDE = 1 << 40
"""From here on, ``user_data`` is of what is no entry's and no queue's command, nor a transfer."""
STOP = ASIDE
"""``user_data`` of the poll on the stop descriptor; an entry's command has the entry's index."""


class Sent(NamedTuple):
    """One submission and how it ended; the fields are those of the log."""

    op: str
    queue: int
    entry: int | None
    commit_id: int | None
    flags: int | None
    buf_index: int | None
    slot: int | None
    bytes: int | None
    sent_ns: int
    result: int | None = None
    done_ns: int | None = None


class CommandLog(LineLog[Sent]):
    """The log of submissions, written to ``path``."""

    def __init__(self, path: Path | None) -> None:
        super().__init__(path, lambda sent: json.dumps(sent._asdict(), separators=(",", ":")) + "\n")


class Sender:
    """Fills the ring of queue ``qid``; every command names the registered buffer ``fixed``, unless that is ``None``."""

    def __init__(self, ring: uring.Ring, fuse_fd: int, qid: int, fixed: int | None, log: CommandLog) -> None:
        self._ring = ring
        self._fuse_fd = fuse_fd
        self._qid = qid
        self._fixed = fixed
        self._log = log
        self._out: dict[int, Sent] = {}

    def command(
        self, command: Command, entry: int | None = None, commit_id: int | None = None, *, mark: int = 0
    ) -> None:
        """Put a command into the ring: of an entry, or of the queue itself; ``mark`` is set in its ``user_data``."""
        user_data = mark | (_SETUP if entry is None else entry)
        self._ring.push(
            uring.OP_URING_CMD,
            self._fuse_fd,
            user_data=user_data,
            offset=command.op,
            address=command.address,
            length=command.length,
            op_flags=0 if self._fixed is None else commands.CMD_FIXED,
            buf_index=self._fixed or 0,
            command=command.area,
        )
        if self._log.enabled:
            self._out[user_data] = Sent(
                command.op.name,
                self._qid,
                entry,
                commit_id,
                command.flags,
                self._fixed,
                command.slot,
                command.size,
                time.monotonic_ns(),
            )

    def transfer(self, transfer: Transfer, entry: int, slot: int) -> None:
        """Let the rest of ``transfer`` be moved between a file and the registered buffer ``slot``.

        Addresses within a buffer of zero-copied pages count from 0.
        """
        user_data = _MOVING | entry
        self._ring.push(
            transfer.op,
            transfer.fd,
            user_data=user_data,
            offset=transfer.offset + transfer.moved,
            address=transfer.moved,
            length=transfer.left,
            buf_index=slot,
        )
        if self._log.enabled:
            now = time.monotonic_ns()
            self._out[user_data] = Sent(transfer.op.name, self._qid, entry, None, None, slot, None, transfer.left, now)

    def done(self, user_data: int, result: int) -> tuple[int, bool]:
        """Account for a completion; return its entry's index, and whether it was a transfer and not a command."""
        sent = self._out.pop(user_data, None)
        if sent is not None:
            self._log.add(sent._replace(result=result, done_ns=time.monotonic_ns()))
        return user_data & ~_MOVING, bool(user_data & _MOVING)

    def close(self) -> None:
        """Account for what never completed."""
        for sent in self._out.values():
            self._log.add(sent)
        self._out.clear()
