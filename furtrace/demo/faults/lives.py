"""Servers that take their time, or their leave, with a request in hand, and such that look away."""

import os
import signal
import time
from struct import Struct
from typing import Any

from furtrace.demo import uring, wire
from furtrace.demo.entries import Buffers
from furtrace.demo.errors import Deserted
from furtrace.demo.faultlog import FaultLog
from furtrace.demo.faults.queue import FaultyQueue, OneAnswer
from furtrace.demo.handlers import Answer, Handlers
from furtrace.demo.memory import Memory
from furtrace.demo.ringqueue import Accounts, Work
from furtrace.demo.sender import ASIDE
from furtrace.demo.wire import Reply, Request
from furtrace.wire.opcodes import Opcode

LATE_SECONDS = 3
_TIMER = ASIDE + 1
_TIMESPEC = Struct("=qq")
_OP_TIMEOUT = 11
_PATIENCE_SECONDS = 0.2
_READ_SECONDS = 0.01


class NoAnswer(OneAnswer):
    """Every request is answered (``request_wait_answer()``).

    The client sleeps until it is, or until the connection ends; it can't even be killed.
    """

    def _misbehave(self, work: Work, _reply: Reply) -> None:
        self._confess("no answer", work)


class NotCommitted(OneAnswer):
    """What lies in the header slot is an answer once it is committed (``fuse_uring_commit_fetch()``), no sooner."""

    def _misbehave(self, work: Work, reply: Reply) -> None:
        outbound = work.transfer.outbound if work.transfer else 0
        work.entry.put(work.delivery.request.unique, 0, reply.body, outbound)
        self._confess("an answer that is not committed", work)


class Unanswered(OneAnswer):
    """Holds a WRITE; the fault is what becomes of the INTERRUPT for it, see ``ignoring_interrupts``.

    Not a READ: the kernel sends no INTERRUPT for those that it does not wait for itself, as most are.
    """

    opcode = Opcode.WRITE

    def _misbehave(self, _work: Work, _reply: Reply) -> None:
        pass


def ignoring_interrupts(answer: Answer, faults: FaultLog) -> Answer:
    """Return ``answer``, which does nothing about an INTERRUPT, with a line in the log for each.

    After an INTERRUPT (``fuse_dev_queue_interrupt()``) the server is to answer the request that it names soon.
    """

    def ask(request: Request) -> Reply:
        if request.opcode == Opcode.INTERRUPT:
            (unique,) = wire.U64.unpack_from(request.op_in)
            faults.committed(f"INTERRUPT {request.unique} ignored", unique=unique)
        return answer(request)

    return ask


class SlowAnswer(OneAnswer):
    """A client waits no longer than it must. The queue's other requests are answered meanwhile."""

    _held: tuple[Work, Reply] | None = None

    def _misbehave(self, work: Work, reply: Reply) -> None:
        self._held = work, reply
        self._timespec = Memory(_TIMESPEC.size)
        _TIMESPEC.pack_into(self._timespec.view, 0, LATE_SECONDS, 0)
        self._ring.push(_OP_TIMEOUT, -1, user_data=_TIMER, address=self._timespec.address, length=1)

    def _aside(self, user_data: int, result: int) -> None:
        if user_data == _TIMER and self._held is not None:
            self._answer(*self._held)
            self._confess(f"an answer {LATE_SECONDS} s late", self._held[0])
        else:
            super()._aside(user_data, result)


class DeadThread(OneAnswer):
    """A queue needs its thread: what the kernel would deliver, it delivers in that (``fuse_uring_send_in_task()``).

    A request for each entry that still waits fails with ECANCELED. Then clients sleep, and the one whose request was in
    hand as well, until the connection ends.
    """

    def _misbehave(self, work: Work, _reply: Reply) -> None:
        self._confess("the thread ends", work)
        raise Deserted


class ServerDies(OneAnswer):
    """A server answers what it has before it ends; its death aborts the connection (``fuse_dev_release()``).

    The client gets ENOTCONN or ECONNABORTED.
    """

    def _misbehave(self, work: Work, _reply: Reply) -> None:
        self._confess("SIGKILL to the server itself", work)
        os.kill(os.getpid(), signal.SIGKILL)


class OneEntry(FaultyQueue):
    """A queue has an entry for each request that its clients make at a time (``fuse_uring_queue_fuse_req()``).

    Where it has one, and a READ keeps that for a while, the others wait, and no other queue's entry takes them over.
    """

    def __init__(self, qid: int, fuse_fd: int, buffers: Buffers, handlers: Handlers, accounts: Accounts) -> None:
        buffers.entries = buffers.entries[:1]
        super().__init__(qid, fuse_fd, buffers, handlers, accounts)
        self._confess("one entry")

    def _reply(self, work: Work, reply: Reply) -> None:
        if work.delivery.request.opcode == Opcode.READ:
            time.sleep(_READ_SECONDS)
        super()._reply(work, reply)


class TinyRing(uring.Ring):
    """A ring with room for one SQE and one CQE; it submits when it is full."""

    completions_an_entry = 1

    def __init__(self) -> None:
        super().__init__(1)

    def push(self, *arguments: Any, **options: Any) -> None:
        """Put one SQE into the ring."""
        if self._queued == self._sq_entries:
            self.enter(0)
        super().push(*arguments, **options)


class CqOverflow(FaultyQueue):
    """A completion queue has room for a completion of each entry (``io_cqring_event_overflow()``).

    Each READ takes a while, until more requests have come meanwhile than there is room for. They come when the server
    waits next; the client sees nothing of it but the delay.
    """

    _overflowed = False

    def _make_ring(self) -> uring.Ring:
        return TinyRing()

    def _reply(self, work: Work, reply: Reply) -> None:
        if work.delivery.request.opcode == Opcode.READ and not self._overflowed:
            time.sleep(_PATIENCE_SECONDS)
            self._overflowed = self._ring.overflowed
            if self._overflowed:
                self._confess("more completions than the one that there is room for", work)
        super()._reply(work, reply)
