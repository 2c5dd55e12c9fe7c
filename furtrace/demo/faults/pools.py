"""What can be done wrong with the buffer pools and the zero-copy of Linux 7.3."""

from abc import ABC, abstractmethod

from furtrace.demo import capabilities, commands, wire
from furtrace.demo.entries import Buffers, Command, Entry
from furtrace.demo.faults.lives import SlowAnswer
from furtrace.demo.faults.queue import FaultyQueue, OneAnswer
from furtrace.demo.faults.setup import OtherIovec, Refusable, StraySetup
from furtrace.demo.handlers import Handlers
from furtrace.demo.memory import Memory
from furtrace.demo.ringqueue import Accounts, Work
from furtrace.demo.sender import CommandLog, Sender
from furtrace.demo.wire import Reply
from furtrace.demo.zerocopy import Transfer
from furtrace.wire.opcodes import Opcode, UringCommand
from furtrace.wire.sqe import IoUringOp

_ILLEGAL_FLAG = 1 << 7
_TOO_SMALL = 4096
_OUT_OF_RANGE = 0xFFF0


class _StraySetupCommand(FaultyQueue, ABC):
    """Queue 0 sends something wrong before one of its setup's commands, which it then sends as it should."""

    before = UringCommand.ADD_QUEUE

    def _set_up(self, command: Command) -> None:
        if self.qid == 0 and command.op is self.before:
            self._misbehave(command)
        super()._set_up(command)

    @abstractmethod
    def _misbehave(self, good: Command) -> None:
        """Commit the fault; ``good`` is the command that comes after it."""


class BufpoolFirst(_StraySetupCommand):
    """ADD_BUFPOOL comes after ADD_QUEUE; before it, it completes with EINVAL."""

    def _misbehave(self, _good: Command) -> None:
        _add_queue, add_bufpool = self._buffers.setup(self.qid)
        self._attempt(add_bufpool)
        self._confess("ADD_BUFPOOL before ADD_QUEUE")


class BufpoolTooSmall(_StraySetupCommand):
    """A pool has room for a buffer at least; with less ADD_BUFPOOL completes with EINVAL."""

    before = UringCommand.ADD_BUFPOOL

    def _misbehave(self, good: Command) -> None:
        small = Memory(_TOO_SMALL)
        area = commands.add_bufpool(self.qid, small.address, _TOO_SMALL)
        self._attempt(good._replace(area=area, size=_TOO_SMALL))
        self._confess(f"ADD_BUFPOOL with {_TOO_SMALL} bytes")


class BadQueueFlags(_StraySetupCommand):
    """ADD_QUEUE has no flag but FUSE_URING_ZERO_COPY; with another it completes with EINVAL."""

    def _misbehave(self, good: Command) -> None:
        flags = (good.flags or 0) | _ILLEGAL_FLAG
        self._attempt(good._replace(area=commands.add_queue(self.qid, flags), flags=flags))
        self._confess(f"ADD_QUEUE with flags {flags:#x}")


class WithoutPrivilege(_StraySetupCommand):
    """ADD_QUEUE for zero-copy takes CAP_SYS_ADMIN; without it, it completes with EPERM (``fuse_uring_add_queue()``).

    The queue's thread lays it down for that one command, as a server may that has mounted already.
    """

    def _misbehave(self, good: Command) -> None:
        with capabilities.without(capabilities.SYS_ADMIN):
            self._attempt(good)
        self._confess("ADD_QUEUE for zero-copy without CAP_SYS_ADMIN")


class NoPool(Refusable):
    """A queue for zero-copy has a pool before it has entries.

    Without one REGISTER completes with EINVAL (``fuse_uring_create_ring_ent()``).
    """

    def _set_up(self, command: Command) -> None:
        if self.qid == 0 and command.op is UringCommand.ADD_BUFPOOL:
            self._confess("no ADD_BUFPOOL")
        else:
            super()._set_up(command)


class PayloadBesidePool(OtherIovec):
    """The second iovec of REGISTER is empty on a queue that has a pool (``fuse_uring_create_ring_ent()``).

    With another it completes with EINVAL.
    """

    def _misbehave(self, good: Command) -> None:
        self._attempt(self._changed(good, 1, _TOO_SMALL))
        self._confess(f"REGISTER with {_TOO_SMALL} bytes for the payload, beside the pool")


class SlotWithoutZeroCopy(StraySetup):
    """A slot is for queues that were made for zero-copy (``fuse_uring_create_ring_ent()``).

    On another REGISTER completes with EINVAL.
    """

    def _misbehave(self, good: Command) -> None:
        self._attempt(good._replace(area=commands.register(self.qid, 1), slot=1))
        self._confess("REGISTER with slot 1 on a queue without zero-copy")


class QueueNotZeroCopy(FaultyQueue):
    """A queue that is to zero-copy says so in ADD_QUEUE (``can_zero_copy_req()``).

    The kernel copies the data of its requests, whatever their files were opened with.
    """

    def _set_up(self, command: Command) -> None:
        if command.op is UringCommand.ADD_QUEUE:
            command = command._replace(area=commands.add_queue(self.qid, 0), flags=0)
            self._confess("ADD_QUEUE without FUSE_URING_ZERO_COPY")
        super()._set_up(command)

    def _register_entry(self, entry: Entry) -> None:
        entry.slot = None
        super()._register_entry(entry)


