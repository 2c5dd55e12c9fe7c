"""An io_uring of 128-byte SQEs, through the system calls themselves.

PyPI's ``liburing`` can't serve here: it holds the interpreter's lock while it waits for completions, so the threads of
the other queues stand still, and its SQE has no way to fill the 80-byte command area, the address or the length.

Layouts: ``include/uapi/linux/io_uring.h``. A ring belongs to one thread; nothing here locks.
"""

import ctypes
import errno
import os
from collections.abc import Iterator, Sequence
from struct import Struct

from furtrace.demo.errors import DemoError
from furtrace.demo.memory import Memory

_SETUP = 425
_ENTER = 426
_REGISTER = 427
"""System call numbers, the same on every architecture."""

SETUP_CQSIZE = 1 << 3
SETUP_SUBMIT_ALL = 1 << 7
SETUP_SQE128 = 1 << 10
_FEAT_SINGLE_MMAP = 1 << 0
_SQ_CQ_OVERFLOW = 1 << 1
_ENTER_GETEVENTS = 1 << 0
_REGISTER_BUFFERS = 0
_OFF_SQ_RING = 0
_OFF_SQES = 0x1000_0000

OP_POLL_ADD = 6
OP_URING_CMD = 46

SQE_SIZE = 128
COMMAND_SIZE = 80
"""Bytes of the area that a command may fill, from byte 48 of the SQE on."""
_CQE_SIZE = 16

_PARAMS = Struct("=IIIIIII3I 10I 10I")
"""``io_uring_params``: sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd, resv[3], and then
``io_sqring_offsets`` and ``io_cqring_offsets``, each eight words and the user address."""
_SQE = Struct("=BBHiQQIIQHHI")
"""``io_uring_sqe`` up to its command area: opcode, flags, ioprio, fd, off (or cmd_op and padding), addr, len, the
operation's flags, user_data, buf_index, personality, splice_fd_in."""
_CQE = Struct("=QiI")
_IOVEC = Struct("=QQ")

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long, *[ctypes.c_ulong] * 6]


