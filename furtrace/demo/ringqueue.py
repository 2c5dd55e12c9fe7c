"""One queue of the connection: a ring, its entries, and the loop of a thread that serves them.

An entry is registered once (REGISTER); from then on every answer fetches the next request (COMMIT_AND_FETCH).
"""

import errno
import os
import select
import sys
import time

from furtrace.demo import uring, wire
from furtrace.demo.entries import IOVECS, Entry, OwnBuffers
from furtrace.demo.errors import DemoError
from furtrace.demo.handlers import Answer
from furtrace.demo.witness import Seen, Witness
from furtrace.wire.opcodes import UringCommand

_CONNECTION_ENDED = (errno.ENOTCONN, errno.ECONNABORTED, errno.ECANCELED)
_STOP = 1 << 32
"""``user_data`` of the poll on the stop descriptor; an entry's is its index."""


class RingQueue:
    """Queue ``qid`` of the connection on ``fuse_fd``; it belongs to the thread that makes it."""

    def __init__(self, qid: int, fuse_fd: int, buffers: OwnBuffers, answer: Answer, witness: Witness) -> None:
        self.qid = qid
        self._fuse_fd = fuse_fd
        self._buffers = buffers
        self._answer = answer
        self._witness = witness
        self._entries = buffers.entries
        self._ring = uring.Ring(len(self._entries) + 1)
        self._live = len(self._entries)
        self._stopping = False

    def register(self, stop_fd: int) -> None:
        """Register every entry, and watch ``stop_fd``; ``DemoError`` when the kernel refuses an entry.

        A registration that succeeds completes with the first request only; one that fails has completed on return.
        """
        for entry in self._entries:
            self._push(UringCommand.REGISTER, entry, 0, address=self._buffers.iovecs(entry), length=IOVECS)
        self._ring.push(uring.OP_POLL_ADD, stop_fd, user_data=_STOP, op_flags=select.POLLIN)
        self._ring.enter(0)
        self._take()
        if self._live < len(self._entries):
            raise DemoError(f"the kernel refused to register queue {self.qid}")

    def serve(self) -> None:
        """Serve until no entry is left (unmounted, aborted, all refused) or the stop descriptor is readable."""
        while self._live and not self._stopping:
            self._ring.enter(1)
            self._take()

    def close(self) -> None:
        """Close the ring."""
        self._ring.close()

    def _take(self) -> None:
        for user_data, result in self._ring.completions():
            if user_data == _STOP:
                self._stopping = True
            elif result == 0:
                self._serve_one(self._entries[user_data])
            else:
                self._lost(user_data, result)

    def _push(self, command: int, entry: Entry, commit_id: int, *, address: int = 0, length: int = 0) -> None:
        self._ring.push(
            uring.OP_URING_CMD,
            self._fuse_fd,
            user_data=entry.index,
            offset=command,
            address=address,
            length=length,
            command=wire.CMD_REQ.pack(0, commit_id, self.qid),
        )

    def _serve_one(self, entry: Entry) -> None:
        receipt = time.monotonic_ns()
        request, commit_id = entry.request()
        payload_in = len(request.payload)
        reply = self._answer(request)
        error, body = reply.error or 0, reply.body
        if len(body) > len(entry.payload):
            error, body = -errno.E2BIG, b""
        entry.put(request.unique, error, body)
        self._push(UringCommand.COMMIT_AND_FETCH, entry, commit_id)
        self._witness.add(
            Seen(
                self.qid,
                entry.index,
                request.unique,
                commit_id,
                request.opcode,
                request.nodeid,
                request.pid,
                error,
                payload_in,
                len(body),
                receipt,
                time.monotonic_ns(),
            )
        )

    def _lost(self, index: int, result: int) -> None:
        """Account for an entry that the kernel gave back for good: the connection ends, or a command was refused."""
        self._live -= 1
        if -result not in _CONNECTION_ENDED:
            print(f"entry {index} of queue {self.qid} was refused: {os.strerror(-result)}", file=sys.stderr)