class FileNotZeroCopy(FaultyQueue):
    """A file that is to be zero-copied is opened with FOPEN_IO_URING_ZERO_COPY (``can_zero_copy_req()``).

    The kernel copies the data of others, whatever their queue was made for.
    """

    def _reply(self, work: Work, reply: Reply) -> None:
        opens = work.delivery.request.opcode in (Opcode.OPEN, Opcode.CREATE)
        if opens and not reply.error:
            reply = reply._replace(body=self._changed(bytes(reply.body)))
            self._confess("no FOPEN_IO_URING_ZERO_COPY in the reply", work)
        super()._reply(work, reply)

    def _changed(self, body: bytes) -> bytes:
        """Return the reply's body, at whose end ``fuse_open_out`` stands, without the flag."""
        handle, flags, backing = wire.OPEN_OUT.unpack(body[-wire.OPEN_OUT.size :])
        changed = wire.OPEN_OUT.pack(handle, flags & ~wire.FOPEN_IO_URING_ZERO_COPY, backing)
        return body[: -wire.OPEN_OUT.size] + changed


class _BadSlot(FaultyQueue, ABC):
    """Registers entries with another slot than theirs, and takes it for theirs itself."""

    def _register_entry(self, entry: Entry) -> None:
        slot = self._slot()
        if slot != entry.slot:
            entry.slot = slot
            self._confess(f"slot {slot} for entry {entry.index}")
        super()._register_entry(entry)

    @abstractmethod
    def _slot(self) -> int | None:
        """Return the wrong slot."""


class SlotOutOfRange(_BadSlot):
    """A slot is an index of the ring's registered buffers (``io_buffer_register_bvec()``).

    The kernel takes the REGISTER. Zero-copied requests fail with EINVAL before the server sees them.
    """

    def _slot(self) -> int:
        return _OUT_OF_RANGE


class SlotBusy(_BadSlot, SlowAnswer):
    """Each entry has a slot of its own (``io_buffer_register_bvec()``).

    One zero-copied READ is answered late, so that another one finds the slot taken.
    """

    def _slot(self) -> int | None:
        return self._entries[0].slot

    def _confess(self, detail: str, work: Work | None = None) -> None:
        if work is None:
            super()._confess(detail)


class _StrayFixed(OneAnswer):
    """Sends a commit that names something else than the registered pool, then the right one."""

    detail = ""

    def _misbehave(self, work: Work, reply: Reply) -> None:
        commit_id = work.delivery.commit_id
        command = Command(UringCommand.COMMIT_AND_FETCH, commands.commit(self.qid, commit_id))
        self._send_stray(command, work.entry.index, commit_id)
        self._answer(work, reply)
        self._confess(self.detail, work)


class NotFixed(_StrayFixed):
    """Commands of a queue with a registered pool have IORING_URING_CMD_FIXED.

    A commit without it completes with EINVAL.
    """

    detail = "a commit without IORING_URING_CMD_FIXED, then one with it"

    def _stray_sender(self, fuse_fd: int, log: CommandLog) -> Sender:
        return Sender(self._ring, fuse_fd, self.qid, None, log)


class RegisterNotFixed(StraySetup):
    """Commands of a queue with a registered pool have IORING_URING_CMD_FIXED.

    A REGISTER without it completes with EINVAL.
    """

    def _stray_sender(self, fuse_fd: int, log: CommandLog) -> Sender:
        return Sender(self._ring, fuse_fd, self.qid, None, log)

    def _misbehave(self, good: Command) -> None:
        self._attempt(good)
        self._confess("REGISTER without IORING_URING_CMD_FIXED")


class OtherBuffer(_StrayFixed):
    """Commands of a queue with a registered pool name that pool; a commit that does not completes with EINVAL."""

    detail = "a commit that names another registered buffer, then one that names the pool"

    def __init__(self, qid: int, fuse_fd: int, buffers: Buffers, handlers: Handlers, accounts: Accounts) -> None:
        self._other = Memory(_TOO_SMALL)
        self._other_index = len(buffers.table)
        buffers.table = [*buffers.table, (self._other.address, _TOO_SMALL)]
        super().__init__(qid, fuse_fd, buffers, handlers, accounts)

    def _stray_sender(self, fuse_fd: int, log: CommandLog) -> Sender:
        return Sender(self._ring, fuse_fd, self.qid, self._other_index, log)


class _Unmoved(FaultyQueue):
    """Answers one zero-copied request as if its data had been moved."""

    op = IoUringOp.READ_FIXED

    def _transfer(self, work: Work, transfer: Transfer) -> None:
        if transfer.op is self.op and transfer.left and self._faults.claim():
            transfer.moved = transfer.length
            self._confess(f"{transfer.length} bytes not moved", work)
        super()._transfer(work, transfer)


class WriteUnread(_Unmoved):
    """The server reads what it says is written: nobody else does (``fuse_uring_set_up_zero_copy()``).

    The kernel does not notice; the data is lost.
    """

    op = IoUringOp.WRITE_FIXED


class ReadUnwritten(_Unmoved):
    """The server fills the pages that it says are read: nobody else does (``fuse_uring_set_up_zero_copy()``).

    The kernel does not notice; the client reads what was in the pages.
    """
