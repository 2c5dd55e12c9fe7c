"""Why the kernel refuses a command that sets a queue up."""

import errno
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from furtrace.checks.findings import Rule, Severity
from furtrace.checks.fixed import NOT_NAMED, RegisteredPools
from furtrace.trace.record import COMMAND_SIZE, HEADER_SIZE, NO_QUEUE, Kind
from furtrace.wire.commands import CMD_REQ_ADD_BUFPOOL, CMD_REQ_REGISTER, CmdReqAddBufpool
from furtrace.wire.flags import QueueFlag

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
NO_IOVECS: Final = Rule(
    "iovecs-missing",
    Severity.ERROR,
    "a REGISTER does not bring its two iovecs",
    "sqe->addr of REGISTER points to two iovecs, and sqe->len is 2: the header slot, then the payload buffer, which is "
    "empty where the queue has a pool. The kernel refuses another number with EINVAL (fuse_uring_get_iovec_from_sqe() "
    "in fs/fuse/dev_uring.c).",
    "Set sqe->addr to an array of two iovecs, and sqe->len to 2.",
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
ORDER: Final = Rule(
    "setup-order",
    Severity.ERROR,
    "the commands that make a queue come in the wrong order",
    "ADD_QUEUE makes a queue, once (EEXIST); then ADD_BUFPOOL gives it its pool, once and before the first REGISTER "
    "(EINVAL). See fuse_uring_add_queue() and fuse_uring_add_bufpool() in fs/fuse/dev_uring.c (Linux 7.3).",
    "Send ADD_QUEUE, then ADD_BUFPOOL, then REGISTER for each entry, and wait for each answer.",
)
POOL_SHORT: Final = Rule(
    "pool-too-small",
    Severity.ERROR,
    "a buffer pool has no room for one buffer",
    "The kernel cuts the pool into buffers for the largest request: max_write or max_pages pages as agreed in INIT, "
    "at least 8192 bytes. It refuses a pool that is smaller than one with EINVAL (Linux 7.3).",
    "Make the pool as many times that size as there are to be buffers.",
)
FLAGS: Final = Rule(
    "setup-flags",
    Severity.ERROR,
    "a command that makes a queue has a flag that there is not",
    "ADD_QUEUE knows FUSE_URING_ZERO_COPY alone, ADD_BUFPOOL knows none, and its reserved member is 0. The kernel "
    "refuses others with EINVAL (fuse_uring_add_queue() and fuse_uring_add_bufpool() in fs/fuse/dev_uring.c; Linux "
    "7.3).",
    "Clear the flags that the kernel does not know; INIT tells what it can do.",
)
NO_POOL: Final = Rule(
    "zero-copy-no-pool",
    Severity.ERROR,
    "an entry is registered on a queue for zero-copy that has no pool",
    "A queue that was made with FUSE_URING_ZERO_COPY has its payload buffers in a pool: what is not zero-copied, and "
    "the reply to a WRITE that is, still needs one. Without ADD_BUFPOOL the kernel refuses REGISTER with EINVAL, and "
    "ends io_uring for the whole connection (Linux 7.3).",
    "Send ADD_BUFPOOL between ADD_QUEUE and the first REGISTER.",
)
SLOT_UNWANTED: Final = Rule(
    "slot-not-zero-copy",
    Severity.ERROR,
    "an entry names a slot on a queue that is not made for zero-copy",
    "ent_zero_copy_buf_index of REGISTER is the slot that a request's pages come into. On a queue that was made "
    "without FUSE_URING_ZERO_COPY it has to be 0; the kernel refuses others with EINVAL, and ends io_uring for the "
    "whole connection (fuse_uring_create_ring_ent() in fs/fuse/dev_uring.c; Linux 7.3).",
    "Make the queue by ADD_QUEUE with FUSE_URING_ZERO_COPY, or leave the slot 0.",
)
OWN_PAYLOAD: Final = Rule(
    "payload-beside-pool",
    Severity.ERROR,
    "an entry brings a payload buffer though its queue has a pool",
    "The entries of a queue with a pool have their payload buffers out of it: the second iovec of REGISTER has to be "
    "there, and empty. The kernel refuses others with EINVAL, and ends io_uring for the whole connection "
    "(fuse_uring_create_ring_ent() in fs/fuse/dev_uring.c; Linux 7.3).",
    "Leave the second iovec's base and length 0.",
)
PRIVILEGE: Final = Rule(
    "zero-copy-privilege",
    Severity.ERROR,
    "zero-copy is asked for without CAP_SYS_ADMIN",
    "A queue for zero-copy gives the server the clients' pages, so ADD_QUEUE with FUSE_URING_ZERO_COPY takes "
    "CAP_SYS_ADMIN. The kernel refuses it with EPERM (Linux 7.3).",
    "Run the server with CAP_SYS_ADMIN, or make the queue without FUSE_URING_ZERO_COPY.",
)
REFUSED: Final = Rule(
    "setup-refused",
    Severity.ERROR,
    "the kernel refuses a command that sets a queue up",
    "The kernel does not take ADD_QUEUE, ADD_BUFPOOL or REGISTER as it came, and what was recorded does not tell why "
    "(fs/fuse/dev_uring.c). On Linux 7.3 a REGISTER that fails ends io_uring for the whole connection.",
    "Compare the command's area, which furtrace replay --events shows, with what the kernel wants.",
)
RULES: Final = (
    NO_SQE128,
    NO_SUCH_QUEUE,
    NO_IOVECS,
    HEADERS_SHORT,
    PAYLOAD_SHORT,
    TOO_EARLY,
    NOT_ENABLED,
    ORDER,
    POOL_SHORT,
    FLAGS,
    NO_POOL,
    OWN_PAYLOAD,
    SLOT_UNWANTED,
    PRIVILEGE,
    REFUSED,
)


@dataclass
class Known:
    """What was seen of a connection before.

    ``payload``: bytes that a payload buffer has to have; 0: not known. ``cpus``: possible CPUs; 0: not known.
    ``whole``: nothing since INIT was missed. ``commands``: how many of a kind came for a queue, those that were refused
    not counted; the one that is judged is. ``zero_copy``: queues that were made for it. ``pools``: those that are
    registered buffers. ``bufpools``: the kernel has pools and zero-copy (Linux 7.3).
    """

    payload: int = 0
    cpus: int = 0
    whole: bool = False
    bufpools: bool = False
    commands: Counter[tuple[Kind, int]] = field(default_factory=Counter)
    zero_copy: set[int] = field(default_factory=set)
    pools: RegisteredPools = field(default_factory=RegisteredPools)

    def note(self, command: np.void) -> None:
        """Take in a command."""
        kind, queue = Kind(int(command["kind"])), int(command["queue"])
        self.commands[kind, queue] += 1
        self.pools.take(command)
        if kind is Kind.ADD_QUEUE and command["extra_size"] >= COMMAND_SIZE:
            asked = _area(command).flags & QueueFlag.ZERO_COPY
            self.zero_copy = self.zero_copy | {queue} if asked else self.zero_copy - {queue}

    def note_refusal(self, event: np.void, command: np.void) -> None:
        """Take back a command that was refused."""
        self.commands[Kind(int(command["kind"])), int(command["queue"])] -= 1
        self.pools.take(event)


def cause(event: np.void, command: np.void | None, known: Known) -> tuple[Rule, str]:
    """The rule that explains a refusal, and what was wrong, as the end of a sentence.

    Args:
        event: REFUSED.
        command: the command that it is about; None: it was not seen.
        known: of the connection.
    """
    error = -int(event["error"])
    if error == errno.EINVAL and command is not None:
        return next(filter(None, (look(command, known) for look in _LOOKS)), (REFUSED, ""))
    return _BY_ERROR.get(error, (REFUSED, ""))


_BY_ERROR: Final = {
    errno.EAGAIN: (TOO_EARLY, ": INIT is not answered yet"),
    errno.EOPNOTSUPP: (NOT_ENABLED, ""),
    errno.EEXIST: (ORDER, ": it is there already"),
    errno.EPERM: (PRIVILEGE, ""),
}
_Cause = tuple[Rule, str] | None


def _area(command: np.void) -> CmdReqAddBufpool:
    """The command area; its pool is meant at ADD_BUFPOOL."""
    return CMD_REQ_ADD_BUFPOOL.parse(command["extra"].tobytes())


def _sqe(command: np.void, _known: Known) -> _Cause:
    small = 0 < command["extra_size"] < COMMAND_SIZE
    return (NO_SQE128, ": its SQE has 64 bytes") if small else None


def _flags(command: np.void, _known: Known) -> _Cause:
    if command["kind"] == Kind.REGISTER:  # whose flags the kernel does not look at
        return None
    area, is_pool = _area(command), command["kind"] == Kind.ADD_BUFPOOL
    unknown = area.flags & ~(0 if is_pool else int(QueueFlag.ZERO_COPY))
    if unknown:
        return FLAGS, f": there is no flag {unknown:#x}"
    return (FLAGS, f": its reserved member is {area.bufpool.reserved}") if is_pool and area.bufpool.reserved else None


def _queue(command: np.void, known: Known) -> _Cause:
    beyond = known.cpus and command["queue"] != NO_QUEUE and command["queue"] >= known.cpus
    return (NO_SUCH_QUEUE, f": the last queue is {known.cpus - 1}") if beyond else None


def _order(command: np.void, known: Known) -> _Cause:
    queue = int(command["queue"])
    if command["kind"] != Kind.ADD_BUFPOOL or not known.whole:
        return None
    if not known.commands[Kind.ADD_QUEUE, queue]:
        return ORDER, ": there was no ADD_QUEUE"
    if known.commands[Kind.ADD_BUFPOOL, queue] > 1:
        return ORDER, ": the queue has a pool already"
    return (ORDER, ": an entry is registered already") if known.commands[Kind.REGISTER, queue] else None


def _pool(command: np.void, known: Known) -> _Cause:
    size = _area(command).bufpool.len
    short = command["kind"] == Kind.ADD_BUFPOOL and size < known.payload
    return (POOL_SHORT, f": it has {size} bytes, one buffer takes {known.payload}") if short else None


def _iovecs(command: np.void, _known: Known) -> _Cause:
    # Where there are two, the probe has read them.
    none = not (command["headers"] or command["length"] or command["payload"] or command["payload_size"])
    return (NO_IOVECS, ": sqe->len is not 2") if none and command["kind"] == Kind.REGISTER else None


def _headers(command: np.void, _known: Known) -> _Cause:
    short = command["kind"] == Kind.REGISTER and 0 < command["length"] < HEADER_SIZE
    said = f": its header slot has {command['length']} bytes, {HEADER_SIZE} are needed"
    return (HEADERS_SHORT, said) if short else None


def _buffer(command: np.void, known: Known) -> _Cause:
    own = command["kind"] == Kind.REGISTER and not known.commands[Kind.ADD_BUFPOOL, int(command["queue"])]
    said = f": its payload buffer has {command['payload_size']} bytes, {known.payload} are needed"
    return (PAYLOAD_SHORT, said) if own and command["payload_size"] < known.payload else None


def _slot(command: np.void, known: Known) -> _Cause:
    queue = int(command["queue"])
    if command["kind"] != Kind.REGISTER or not known.bufpools or not known.whole or queue in known.zero_copy:
        return None
    slot = CMD_REQ_REGISTER.parse(command["extra"].tobytes()).ent_zero_copy_buf_index
    return (
        (SLOT_UNWANTED, f": it names slot {slot}, and the queue was made without FUSE_URING_ZERO_COPY")
        if slot
        else None
    )


def _own_payload(command: np.void, known: Known) -> _Cause:
    if command["kind"] != Kind.REGISTER or not known.commands[Kind.ADD_BUFPOOL, int(command["queue"])]:
        return None
    said = f": it brings a payload buffer of {command['payload_size']} bytes, and the queue has a pool"
    return (OWN_PAYLOAD, said) if command["payload"] or command["payload_size"] else None


def _no_pool(command: np.void, known: Known) -> _Cause:
    queue = int(command["queue"])
    lacks = known.whole and queue in known.zero_copy and not known.commands[Kind.ADD_BUFPOOL, queue]
    return (NO_POOL, ": there was no ADD_BUFPOOL") if lacks and command["kind"] == Kind.REGISTER else None


def _named(command: np.void, known: Known) -> _Cause:
    why = known.pools.mismatch(command) if command["kind"] == Kind.REGISTER else None
    return None if why is None else (NOT_NAMED, why)


_LOOKS: Final = (
    *(_sqe, _flags, _queue, _order, _pool),
    *(_iovecs, _slot, _headers, _own_payload, _no_pool, _named, _buffer),
)
"""Why a command may be refused with EINVAL, in the order in which the kernel looks."""
