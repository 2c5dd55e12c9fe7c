"""What goes wrong while a connection is set up: the commands that make queues, and a ring that never gets ready."""

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from furtrace.checks.findings import Finding, Rule, Severity, about_event
from furtrace.checks.seen import Limits, Seen
from furtrace.trace.record import COMMAND_SIZE, HEADER_SIZE, INIT_SIZE, NO_QUEUE, RECORD, Kind, Transport
from furtrace.wire.errnos import errno_name
from furtrace.wire.errors import DecodeError
from furtrace.wire.flags import InitFlag
from furtrace.wire.init import InitOut, parse_init_in, parse_init_out
from furtrace.wire.opcodes import UringCommand, command_name

NOT_READY: Final = Rule(
    "ring-not-ready",
    Severity.ERROR,
    "the ring does not get ready, and the mount hangs",
    "The server's reply to INIT said FUSE_OVER_IO_URING. From then on the kernel holds every request back until each "
    "queue, one a possible CPU, has an entry that is registered (is_ring_ready() in fs/fuse/dev_uring.c). Some queue "
    "has none.",
    "REGISTER at least one entry for each possible CPU (/sys/devices/system/cpu/possible), not only for those that "
    "are online; or leave FUSE_OVER_IO_URING out of the reply to INIT.",
)
URING_OFF: Final = Rule(
    "uring-off",
    Severity.WARNING,
    "the server asks for io_uring, which the kernel does not offer",
    "The reply to INIT has FUSE_OVER_IO_URING, the request had not: enable_uring of the fuse module is off, or the "
    "kernel was built without FUSE over io_uring. The kernel ignores the flag (process_init_reply() in "
    "fs/fuse/inode.c), every command ends with EOPNOTSUPP, and requests go by /dev/fuse.",
    "echo Y > /sys/module/fuse/parameters/enable_uring before mounting; in the server, ask only for what was offered.",
)
NO_SQE128: Final = Rule(
    "sqe-too-small",
    Severity.ERROR,
    "a command comes in an SQE of 64 bytes",
    "The command area, struct fuse_uring_cmd_req, needs an SQE of 128 bytes. The kernel refuses the command with "
    "EINVAL (fuse_uring_cmd() in fs/fuse/dev_uring.c).",
    "Make the ring with IORING_SETUP_SQE128.",
)
NO_SUCH_QUEUE: Final = Rule(
    "queue-out-of-range",
    Severity.ERROR,
    "a command names a queue that there can't be",
    "Queues are numbered from 0 to the number of possible CPUs less one. The kernel refuses the command with EINVAL "
    "(fuse_uring_register() in fs/fuse/dev_uring.c).",
    "Make one queue for each possible CPU, and name it by that CPU's number.",
)
HEADERS_SHORT: Final = Rule(
    "headers-too-short",
    Severity.ERROR,
    "an entry's header slot is too short",
    "The first iovec of REGISTER names memory for struct fuse_uring_req_header, 288 bytes. The kernel refuses a "
    "shorter one with EINVAL (fuse_uring_create_ring_ent() in fs/fuse/dev_uring.c).",
    "Give each entry sizeof(struct fuse_uring_req_header) bytes.",
)
PAYLOAD_SHORT: Final = Rule(
    "payload-too-short",
    Severity.ERROR,
    "an entry's payload buffer is too short",
    "The second iovec of REGISTER has to have room for the largest request: max_write or max_pages pages as agreed in "
    "INIT, at least 8192 bytes. The kernel refuses a shorter one with EINVAL (fuse_uring_create_ring_ent() in "
    "fs/fuse/dev_uring.c).",
    "Make payload buffers as large as the larger of max_write and max_pages * page size.",
)
TOO_EARLY: Final = Rule(
    "setup-too-early",
    Severity.ERROR,
    "a queue is set up before INIT is answered",
    "Until the reply to INIT is there the kernel does not know how large requests get. It refuses the command with "
    "EAGAIN (fuse_uring_cmd() in fs/fuse/dev_uring.c).",
    "Send the commands after the reply to INIT was written.",
)
NOT_ENABLED: Final = Rule(
    "setup-not-enabled",
    Severity.ERROR,
    "a queue is set up on a connection without io_uring",
    "INIT has not agreed on FUSE_OVER_IO_URING (the reply's flags2 counts only with FUSE_INIT_EXT), or enable_uring "
    "is off, or a REGISTER before this one has failed (Linux 7.3). The kernel refuses the command with EOPNOTSUPP.",
    "Reply to INIT with FUSE_INIT_EXT and FUSE_OVER_IO_URING where the kernel offers them.",
)
REFUSED: Final = Rule(
    "setup-refused",
    Severity.ERROR,
    "the kernel refuses a command that sets a queue up",
    "ADD_QUEUE, ADD_BUFPOOL and REGISTER have an order: ADD_QUEUE once (EEXIST), then ADD_BUFPOOL once (EINVAL), then "
    "REGISTER; with the flags that this kernel knows, and a pool that has room for a buffer (fs/fuse/dev_uring.c).",
    "Compare the command's area, which furtrace replay --events shows, with what the kernel wants.",
)

