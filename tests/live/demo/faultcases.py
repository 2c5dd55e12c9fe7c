"""What has to be found of each fault that the demo server can commit."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Case:
    """What has to be found of a fault.

    Attributes:
        rule: that it breaks.
        steps: of the client that brings it about.
        consequences: rules that may be broken by what follows from it.
        options: of ``furtrace check``.
        depth: entries of each queue.
        kills: the client is killed once it hangs.
    """

    rule: str
    steps: tuple[str, ...] = ("write", "read")
    consequences: frozenset[str] = frozenset()
    options: tuple[str, ...] = ()
    depth: int = 2
    kills: bool = False


HANGS: Final = ("--unanswered", "1")
WAITS: Final = frozenset({"no-entry", "not-fetched"})
GIVEN_UP: Final = frozenset({"setup-not-enabled"})
"""A REGISTER that fails ends io_uring for the whole connection (Linux 7.3)."""
CASES: Final = {
    "no-answer": Case("unanswered", options=HANGS),
    "no-commit": Case("unanswered", options=HANGS),
    "slow-answer": Case("slow"),
    "unknown-commit-id": Case("commit-unknown"),
    "wrong-queue": Case("commit-wrong-queue"),
    "commit-twice": Case("commit-twice"),
    "wrong-unique": Case("reply-unique"),
    "zero-unique": Case("reply-unique"),
    "positive-error": Case("reply-error"),
    "illegal-error": Case("reply-error"),
    "too-much-payload": Case("reply-too-long"),
    "payload-beyond-buffer": Case("reply-too-long"),
    "short-reply": Case("reply-too-short", ("write", "size")),
    "missing-queue": Case("ring-not-ready", ("space",), options=HANGS),
    "uring-off": Case("uring-off"),
    "short-headers": Case("headers-too-short", consequences=GIVEN_UP),
    "short-payload": Case("payload-too-short", consequences=GIVEN_UP),
    "one-iovec": Case("iovecs-missing", consequences=GIVEN_UP),
    "queue-out-of-range": Case("queue-out-of-range", consequences=GIVEN_UP),
    "register-early": Case("setup-too-early"),
    "no-sqe128": Case("sqe-too-small"),
    "dead-thread": Case("unanswered", consequences=WAITS, options=HANGS),
    "server-dies": Case("cut-off"),
    "other-cpu": Case("other-cpu", ("write", "reads", "reads")),
    "cq-overflow": Case("cq-overflow", ("write", "together"), depth=8),
    "one-entry": Case("queue-imbalance", ("write", "crowd")),
    "no-interrupt": Case(
        "interrupt-ignored", ("write",), frozenset({"unanswered"}), options=(*HANGS, "--forgets"), kills=True
    ),
    "bufpool-first": Case("setup-order"),
    "bufpool-too-small": Case("pool-too-small"),
    "bad-queue-flags": Case("setup-flags"),
    "without-privilege": Case("zero-copy-privilege"),
    "no-pool": Case("zero-copy-no-pool", consequences=GIVEN_UP),
    "payload-beside-pool": Case("payload-beside-pool", consequences=GIVEN_UP),
    "slot-not-zero-copy": Case("slot-not-zero-copy", consequences=GIVEN_UP),
    "slot-out-of-range": Case("slot-refused", ("write", "space")),
    "slot-busy": Case("slot-refused", ("write", "together"), frozenset({"slow"})),
    "queue-not-zero-copy": Case("zero-copy-missing", ("write", "reads")),
    "file-not-zero-copy": Case("zero-copy-missing", ("write", "reads")),
    "not-fixed": Case("pool-not-named"),
    "register-not-fixed": Case("pool-not-named", consequences=GIVEN_UP),
    "other-buffer": Case("pool-not-named"),
    "write-unread": Case("write-unread"),
    "read-unwritten": Case("read-unwritten"),
    "dry-pool": Case("pool-dry", ("write", "together"), frozenset({"slow"}), depth=8),
}

OF_ANOTHER: Final = {"slot-busy", "slot-out-of-range", "server-dies", "cq-overflow"}
"""Faults that are not committed on one request: of the entries, of the server."""

WITHOUT_A_FAULT: Final = {
    "past-the-ring": "no server can break it",
    "setup-not-enabled": "follows from a REGISTER that fails, on Linux 7.3",
    "setup-refused": "what none of the other rules explains",
    "commit-refused": "follows from a REGISTER that fails when the ring is in use, on Linux 7.3",
    "reply-not-taken": "what none of the other rules explains",
    "no-entry": "follows from requests that are not answered",
    "no-buffer": "follows from requests that are not answered",
    "not-fetched": "follows from a thread that is gone or stopped",
    "waiting": "of servers that read /dev/fuse",
    "entries-gone": "of a state: furtrace inspect finds it, where the fault is dead-thread",
    "queue-stopped": "of a state that no server can bring about",
    "slow-for-its-kind": "of a server that is stopped for a moment, tried with the checks",
    "buffers-oversized": "of a server with the largest buffers, tried with the checks",
}
"""Rules that are not what is wrong with a server that commits one of the faults, and why."""
