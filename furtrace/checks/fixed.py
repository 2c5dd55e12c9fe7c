"""Pools that are registered buffers of the server's ring: which one each queue's commands have to name (Linux 7.3)."""

from typing import Final

import numpy as np

from furtrace.checks.findings import Rule, Severity
from furtrace.trace.record import Flag, Kind
from furtrace.wire.opcodes import UringCommand

NOT_NAMED: Final = Rule(
    "pool-not-named",
    Severity.ERROR,
    "a command does not name the registered buffer that is its queue's pool",
    "ADD_BUFPOOL gave the queue a pool that is a registered buffer: it had IORING_URING_CMD_FIXED and the buffer's "
    "index. Every later command of that queue has to name the same one, as the kernel finds the pool's pages by it. "
    "It refuses others with EINVAL (Linux 7.3).",
    "Set IORING_URING_CMD_FIXED in sqe->uring_cmd_flags and the pool's index in sqe->buf_index of every REGISTER and "
    "COMMIT_AND_FETCH.",
)
_Place = tuple[int, int]
_FIXED: Final = np.uint16(Flag.FIXED)


class RegisteredPools:
    """Remembers which registered buffer the pool of each queue is."""

    def __init__(self) -> None:
        self._indices: dict[_Place, int | None] = {}
        self._before: dict[_Place, int | None] = {}

    def __bool__(self) -> bool:
        """Whether there is any."""
        return any(index is not None for index in self._indices.values())

    def take(self, event: np.void) -> None:
        """Take in an INIT, with which a connection begins anew, an ADD_BUFPOOL, or that one was refused."""
        place = int(event["connection"]), int(event["queue"])
        if event["kind"] == Kind.INIT:
            self._indices = {other: index for other, index in self._indices.items() if other[0] != place[0]}
        elif event["kind"] == Kind.ADD_BUFPOOL:
            self._before[place] = self._indices.get(place)
            self._indices[place] = int(event["segments"]) if event["flags"] & _FIXED else None
        elif event["kind"] == Kind.REFUSED and event["command_op"] == UringCommand.ADD_BUFPOOL:
            self._indices[place] = self._before.get(place)

    def mismatch(self, command: np.void) -> str | None:
        """What is wrong about what a command names, as the end of a sentence; None: nothing, or it is not known."""
        index = self._indices.get((int(command["connection"]), int(command["queue"])))
        if index is None or (command["flags"] & _FIXED and command["segments"] == index):
            return None
        if not command["flags"] & _FIXED:
            return f": it lacks IORING_URING_CMD_FIXED, and the queue's pool is registered buffer {index}"
        return f": it names registered buffer {command['segments']}, the queue's pool is {index}"
