"""Faults that the demo server can be told to commit, each against the running kernel.

A fault is a queue (``RingQueue``) that does one thing otherwise; what else it takes is said in the list here. When it
has been committed is written down, see ``furtrace.demo.faultlog``. A server without a fault uses nothing of this.

No server can break the rule past-the-ring: nothing takes back that a ring is ready (``fuse_uring_do_register()``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from furtrace.demo import wire
from furtrace.demo.entries import Buffers
from furtrace.demo.faultlog import FaultLog
from furtrace.demo.faults import commits, lives, pools, replies, setup
from furtrace.demo.handlers import Answer
from furtrace.demo.modes import Mode
from furtrace.demo.ringqueue import Accounts, RingQueue

_ALL: Final = tuple(Mode)
_POOLED: Final = (Mode.POOL, Mode.FIXED_POOL, Mode.ZERO_COPY)
_COPIED: Final = (Mode.PLAIN, Mode.POOL, Mode.FIXED_POOL)


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: on the command line.
        sentence: what the server does wrong, a sentence.
        queue: what every queue is.
        modes: in which it can be committed; the first is that of a server that is told no mode.
        answers: whether the mount ever answers.
        init_flags: which the INIT reply has although the kernel did not offer them. They are those of io_uring, so the
            server then has no rings.
        stays_enabled: whether ``enable_uring`` is on as long as the server lives. After a refused REGISTER the kernel
            takes commands only while it is (``fuse_uring_cmd()``), and a server of everyday life finds it on.
        buffers: of each pool, where that is part of the fault.
        wrap: makes the answering of what comes through /dev/fuse faulty.
        before_init: is done with /dev/fuse, a queue's memory and the accounts before INIT is answered.

    """

    name: str
    sentence: str
    queue: type[RingQueue] = RingQueue
    modes: tuple[Mode, ...] = _ALL
    answers: bool = True
    init_flags: int = 0
    stays_enabled: bool = False
    buffers: int | None = None
    wrap: Callable[[Answer, FaultLog], Answer] | None = None
    before_init: Callable[[int, Buffers, Accounts], None] | None = None

    @property
    def needs(self) -> str:
        """The oldest kernel that it can be committed on."""
        return "Linux 6.14" if Mode.PLAIN in self.modes else "Linux 7.3"

    @property
    def uring(self) -> bool:
        """Whether the server has rings."""
        return not self.init_flags


