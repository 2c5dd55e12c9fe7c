"""Queues that are set up wrong."""

import ctypes
import os
import select
from abc import ABC, abstractmethod
from contextlib import suppress
from struct import Struct

from furtrace.demo import commands, uring
from furtrace.demo.affinity import possible_cpus
from furtrace.demo.entries import IOVECS, Buffers, Command, Entry
from furtrace.demo.errors import DemoError
from furtrace.demo.faults.queue import FaultyQueue, neighbour
from furtrace.demo.handlers import Handlers
from furtrace.demo.memory import Memory
from furtrace.demo.ringqueue import Accounts
from furtrace.demo.sender import Sender

_IOVEC = Struct("=QQ")
_SHORT_HEADERS = 256
"""Without ``fuse_uring_ent_in_out``."""
_SHORT_PAYLOAD = 4096


class Refusable(FaultyQueue):
    """A queue whose REGISTER is refused, which does not end the server.

    Linux 6.18 takes other entries all the same, and everything works as long as ``enable_uring`` stays on. Linux 7.3
    refuses every command of every queue from then on with EOPNOTSUPP, and all requests go through /dev/fuse.
    """

    def register(self, stop_fd: int) -> None:
        """Make the queue and register every entry."""
        self._stop_fd = stop_fd
        super().register(stop_fd)

    def serve(self) -> None:
        """Serve until the stop descriptor is readable, if need be without an entry."""
        super().serve()
        if not self._stopping:
            select.select([self._stop_fd], [], [])

    def _set_up(self, command: Command) -> None:
        with suppress(DemoError):
            super()._set_up(command)

    def _check_registered(self) -> None:
        pass


class StraySetup(Refusable, ABC):
    """Queue 0 does something wrong before it registers its entries as it should."""

    def _register_entry(self, entry: Entry) -> None:
        if self.qid == 0 and entry.index == 0:
            self._misbehave(self._buffers.register(self.qid, entry))
        super()._register_entry(entry)

    @abstractmethod
    def _misbehave(self, good: Command) -> None:
        """Commit the fault; ``good`` is the first entry's REGISTER."""


class OtherIovec(StraySetup):
    """Changes the iovecs of a REGISTER."""

    def _changed(self, good: Command, number: int, size: int) -> Command:
        """Return ``good`` with an iovec that has ``size`` bytes."""
        self._iovecs = Memory(IOVECS * _IOVEC.size)
        self._iovecs.view[:] = ctypes.string_at(good.address, IOVECS * _IOVEC.size)
        address, _size = _IOVEC.unpack_from(self._iovecs.view, number * _IOVEC.size)
        _IOVEC.pack_into(self._iovecs.view, number * _IOVEC.size, address, size)
        return good._replace(address=self._iovecs.address)


class ShortHeaders(OtherIovec):
    """The first iovec of REGISTER has room for ``fuse_uring_req_header`` (``fuse_uring_create_ring_ent()``).

    With less it completes with EINVAL.
    """

    def _misbehave(self, good: Command) -> None:
        self._attempt(self._changed(good, 0, _SHORT_HEADERS))
        self._confess(f"REGISTER with {_SHORT_HEADERS} bytes for the headers")


class ShortPayload(OtherIovec):
    """The second iovec of REGISTER has room for the largest payload (``fuse_uring_create_ring_ent()``).

    With less it completes with EINVAL.
    """

    def _misbehave(self, good: Command) -> None:
        self._attempt(self._changed(good, 1, _SHORT_PAYLOAD))
        self._confess(f"REGISTER with {_SHORT_PAYLOAD} bytes for the payload")


class OneIovec(StraySetup):
    """REGISTER brings two iovecs (``fuse_uring_get_iovec_from_sqe()``).

    With one it completes with EINVAL.
    """

    def _misbehave(self, good: Command) -> None:
        self._attempt(good._replace(length=1))
        self._confess("REGISTER with one iovec")


