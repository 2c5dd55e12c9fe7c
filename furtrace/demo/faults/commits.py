"""Commits that the kernel can't take, sent beside the one that it can.

The kernel completes each with ENOENT; the client sees nothing of it.
"""

from furtrace.demo import commands
from furtrace.demo.entries import Command
from furtrace.demo.faults.queue import OneAnswer, neighbour
from furtrace.demo.ringqueue import Work
from furtrace.demo.sender import CommandLog, Sender
from furtrace.demo.wire import Reply
from furtrace.wire.opcodes import UringCommand

_NOBODYS = 1 << 40
"""Is added to a commit id. The kernel's are counted up from 2, so that it does not get there."""


class _StrayCommit(OneAnswer):
    def _commit(self, work: Work, qid: int, commit_id: int) -> None:
        command = Command(UringCommand.COMMIT_AND_FETCH, commands.commit(qid, commit_id))
        self._send_stray(command, work.entry.index, commit_id)


class UnknownCommitId(_StrayCommit):
    """A commit names a request that the server has (``fuse_uring_commit_fetch()``)."""

    def _misbehave(self, work: Work, reply: Reply) -> None:
        commit_id = work.delivery.commit_id + _NOBODYS
        self._commit(work, self.qid, commit_id)
        self._answer(work, reply)
        self._confess(f"a commit with id {commit_id}, then the right one", work)


class WrongQueue(_StrayCommit):
    """A commit goes to the queue that the request came from (``fuse_uring_commit_fetch()``)."""

    def _stray_sender(self, fuse_fd: int, log: CommandLog) -> Sender:
        return Sender(self._ring, fuse_fd, neighbour(self.qid), self._buffers.fixed, log)

    def _misbehave(self, work: Work, reply: Reply) -> None:
        qid = neighbour(self.qid)
        self._commit(work, qid, work.delivery.commit_id)
        self._answer(work, reply)
        self._confess(f"a commit to queue {qid}, then to the right one", work)


class CommitTwice(_StrayCommit):
    """A request is committed once: with its answer it is gone (``fuse_uring_commit_fetch()``)."""

    def _misbehave(self, work: Work, reply: Reply) -> None:
        self._answer(work, reply)
        self._commit(work, self.qid, work.delivery.commit_id)
        self._confess("the same commit twice", work)