_FAULTS: Final = (
    Fault("no-answer", "One READ is never answered.", lives.NoAnswer),
    Fault("no-commit", "A READ's answer is written, and never committed.", lives.NotCommitted),
    Fault("slow-answer", f"One READ is answered {lives.LATE_SECONDS} seconds late.", lives.SlowAnswer),
    Fault(
        "unknown-commit-id",
        "A commit names an id that no request has; the right commit follows.",
        commits.UnknownCommitId,
    ),
    Fault("wrong-queue", "A commit names another queue; the right commit follows.", commits.WrongQueue),
    Fault("commit-twice", "A request is committed twice.", commits.CommitTwice),
    Fault("wrong-unique", "A READ's answer has another unique than the request.", replies.WrongUnique),
    Fault("zero-unique", "A READ's answer has unique 0.", replies.ZeroUnique),
    Fault("positive-error", "A READ's answer has the error +5.", replies.PositiveError),
    Fault("illegal-error", "A READ's answer has the error -1000.", replies.IllegalError),
    Fault("too-much-payload", "A READ is answered with more bytes than it asked for.", replies.TooMuchPayload),
    Fault(
        "payload-beyond-buffer",
        "A READ is answered with more bytes than the payload buffer has.",
        replies.PayloadBeyondBuffer,
    ),
    Fault("short-reply", "A GETATTR is answered with 8 bytes.", replies.ShortReply),
    Fault(
        "missing-queue",
        "The last queue is never registered, so the ring is never ready.",
        setup.MissingQueue,
        answers=False,
    ),
    Fault(
        "uring-off",
        "The INIT reply asks for FUSE over io_uring, which the kernel did not offer.",
        init_flags=wire.OVER_IO_URING,
        modes=(Mode.PLAIN,),
    ),
    Fault("short-headers", "A REGISTER has too little room for the headers.", setup.ShortHeaders, stays_enabled=True),
    Fault(
        "short-payload",
        "A REGISTER has too little room for the payload.",
        setup.ShortPayload,
        modes=(Mode.PLAIN,),
        stays_enabled=True,
    ),
    Fault("one-iovec", "A REGISTER brings one iovec instead of two.", setup.OneIovec, stays_enabled=True),
    Fault(
        "queue-out-of-range", "A REGISTER names a queue that is no CPU's.", setup.QueueOutOfRange, stays_enabled=True
    ),
    Fault(
        "register-early",
        "A queue is set up before INIT is answered, then after it.",
        before_init=setup.register_early,
    ),
    Fault("no-sqe128", "A REGISTER comes through a ring with SQEs of 64 bytes.", setup.NoSqe128),
    Fault("dead-thread", "A queue's thread ends with a request in hand; the server goes on.", lives.DeadThread),
    Fault("server-dies", "The server is killed with a request in hand.", lives.ServerDies),
    Fault("other-cpu", "Every queue's thread runs on another queue's CPU.", setup.OtherCpu),
    Fault("cq-overflow", "Every ring has room for one completion only.", lives.CqOverflow),
    Fault("one-entry", "Every queue has one entry, which each READ keeps for 10 ms.", lives.OneEntry),
    Fault(
        "no-interrupt",
        "One WRITE is never answered, and the INTERRUPT for it is ignored.",
        lives.Unanswered,
        wrap=lives.ignoring_interrupts,
    ),
    Fault("bufpool-first", "ADD_BUFPOOL is sent before ADD_QUEUE, then after it.", pools.BufpoolFirst, modes=_POOLED),
    Fault(
        "bufpool-too-small",
        "ADD_BUFPOOL brings less than one buffer, then enough.",
        pools.BufpoolTooSmall,
        modes=_POOLED,
    ),
    Fault("bad-queue-flags", "ADD_QUEUE has an unknown flag, then none.", pools.BadQueueFlags, modes=_POOLED),
    Fault(
        "without-privilege",
        "ADD_QUEUE asks for zero-copy without CAP_SYS_ADMIN, then with it.",
        pools.WithoutPrivilege,
        modes=(Mode.ZERO_COPY,),
    ),
    Fault(
        "no-pool",
        "A queue for zero-copy registers its entries without a pool.",
        pools.NoPool,
        modes=(Mode.ZERO_COPY,),
        stays_enabled=True,
    ),
    Fault(
        "payload-beside-pool",
        "A REGISTER brings a payload buffer for a queue that has a pool.",
        pools.PayloadBesidePool,
        modes=_POOLED,
        stays_enabled=True,
    ),
    Fault(
        "slot-not-zero-copy",
        "A REGISTER names a slot for a queue without zero-copy.",
        pools.SlotWithoutZeroCopy,
        modes=(Mode.POOL, Mode.FIXED_POOL),
        stays_enabled=True,
    ),
    Fault(
        "slot-out-of-range",
        "Every entry's slot lies beyond the registered buffers.",
        pools.SlotOutOfRange,
        modes=(Mode.ZERO_COPY,),
    ),
    Fault(
        "slot-busy",
        "All entries of a queue have the same slot, and one READ holds it for a while.",
        pools.SlotBusy,
        modes=(Mode.ZERO_COPY,),
    ),
    Fault(
        "queue-not-zero-copy",
        "Queues are made without zero-copy, though every file is opened for it.",
        pools.QueueNotZeroCopy,
        modes=(Mode.ZERO_COPY,),
    ),
    Fault(
        "file-not-zero-copy",
        "Files are opened without zero-copy, though every queue is made for it.",
        pools.FileNotZeroCopy,
        modes=(Mode.ZERO_COPY,),
    ),
    Fault(
        "not-fixed",
        "A commit does not say that the pool is a registered buffer; the right commit follows.",
        pools.NotFixed,
        modes=(Mode.FIXED_POOL,),
    ),
    Fault(
        "register-not-fixed",
        "A REGISTER does not say that the pool is a registered buffer.",
        pools.RegisterNotFixed,
        modes=(Mode.FIXED_POOL,),
        stays_enabled=True,
    ),
    Fault(
        "other-buffer",
        "A commit names another registered buffer than the pool; the right commit follows.",
        pools.OtherBuffer,
        modes=(Mode.FIXED_POOL,),
    ),
    Fault(
        "write-unread",
        "A zero-copied WRITE is acknowledged although nobody has read its pages.",
        pools.WriteUnread,
        modes=(Mode.ZERO_COPY,),
    ),
    Fault(
        "read-unwritten",
        "A zero-copied READ is answered although nobody has written to its pages.",
        pools.ReadUnwritten,
        modes=(Mode.ZERO_COPY,),
    ),
    Fault(
        "dry-pool",
        "Every pool has one buffer, and one READ holds it for a while.",
        lives.SlowAnswer,
        modes=(Mode.POOL, Mode.FIXED_POOL),
        buffers=1,
    ),
)

FAULTS: Final[dict[str, Fault]] = {fault.name: fault for fault in _FAULTS}
"""Every fault by its name."""