def register_early(fuse_fd: int, buffers: Buffers, accounts: Accounts) -> None:
    """Send the first command of queue 0 while INIT waits for its answer.

    It comes after that, because the kernel has to know how large requests get; before, it completes with EAGAIN
    (``fuse_uring_cmd()``), and costs nothing.
    """
    first, *_later = [*buffers.setup(0), buffers.register(0, buffers.entries[0])]
    ring = uring.Ring(1)
    sender = Sender(ring, fuse_fd, 0, buffers.fixed, accounts.commands)
    sender.command(first)
    ring.enter(1)  # on EAGAIN io_uring tries again by itself, by a thread of its own, before it says so
    for user_data, result in ring.completions():
        sender.done(user_data, result)
    sender.close()
    ring.close()
    accounts.faults.committed(f"{first.op.name} before the answer to INIT", queue=0)


class QueueOutOfRange(StraySetup):
    """A queue's number is that of a possible CPU (``fuse_uring_register()``).

    With another REGISTER completes with EINVAL.
    """

    def _misbehave(self, good: Command) -> None:
        qid = possible_cpus()
        self._attempt(good._replace(area=commands.register(qid)))
        self._confess(f"REGISTER for queue {qid}")


class _SmallRing(uring.Ring):
    """A ring with SQEs of 64 bytes. Only the first of all lies where the kernel looks for it."""

    flags = uring.Ring.flags & ~uring.SETUP_SQE128


class NoSqe128(FaultyQueue):
    """A command needs an SQE of 128 bytes (``fuse_uring_cmd()``).

    Queue 0 tries it with a second ring, which has SQEs of 64 bytes; the kernel says EINVAL.
    """

    def __init__(self, qid: int, fuse_fd: int, buffers: Buffers, handlers: Handlers, accounts: Accounts) -> None:
        super().__init__(qid, fuse_fd, buffers, handlers, accounts)
        self._fuse_fd = fuse_fd

    def register(self, stop_fd: int) -> None:
        """Try it with small SQEs, then make the queue and register every entry."""
        if self.qid == 0:
            self._misbehave(self._buffers.register(self.qid, self._entries[0]))
        super().register(stop_fd)

    def _misbehave(self, good: Command) -> None:
        ring = _SmallRing(1)
        ring.push(
            uring.OP_URING_CMD,
            self._fuse_fd,
            user_data=0,
            offset=good.op,
            address=good.address,
            length=good.length,
            command=good.area,
        )
        ring.enter(0)
        results = [result for _user_data, result in ring.completions()]
        ring.close()
        said = f"the kernel said {os.strerror(-results[0])}" if results else "the kernel did not refuse"
        self._confess(f"REGISTER through an SQE of 64 bytes: {said}")


class MissingQueue(FaultyQueue):
    """The ring is ready when every possible CPU has a queue with an entry (``is_ring_ready()``).

    Until then every client sleeps (``fuse_get_req()``); it can be killed.
    """

    def register(self, stop_fd: int) -> None:
        """Register the entries of every queue but the last."""
        self._stop_fd = stop_fd
        if self._is_missing():
            self._confess("no entry registered")
        else:
            super().register(stop_fd)

    def serve(self) -> None:
        """Serve until the stop descriptor is readable."""
        if self._is_missing():
            select.select([self._stop_fd], [], [])
        else:
            super().serve()

    def _is_missing(self) -> bool:
        return self.qid == possible_cpus() - 1


class OtherCpu(FaultyQueue):
    """A queue's thread runs on the queue's CPU, from which its requests come (``fuse_uring_task_to_queue()``).

    The kernel does not mind.
    """

    @classmethod
    def cpu(cls, qid: int) -> int:
        """Return another CPU than the queue's."""
        return neighbour(qid)

    def register(self, stop_fd: int) -> None:
        """Register every entry; ``DemoError`` where the thread could not be moved."""
        allowed = os.sched_getaffinity(0)
        if self.qid in allowed:
            raise DemoError(f"the thread of queue {self.qid} can't be moved to another CPU")
        self._confess(f"the thread runs on CPU {min(allowed)}")
        super().register(stop_fd)
