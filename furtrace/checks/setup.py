"""What goes wrong while a connection is set up: the commands that make queues, and a ring that never gets ready."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from furtrace.checks import refusals
from furtrace.checks.findings import Finding, Rule, Severity, about_event
from furtrace.checks.fixed import NOT_NAMED
from furtrace.checks.seen import CONNECTION_ENDED, Check, Limits, Seen
from furtrace.checks.standing_rules import NOT_READY
from furtrace.model.requests import Requests_
from furtrace.trace.record import INIT_SIZE, NO_QUEUE, RECORD, Kind, Transport, among
from furtrace.wire.dialect import Dialect
from furtrace.wire.errnos import error_text
from furtrace.wire.errors import DecodeError
from furtrace.wire.flags import InitFlag
from furtrace.wire.init import InitOut, parse_init_in, parse_init_out
from furtrace.wire.opcodes import Opcode, UringCommand, command_name

URING_OFF: Final = Rule(
    "uring-off",
    Severity.WARNING,
    "the server asks for io_uring, which the kernel does not offer",
    "The reply to INIT has FUSE_OVER_IO_URING, the request had not: enable_uring of the fuse module is off, or the "
    "kernel was built without FUSE over io_uring. The kernel ignores the flag (process_init_reply() in "
    "fs/fuse/inode.c), every command ends with EOPNOTSUPP, and requests go by /dev/fuse.",
    "echo Y > /sys/module/fuse/parameters/enable_uring before mounting; in the server, ask only for what was offered.",
)
_PAGE: Final = 4096
_MIN_READ_BUFFER: Final = 8192  # FUSE_MIN_READ_BUFFER
_DEFAULT_PAGES: Final = 32  # FUSE_DEFAULT_MAX_PAGES_PER_REQ
_MOST_PAGES: Final = 256  # FUSE_MAX_MAX_PAGES, unless fs.fuse.max_pages_limit says otherwise
_PAST_RING: Final = (Opcode.INIT, Opcode.CUSE_INIT, Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT)
_COMMANDS: Final = (Kind.REGISTER, Kind.ADD_QUEUE, Kind.ADD_BUFPOOL)


@dataclass
class _Connection:
    """What was seen of the setting up of a connection since its INIT.

    ``waits``: requests wait until the ring is ready; not any more where it was given up, as on Linux 7.3 after a
    REGISTER that failed, so that they come by ``/dev/fuse``.
    """

    init: np.void | None = None
    waits: bool = False
    ready: bool = False
    said: bool = False
    known: refusals.Known = field(default_factory=refusals.Known)


class Setup(Check):
    """Judges commands that were refused, and rings that do not get ready.

    Args:
        limits: how long a ring may take.
    """

    rules = (
        NOT_READY,
        URING_OFF,
        *refusals.RULES,
        NOT_NAMED,
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._connections: dict[int, _Connection] = {}
        self._commands: dict[tuple[int, int], np.void] = {}

    def feed(self, seen: Seen) -> Iterator[Finding]:
        """Take in events of setting up, in their order."""
        wanted = _IS_OURS[seen.kinds]
        for event in seen.batch[wanted] if wanted.any() else ():
            yield from self._event(event.copy(), seen)
        for number, connection in self._connections.items():
            if connection.waits and not connection.ready:
                connection.waits = not _came_by_device(number, seen.finished)

    def _of(self, number: int) -> _Connection:
        return self._connections.setdefault(number, _Connection())

    def _event(self, event: np.void, seen: Seen) -> Iterator[Finding]:
        number = int(event["connection"])
        kind = Kind(int(event["kind"]))
        if kind is Kind.INIT:
            self._connections[number] = _Connection()
            yield from self._begin(event)
        elif kind is Kind.READY:
            self._of(number).ready = True
        elif kind in _COMMANDS:
            self._commands[int(event["command"]), int(event["user_data"])] = event
            self._of(number).known.note(event)
        elif event["command_op"] != UringCommand.COMMIT_AND_FETCH:
            command = self._commands.pop((int(event["command"]), int(event["user_data"])), None)
            if event["error"] not in CONNECTION_ENDED:
                yield self._refused(event, command, seen)
                if event["command_op"] == UringCommand.REGISTER and seen.info.dialect == Dialect.BUFPOOL:
                    self._of(number).waits = False
            if command is not None:
                self._of(number).known.note_refusal(event, command)

    def _begin(self, event: np.void) -> Iterator[Finding]:
        connection = self._of(int(event["connection"]))
        connection.init = event
        extra = event["extra"].tobytes()[: int(event["extra_size"])]
        if event["error"] or len(extra) < 2 * INIT_SIZE:
            return
        try:
            offered, taken = parse_init_in(extra[:INIT_SIZE]), parse_init_out(extra[INIT_SIZE:])
        except DecodeError:
            return
        connection.known.payload = _payload(taken) if isinstance(taken, InitOut) else 0
        connection.known.whole = True
        asked = bool(taken.flag_bits & InitFlag.OVER_IO_URING)
        given = bool(offered.flag_bits & InitFlag.OVER_IO_URING)
        connection.waits = asked and given
        if asked and not given:
            sentence = "The reply to INIT asks for FUSE_OVER_IO_URING, which the kernel had not offered."
            yield about_event(URING_OFF, sentence, event)

    def _refused(self, event: np.void, command: np.void | None, seen: Seen) -> Finding:
        known = self._of(int(event["connection"])).known
        known.cpus, known.whole = seen.info.cpus, known.whole and seen.whole
        known.bufpools = seen.info.dialect == Dialect.BUFPOOL
        rule, why = refusals.cause(event, command, known)
        queue = "" if event["queue"] == NO_QUEUE else f" for queue {event['queue']}"
        name, error = command_name(int(event["command_op"])), error_text(int(event["error"]))
        sentence = f"{name}{queue} was refused with {error}{why}."
        finding = about_event(rule, sentence, event)
        if command is not None:
            finding.events = np.array([command, event], RECORD)
        return finding

    def tick(self, now_ns: int, seen: Seen) -> Iterator[Finding]:
        """See which rings are not ready though they had the time."""
        for number, connection in self._connections.items():
            if connection.init is None or not connection.waits or connection.ready or connection.said:
                continue
            taken = now_ns - int(connection.init["ns"])
            registered = connection.known.commands
            lacking = [queue for queue in range(seen.info.cpus) if not registered[Kind.REGISTER, queue]]
            if taken < self._limits.unanswered or not lacking or not seen.whole or _serves(number, seen):
                continue
            connection.said = True
            yield _not_ready(connection.init, taken, lacking, seen.info.cpus)


def _came_by_device(number: int, rows: Requests_) -> bool:
    """Whether the server had a request by ``/dev/fuse`` which waits for the ring; INIT and FORGET do not."""
    mine = (rows["connection"] == number) & (rows["transport"] == Transport.DEV) & ~np.isin(rows["opcode"], _PAST_RING)
    return bool((mine & ((rows["delivered_ns"] != 0) | (rows["error"] == 0))).any())


def _serves(number: int, seen: Seen) -> bool:
    """Whether requests came over the ring since INIT, so that it is ready, though READY was not seen."""
    return any(queue.delivered for queue in seen.conversation.queues.table() if queue.connection == number)


def _not_ready(init: np.void, taken: int, lacking: list[int], cpus: int) -> Finding:
    which = "no queue has" if len(lacking) == cpus else f"{_queues(lacking)} lack{'s' * (len(lacking) == 1)}"
    sentence = f"{taken / 1e9:.1f} s after INIT {which} an entry: the ring is not ready, and every request waits."
    return about_event(NOT_READY, sentence, init)


def _queues(numbers: list[int]) -> str:
    """``queue 3``, ``queues 1, 2 and 3``."""
    if len(numbers) == 1:
        return f"queue {numbers[0]}"
    return f"queues {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _payload(taken: InitOut) -> int:
    """Bytes that a payload buffer has to have: ``ring->max_payload_sz`` of fuse_uring_create()."""
    pages = min(max(taken.max_pages, 1), _MOST_PAGES) if taken.flag_bits & InitFlag.MAX_PAGES else _DEFAULT_PAGES
    return max(_MIN_READ_BUFFER, taken.max_write, pages * _PAGE)


_IS_OURS: Final = among((Kind.INIT, Kind.READY, *_COMMANDS, Kind.REFUSED))