_PAGE: Final = 4096
_MIN_READ_BUFFER: Final = 8192  # FUSE_MIN_READ_BUFFER
_DEFAULT_PAGES: Final = 32  # FUSE_DEFAULT_MAX_PAGES_PER_REQ
_MOST_PAGES: Final = 256  # FUSE_MAX_MAX_PAGES, unless fs.fuse.max_pages_limit says otherwise
_COMMANDS: Final = (Kind.REGISTER, Kind.ADD_QUEUE, Kind.ADD_BUFPOOL)


@dataclass
class _Connection:
    """What was seen of the setting up of a connection since its INIT."""

    init: np.void | None = None
    wants_uring: bool = False
    payload: int = 0  # bytes that a payload buffer has to have; 0: not known
    ready: bool = False
    said: bool = False
    registered: set[int] = field(default_factory=set)
    pooled: set[int] = field(default_factory=set)


class Setup:
    """Judges commands that were refused, and rings that do not get ready.

    Args:
    limits: how long a ring may take.
    """

    rules = (
        NOT_READY,
        URING_OFF,
        NO_SQE128,
        NO_SUCH_QUEUE,
        HEADERS_SHORT,
        PAYLOAD_SHORT,
        TOO_EARLY,
        NOT_ENABLED,
        REFUSED,
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
        delivered = (seen.kinds == Kind.DELIVERED) & (seen.batch["transport"] == Transport.URING)
        for number in np.unique(seen.batch["connection"][delivered]).tolist():
            self._of(number).ready = True

    def _of(self, number: int) -> _Connection:
        return self._connections.setdefault(number, _Connection())

    def _event(self, event: np.void, seen: Seen) -> Iterator[Finding]:
        number, queue = int(event["connection"]), int(event["queue"])
        kind = Kind(int(event["kind"]))
        if kind is Kind.INIT:
            self._connections[number] = _Connection()
            yield from self._begin(event)
        elif kind is Kind.READY:
            self._of(number).ready = True
        elif kind in _COMMANDS:
            self._commands[int(event["command"]), int(event["user_data"])] = event
            if kind is Kind.REGISTER:
                self._of(number).registered.add(queue)
            elif kind is Kind.ADD_BUFPOOL:
                self._of(number).pooled.add(queue)
        elif event["command_op"] != UringCommand.COMMIT_AND_FETCH:
            command = self._commands.pop((int(event["command"]), int(event["user_data"])), None)
            if command is not None and command["kind"] == Kind.REGISTER:
                self._of(number).registered.discard(queue)
            yield self._refused(event, command, seen)

    def _begin(self, event: np.void) -> Iterator[Finding]:
        known = self._of(int(event["connection"]))
        known.init = event
        extra = event["extra"].tobytes()[: int(event["extra_size"])]
        if event["error"] or len(extra) < 2 * INIT_SIZE:
            return
        try:
            offered, taken = parse_init_in(extra[:INIT_SIZE]), parse_init_out(extra[INIT_SIZE:])
        except DecodeError:
            return
        known.payload = _payload(taken) if isinstance(taken, InitOut) else 0
        asked = bool(taken.flag_bits & InitFlag.OVER_IO_URING)
        given = bool(offered.flag_bits & InitFlag.OVER_IO_URING)
        known.wants_uring = asked and given
        if asked and not given:
            sentence = "The reply to INIT asks for FUSE_OVER_IO_URING, which the kernel had not offered."
            yield about_event(URING_OFF, sentence, event)

    def _refused(self, event: np.void, command: np.void | None, seen: Seen) -> Finding:
        known = self._of(int(event["connection"]))
        rule, why = _cause(event, command, known, seen.info.cpus)
        queue = "" if event["queue"] == NO_QUEUE else f" for queue {event['queue']}"
        sentence = (
            f"{command_name(int(event['command_op']))}{queue} was refused with -{errno_name(int(event['error']))}{why}."
        )
        finding = about_event(rule, sentence, event)
        if command is not None:
            finding.events = np.array([command, event], RECORD)
        return finding

    def tick(self, now_ns: int, seen: Seen) -> Iterator[Finding]:
        """See which rings are not ready though they had the time."""
        for known in self._connections.values():
            if known.init is None or not known.wants_uring or known.ready or known.said:
                continue
            taken = now_ns - int(known.init["ns"])
            lacking = sorted(set(range(seen.info.cpus)) - known.registered)
            if taken < self._limits.setup or not lacking or not seen.whole:
                continue
            known.said = True
            yield _not_ready(known, taken, lacking, seen)


def _not_ready(known: _Connection, taken: int, lacking: list[int], seen: Seen) -> Finding:
    which = "no queue has" if len(lacking) == seen.info.cpus else f"{_queues(lacking)} lack{'s' * (len(lacking) == 1)}"
    assert known.init is not None
    sentence = f"{taken / 1e9:.1f} s after INIT {which} an entry: the ring is not ready, and every request waits."
    return about_event(NOT_READY, sentence, known.init)


def _queues(numbers: list[int]) -> str:
    """``queue 3``, ``queues 1, 2 and 3``."""
    if len(numbers) == 1:
        return f"queue {numbers[0]}"
    return f"queues {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _payload(taken: InitOut) -> int:
    """Bytes that a payload buffer has to have: ``ring->max_payload_sz`` of fuse_uring_create()."""
    pages = min(max(taken.max_pages, 1), _MOST_PAGES) if taken.flag_bits & InitFlag.MAX_PAGES else _DEFAULT_PAGES
    return max(_MIN_READ_BUFFER, taken.max_write, pages * _PAGE)


def _cause(event: np.void, command: np.void | None, known: _Connection, cpus: int) -> tuple[Rule, str]:
    """The rule that explains a refusal, and what was wrong."""
    error = -int(event["error"])
    if error == errno.EAGAIN:
        return TOO_EARLY, ": INIT is not answered yet"
    if error == errno.EOPNOTSUPP:
        return NOT_ENABLED, ""
    if error != errno.EINVAL or command is None:
        return REFUSED, ""
    return next(filter(None, (cause(command, known, cpus) for cause in _CAUSES)), (REFUSED, ""))


_Cause = tuple[Rule, str] | None


def _sqe(command: np.void, _known: _Connection, _cpus: int) -> _Cause:
    small = 0 < command["extra_size"] < COMMAND_SIZE
    return (NO_SQE128, ": its SQE has 64 bytes") if small else None


def _queue(command: np.void, _known: _Connection, cpus: int) -> _Cause:
    beyond = cpus and command["queue"] != NO_QUEUE and command["queue"] >= cpus
    return (NO_SUCH_QUEUE, f": the last queue is {cpus - 1}") if beyond else None


def _headers(command: np.void, _known: _Connection, _cpus: int) -> _Cause:
    short = command["kind"] == Kind.REGISTER and 0 < command["length"] < HEADER_SIZE
    said = f": its header slot has {command['length']} bytes, {HEADER_SIZE} are needed"
    return (HEADERS_SHORT, said) if short else None


def _buffer(command: np.void, known: _Connection, _cpus: int) -> _Cause:
    own = command["kind"] == Kind.REGISTER and int(command["queue"]) not in known.pooled
    said = f": its payload buffer has {command['payload_size']} bytes, {known.payload} are needed"
    return (PAYLOAD_SHORT, said) if own and command["payload_size"] < known.payload else None


_CAUSES: Final = (_sqe, _queue, _headers, _buffer)
"""Why a command may be refused with EINVAL, in the order in which the kernel looks."""

_IS_OURS: Final = np.zeros(256, np.bool_)
_IS_OURS[[Kind.INIT, Kind.READY, *_COMMANDS, Kind.REFUSED]] = True