class Ring:
    """One ring with room for ``entries`` submissions between two calls of ``enter``.

    There is room for twice as many completions. ``DemoError`` where the kernel offers no ring (io_uring can be compiled
    out, or forbidden by sysctl or seccomp).
    """

    flags = SETUP_SQE128 | SETUP_SUBMIT_ALL | SETUP_CQSIZE
    completions_an_entry = 2

    def __init__(self, entries: int) -> None:
        params = bytearray(_PARAMS.size)
        _PARAMS.pack_into(params, 0, 0, entries * self.completions_an_entry, self.flags, *[0] * 27)
        block = (ctypes.c_char * len(params)).from_buffer(params)
        fd = _syscall(_SETUP, entries, ctypes.addressof(block), 0, 0, 0, 0)
        if fd < 0:
            raise DemoError(f"io_uring is not to be had here: {os.strerror(ctypes.get_errno())}")
        self.fd = fd
        self._map(_PARAMS.unpack(params))
        self._queued = 0

    def _map(self, params: tuple[int, ...]) -> None:
        """Map the rings (one mapping holds both since Linux 5.4) and find their parts."""
        sq_entries, cq_entries, features = params[0], params[1], params[5]
        sq, cq = params[10:20], params[20:30]
        if not features & _FEAT_SINGLE_MMAP:
            os.close(self.fd)
            raise DemoError("this kernel's io_uring is too old for FUSE")
        size = max(sq[6] + sq_entries * 4, cq[5] + cq_entries * _CQE_SIZE)
        self._ring_memory = Memory(size, self.fd, _OFF_SQ_RING)
        self._sqe_memory = Memory(sq_entries * SQE_SIZE, self.fd, _OFF_SQES)
        self._rings, self._sqes = self._ring_memory.view, self._sqe_memory.view
        # Words of the mapping are read and written whole. The system call that follows every change of the submission
        # tail, and comes before every look at the completion tail, orders memory on both sides.
        self._words = self._rings[: size // 4 * 4].cast("I")
        self._sq_tail = sq[1] // 4
        self._sq_mask = self._words[sq[2] // 4]
        self._sq_entries = sq_entries
        self._sq_flags = sq[4] // 4
        self._cq_head, self._cq_tail = cq[0] // 4, cq[1] // 4
        self._cq_mask = self._words[cq[2] // 4]
        self._cqes = cq[5]
        for index in range(sq_entries):
            self._words[sq[6] // 4 + index] = index

    def push(  # noqa: PLR0913
        self,
        opcode: int,
        fd: int,
        *,
        user_data: int,
        offset: int = 0,
        address: int = 0,
        length: int = 0,
        op_flags: int = 0,
        buf_index: int = 0,
        command: bytes = b"",
    ) -> None:
        """Put one SQE into the ring; the kernel sees it with the next ``enter``.

        ``offset`` is the field that a command's ``cmd_op`` shares; ``command`` fills the command area.
        ``DemoError`` when the ring is full.
        """
        if self._queued == self._sq_entries:
            raise DemoError("the submission ring is full")
        tail = self._words[self._sq_tail]
        at = (tail & self._sq_mask) * SQE_SIZE
        _SQE.pack_into(self._sqes, at, opcode, 0, 0, fd, offset, address, length, op_flags, user_data, buf_index, 0, 0)
        end = at + _SQE.size + len(command)
        self._sqes[at + _SQE.size : end] = command
        self._sqes[end : at + SQE_SIZE] = bytes(at + SQE_SIZE - end)
        self._words[self._sq_tail] = (tail + 1) & 0xFFFF_FFFF
        self._queued += 1

    def register_buffers(self, table: Sequence[tuple[int, int]]) -> None:
        """Register memory, address and size each; ``(0, 0)`` leaves a place for what the kernel will put there.

        ``DemoError`` when the kernel refuses, such as for want of memory that may be locked.
        """
        iovecs = Memory(len(table) * _IOVEC.size)
        for number, buffer in enumerate(table):
            _IOVEC.pack_into(iovecs.view, number * _IOVEC.size, *buffer)
        result = _syscall(_REGISTER, self.fd, _REGISTER_BUFFERS, iovecs.address, len(table), 0, 0)
        number = ctypes.get_errno()
        iovecs.close()
        if result < 0:
            raise DemoError(f"{len(table)} buffers can't be registered with io_uring: {os.strerror(number)}")

    def enter(self, wait_for: int) -> None:
        """Submit what was pushed and wait until ``wait_for`` completions are there; other threads run meanwhile.

        ``OSError`` when the kernel refuses; a signal is no error, the call may then return early.
        """
        flags = _ENTER_GETEVENTS if wait_for else 0
        result = _syscall(_ENTER, self.fd, self._queued, wait_for, flags, 0, 0)
        if result < 0:
            number = ctypes.get_errno()
            if number == errno.EINTR:
                return
            raise OSError(number, os.strerror(number))
        self._queued -= result

    @property
    def overflowed(self) -> bool:
        """Whether the kernel holds completions back that found no room; ``enter`` that waits lets them come."""
        return bool(self._words[self._sq_flags] & _SQ_CQ_OVERFLOW)

    def completions(self) -> Iterator[tuple[int, int]]:
        """Yield ``(user_data, result)`` of each completion that is there, and give its place back to the kernel."""
        words = self._words
        head = words[self._cq_head]
        while head != words[self._cq_tail]:
            user_data, result, _flags = _CQE.unpack_from(self._rings, self._cqes + (head & self._cq_mask) * _CQE_SIZE)
            head = (head + 1) & 0xFFFF_FFFF
            words[self._cq_head] = head
            yield user_data, result

    def close(self) -> None:
        """Close the ring; the kernel cancels every command that it still holds."""
        os.close(self.fd)
        self._ring_memory.close()
        self._sqe_memory.close()
