"""What faulty queues have in common: commands that no honest server would send, and the account of the fault."""

from abc import ABC, abstractmethod

from furtrace.demo import affinity, uring
from furtrace.demo.entries import Buffers, Command
from furtrace.demo.errors import DemoError
from furtrace.demo.handlers import Handlers
from furtrace.demo.ringqueue import Accounts, RingQueue, Work
from furtrace.demo.sender import ASIDE, CommandLog, Sender
from furtrace.demo.wire import Reply
from furtrace.wire.opcodes import Opcode

_STRAY = ASIDE << 1
_ROOM = 8


class FaultyQueue(RingQueue):
    """A queue that can send stray commands: such that are no entry's, so that a refusal costs no entry."""

    def __init__(self, qid: int, fuse_fd: int, buffers: Buffers, handlers: Handlers, accounts: Accounts) -> None:
        super().__init__(qid, fuse_fd, buffers, handlers, accounts)
        self._faults = accounts.faults
        self._stray = self._stray_sender(fuse_fd, accounts.commands)

    def close(self) -> None:
        """Close the ring."""
        self._stray.close()
        super().close()

    def _make_ring(self) -> uring.Ring:
        return uring.Ring(len(self._entries) + _ROOM)

    def _stray_sender(self, fuse_fd: int, log: CommandLog) -> Sender:
        return Sender(self._ring, fuse_fd, self.qid, self._buffers.fixed, log)

    def _send_stray(self, command: Command, entry: int | None = None, commit_id: int | None = None) -> None:
        self._stray.command(command, entry, commit_id, mark=_STRAY)

    def _attempt(self, command: Command) -> None:
        """Let the kernel look at a stray command now; it refuses at once, if it refuses."""
        self._send_stray(command)
        self._ring.enter(0)
        self._take()

    def _aside(self, user_data: int, result: int) -> None:
        if user_data & _STRAY:
            self._stray.done(user_data, result)
        else:
            super()._aside(user_data, result)

    def _confess(self, detail: str, work: Work | None = None) -> None:
        """Write down that the fault has been committed, to the request of ``work`` if there is one."""
        if work is None:
            self._faults.committed(detail, queue=self.qid)
        else:
            unique, commit_id = work.delivery.request.unique, work.delivery.commit_id
            self._faults.committed(detail, queue=self.qid, unique=unique, commit_id=commit_id)


class OneAnswer(FaultyQueue, ABC):
    """A queue whose server does wrong by one request: the first of its kind that could be answered well."""

    opcode = Opcode.READ

    def _reply(self, work: Work, reply: Reply) -> None:
        if self._is_due(work, reply) and self._faults.claim():
            self._misbehave(work, reply)
        else:
            super()._reply(work, reply)

    def _is_due(self, work: Work, reply: Reply) -> bool:
        return work.delivery.request.opcode == self.opcode and not reply.error

    @abstractmethod
    def _misbehave(self, work: Work, reply: Reply) -> None:
        """Commit the fault instead of answering as one should."""

    def _answer(self, work: Work, reply: Reply) -> None:
        """Answer as one should."""
        super()._reply(work, reply)


def neighbour(number: int) -> int:
    """Return another queue's number, or another CPU's; ``DemoError`` where there is but one."""
    count = affinity.possible_cpus()
    if count == 1:
        raise DemoError("this fault needs a second queue, and a machine with one CPU has none")
    return (number + 1) % count
