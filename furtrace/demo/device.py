"""The connection through read(2) and write(2) of /dev/fuse.

A classic server does everything here; a ring server what never goes through a ring: INIT, FORGET,
BATCH_FORGET, INTERRUPT.
"""

import errno
import os
import select
import time
from collections.abc import Callable

from furtrace.demo import wire
from furtrace.demo.handlers import Answer
from furtrace.demo.witness import Seen, Witness
from furtrace.wire.opcodes import Opcode

_GONE = (errno.ENODEV, errno.ECONNABORTED)
_AGAIN = (errno.EAGAIN, errno.EINTR, errno.ENOENT)
"""ENOENT: the request was interrupted before it could be read (``fuse_dev_do_read()``)."""
_HEADROOM = 4096

_OP_IN_SIZES: dict[int, int] = {
    Opcode.LOOKUP: 0,
    Opcode.SYMLINK: 0,
    Opcode.UNLINK: 0,
    Opcode.RMDIR: 0,
    Opcode.REMOVEXATTR: 0,
    Opcode.MKDIR: 8,
    Opcode.RENAME: 8,
    Opcode.LINK: 8,
    Opcode.SETXATTR: 8,
    Opcode.GETXATTR: 8,
    Opcode.BATCH_FORGET: 8,
    Opcode.MKNOD: 16,
    Opcode.CREATE: 16,
    Opcode.RENAME2: 16,
    Opcode.WRITE: 40,
}
"""Where the operation's own structure ends and names and data begin; operations that are not here have neither."""


class Device:
    """Reads requests from ``fd`` and writes the answers, until the connection ends or ``stop_fd`` is readable.

    ``max_write`` is the size in bytes of the largest write that INIT agrees to.
    """

    def __init__(self, fd: int, stop_fd: int, max_write: int, answer: Answer, witness: Witness) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self._answer = answer
        self._witness = witness
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._poll.register(stop_fd, select.POLLIN)
        self._stop_fd = stop_fd
        self._buffer = memoryview(bytearray(max_write + _HEADROOM + wire.MIN_READ_BUFFER))

    def serve(self) -> None:
        """Serve until the end of the connection."""
        while self._wait() and self.serve_waiting():
            pass

    def serve_waiting(self) -> bool:
        """Answer what is there to be read; ``False`` when the connection is gone."""
        while True:
            try:
                size = os.readv(self.fd, [self._buffer])
            except OSError as problem:
                if problem.errno in _AGAIN:
                    return True
                if problem.errno in _GONE:
                    return False
                raise
            self._serve_one(self._buffer[:size])

    def serve_until(self, reached: Callable[[], bool], timeout: float) -> bool:
        """Answer requests until ``reached()``; ``False`` after ``timeout`` seconds or at the end of the connection."""
        end = time.monotonic() + timeout
        while not reached():
            left = end - time.monotonic()
            if left <= 0 or not self._wait(left) or not self.serve_waiting():
                return False
        return True

    def _wait(self, timeout: float | None = None) -> bool:
        ready = self._poll.poll(None if timeout is None else timeout * 1000)
        return all(fd != self._stop_fd for fd, _events in ready)

    def _serve_one(self, message: memoryview) -> None:
        receipt = time.monotonic_ns()
        request = _parse(message)
        reply = self._answer(request)
        sent: int | None = None
        if reply.error is not None:
            sent = time.monotonic_ns()
            self._send(request, reply)
        self._witness.add(
            Seen(
                None,
                None,
                request.unique,
                None,
                request.opcode,
                request.nodeid,
                request.pid,
                reply.error,
                len(request.payload),
                len(reply.body),
                receipt,
                sent,
            )
        )

    def _send(self, request: wire.Request, reply: wire.Reply) -> None:
        size = wire.OUT_HEADER.size + len(reply.body)
        header = wire.OUT_HEADER.pack(size, reply.error, request.unique)
        try:
            os.writev(self.fd, [header, reply.body])
        except OSError as problem:
            # ENOENT: the client was killed and its request is gone. The end of the connection is noticed by reading.
            if problem.errno not in (errno.ENOENT, *_GONE):
                raise


def _parse(message: memoryview) -> wire.Request:
    header = wire.IN_HEADER.unpack_from(message)
    body = message[wire.IN_HEADER.size :]
    split = _OP_IN_SIZES.get(header[1], len(body))
    return wire.Request(header, body[:split], body[split:])
