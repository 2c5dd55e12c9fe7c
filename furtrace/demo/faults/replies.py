"""Answers that are wrong in themselves.

An answer lies in the entry's header until the kernel fetches it with the commit, so it can still be changed after it
was put there: the SQE is submitted when the queue's thread waits for the next completion.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

from furtrace.demo import wire
from furtrace.demo.faults.queue import OneAnswer
from furtrace.demo.ringqueue import Work
from furtrace.demo.wire import Reply
from furtrace.wire.opcodes import Opcode

_ANOTHER = 1 << 20
"""Is added to a unique: even, because bit 0 marks an INTERRUPT's."""
_TOO_MUCH = 4096
_SHORT = 8


class _OutHeader(NamedTuple):
    length: int
    error: int
    unique: int


class _BadHeader(OneAnswer, ABC):
    """Changes the ``fuse_out_header`` of a good answer."""

    def _misbehave(self, work: Work, reply: Reply) -> None:
        self._answer(work, reply)
        good = _OutHeader(*wire.OUT_HEADER.unpack_from(work.entry.header))
        bad = self._changed(good)
        wire.OUT_HEADER.pack_into(work.entry.header, 0, *bad)
        self._confess(f"error {bad.error}, unique {bad.unique}", work)

    @abstractmethod
    def _changed(self, good: _OutHeader) -> _OutHeader:
        """Return the wrong header."""


class WrongUnique(_BadHeader):
    """The answer must have the request's unique (``fuse_uring_out_header_has_err()``).

    Otherwise the client gets ENOENT, and the entry goes on.
    """

    def _changed(self, good: _OutHeader) -> _OutHeader:
        return good._replace(unique=good.unique + _ANOTHER)


class ZeroUnique(_BadHeader):
    """Unique 0 is for notifications, which no ring carries (``fuse_uring_out_header_has_err()``).

    The client gets EINVAL, and the entry goes on.
    """

    def _changed(self, good: _OutHeader) -> _OutHeader:
        return good._replace(unique=0)


class PositiveError(_BadHeader):
    """An error is 0 or a negative errno (``fuse_uring_out_header_has_err()``).

    For another the client gets EINVAL, and the entry goes on.
    """

    def _changed(self, good: _OutHeader) -> _OutHeader:
        return good._replace(error=5)


class IllegalError(_BadHeader):
    """An error is greater than -512, -ERESTARTSYS (``fuse_uring_out_header_has_err()``).

    For another the client gets EINVAL, and the entry goes on.
    """

    def _changed(self, good: _OutHeader) -> _OutHeader:
        return good._replace(error=-1000)


class _BadSize(OneAnswer, ABC):
    """Changes the ``payload_sz`` of a good answer, and the length in its ``fuse_out_header`` with it."""

    def _misbehave(self, work: Work, reply: Reply) -> None:
        self._answer(work, reply)
        size = self._size(work)
        header = _OutHeader(*wire.OUT_HEADER.unpack_from(work.entry.header))
        wire.OUT_HEADER.pack_into(work.entry.header, 0, *header._replace(length=wire.OUT_HEADER.size + size))
        wire.PAYLOAD_SIZE.pack_into(work.entry.header, wire.PAYLOAD_SIZE_OFFSET, size)
        self._confess(f"payload_sz {size}", work)

    @abstractmethod
    def _size(self, work: Work) -> int:
        """Return the wrong size."""


class TooMuchPayload(_BadSize):
    """A READ's answer is no larger than what was asked for (``fuse_copy_out_args()``).

    For a larger one the client gets EINVAL, and the entry goes on.
    """

    def _size(self, work: Work) -> int:
        _handle, _offset, asked, _, _, _, _ = wire.READ_IN.unpack_from(work.delivery.request.op_in)
        return int(asked) + _TOO_MUCH


class PayloadBeyondBuffer(_BadSize):
    """A payload lies in its buffer (``fuse_uring_copy_from_ring()``).

    For a larger one the client gets EINVAL, and the entry goes on.
    """

    def _size(self, work: Work) -> int:
        return max(self._handlers.session.limits.payload_size, len(work.entry.payload)) + _TOO_MUCH


class ShortReply(OneAnswer):
    """An answer has all of its operation's structure (``fuse_copy_out_args()``).

    For a shorter one the client gets EINVAL, and the entry goes on. Not of the root directory: the kernel asks for that
    before the mount can be used.
    """

    opcode = Opcode.GETATTR

    def _is_due(self, work: Work, reply: Reply) -> bool:
        return super()._is_due(work, reply) and work.delivery.request.nodeid != wire.ROOT_ID

    def _misbehave(self, work: Work, reply: Reply) -> None:
        self._answer(work, Reply(0, reply.body[:_SHORT]))
        self._confess(f"{_SHORT} bytes instead of {len(reply.body)}", work)
