"""One queue of the connection: a ring, its entries, and the loop of a thread that serves them.

An entry is registered once (REGISTER); from then on every answer fetches the next request (COMMIT_AND_FETCH). A request
whose pages are zero-copied is answered when io_uring has moved its data; the others go on meanwhile.
"""

import errno
import os
import select
import sys
import time
from dataclasses import dataclass
from typing import NamedTuple

from furtrace.demo import commands, uring
from furtrace.demo.entries import Buffers, Command, Delivery, Entry
from furtrace.demo.errors import DemoError
from furtrace.demo.faultlog import FaultLog
from furtrace.demo.handlers import Handlers
from furtrace.demo.sender import ASIDE, STOP, CommandLog, Sender
from furtrace.demo.wire import Reply
from furtrace.demo.witness import Seen, Witness
from furtrace.demo.zerocopy import Transfer
from furtrace.wire.opcodes import UringCommand

_CONNECTION_ENDED = (errno.ENOTCONN, errno.ECONNABORTED, errno.ECANCELED)


class Accounts(NamedTuple):
    """What the server writes down: of requests, of what it submits, and of the faults that it commits."""

    requests: Witness
    commands: CommandLog
    faults: FaultLog


@dataclass(slots=True)
class Work:
    """A request in an entry's hands, and the transfer that its answer waits for."""

    entry: Entry
    delivery: Delivery
    receipt_ns: int
    transfer: Transfer | None = None


class RingQueue:
    """Queue ``qid`` of the connection on ``fuse_fd``; it belongs to the thread that makes it.

    What a server with a fault does otherwise is in subclasses, see ``furtrace.demo.faults``.
    """

    def __init__(self, qid: int, fuse_fd: int, buffers: Buffers, handlers: Handlers, accounts: Accounts) -> None:
        self.qid = qid
        self._buffers = buffers
        self._handlers = handlers
        self._witness = accounts.requests
        self._entries = buffers.entries
        self._ring = self._make_ring()
        self._sender = Sender(self._ring, fuse_fd, qid, buffers.fixed, accounts.commands)
        self._live = len(self._entries)
        self._moving: dict[int, Work] = {}
        self._stopping = False

    @classmethod
    def cpu(cls, qid: int) -> int:
        """Return the CPU that the thread of queue ``qid`` runs on: the kernel puts there what that CPU asks."""
        return qid

    def register(self, stop_fd: int) -> None:
        """Make the queue, register every entry, and watch ``stop_fd``; ``DemoError`` when the kernel refuses anything.

        A registration that succeeds completes with the first request only; one that fails has completed on return.
        """
        if self._buffers.table:
            self._ring.register_buffers(self._buffers.table)
        for command in self._buffers.setup(self.qid):
            self._set_up(command)
        for entry in self._entries:
            self._register_entry(entry)
        self._ring.push(uring.OP_POLL_ADD, stop_fd, user_data=STOP, op_flags=select.POLLIN)
        self._ring.enter(0)
        self._take()
        self._check_registered()

    def serve(self) -> None:
        """Serve until no entry is left (unmounted, aborted, all refused) or the stop descriptor is readable."""
        while self._live and not self._stopping:
            self._ring.enter(1)
            self._take()
        # What came together with the stop has been answered and is in the log, so the kernel must get it.
        self._ring.enter(0)

    def close(self) -> None:
        """Close the ring."""
        self._sender.close()
        self._ring.close()

    def _make_ring(self) -> uring.Ring:
        """Return a ring with room for a command of each entry, and for the poll on the stop descriptor."""
        return uring.Ring(len(self._entries) + 1)

    def _register_entry(self, entry: Entry) -> None:
        self._sender.command(self._buffers.register(self.qid, entry), entry.index)

    def _check_registered(self) -> None:
        if self._live < len(self._entries):
            raise DemoError(f"the kernel refused to register queue {self.qid}")

    def _set_up(self, command: Command) -> None:
        """Send a command that completes at once."""
        self._sender.command(command)
        self._ring.enter(1)
        for user_data, result in self._ring.completions():
            self._sender.done(user_data, result)
            if result < 0:
                name = command.op.name
                raise DemoError(f"the kernel refused {name} for queue {self.qid}: {os.strerror(-result)}")

    def _take(self) -> None:
        for user_data, result in self._ring.completions():
            if user_data >= ASIDE:
                self._aside(user_data, result)
                continue
            index, was_transfer = self._sender.done(user_data, result)
            if was_transfer:
                self._transferred(self._moving.pop(index), result)
            elif result == 0:
                self._serve_one(self._entries[index])
            else:
                self._lost(index, result)

    def _aside(self, user_data: int, _result: int) -> None:
        """Account for a completion that is no entry's."""
        if user_data == STOP:
            self._stopping = True

    def _serve_one(self, entry: Entry) -> None:
        receipt = time.monotonic_ns()
        work = Work(entry, entry.receive(), receipt)
        request = work.delivery.request
        if not work.delivery.zero_copied:
            self._reply(work, self._handlers.answer(request))
            return
        begun = self._handlers.begin(request)
        if isinstance(begun, Reply):
            self._reply(work, begun)
            return
        work.transfer = begun
        self._transfer(work, begun)

    def _transfer(self, work: Work, transfer: Transfer) -> None:
        """Let the data be moved, or answer where there is no more to be moved."""
        if transfer.left and work.entry.slot is not None:
            self._moving[work.entry.index] = work
            self._sender.transfer(transfer, work.entry.index, work.entry.slot)
        else:
            self._reply(work, self._handlers.end(work.delivery.request, transfer))

    def _transferred(self, work: Work, result: int) -> None:
        transfer = work.transfer
        assert transfer is not None
        transfer.advance(result)
        self._transfer(work, transfer)

    def _reply(self, work: Work, reply: Reply) -> None:
        entry, delivery = work.entry, work.delivery
        error, body = reply.error or 0, reply.body
        if len(body) > len(entry.payload):
            error, body = -errno.E2BIG, b""
        outbound = work.transfer.outbound if work.transfer and not error else 0
        entry.put(delivery.request.unique, error, body, outbound)
        commit_id = delivery.commit_id
        command = Command(UringCommand.COMMIT_AND_FETCH, commands.commit(self.qid, commit_id))
        self._sender.command(command, entry.index, commit_id)
        if self._witness.enabled:
            self._witness.add(self._seen(work, error, len(body) + outbound))

    def _seen(self, work: Work, error: int, payload_out: int) -> Seen:
        delivery = work.delivery
        request = delivery.request
        return Seen(
            self.qid,
            work.entry.index,
            request.unique,
            delivery.commit_id,
            request.opcode,
            request.nodeid,
            request.pid,
            error,
            delivery.payload_sz,
            payload_out,
            work.receipt_ns,
            time.monotonic_ns(),
            delivery.offset,
            delivery.zero_copied,
            work.entry.slot if delivery.zero_copied else None,
            None if work.transfer is None else work.transfer.moved,
        )

    def _lost(self, index: int, result: int) -> None:
        """Account for an entry that the kernel gave back for good: the connection ends, or a command was refused."""
        self._live -= 1
        if -result not in _CONNECTION_ENDED:
            print(f"entry {index} of queue {self.qid} was refused: {os.strerror(-result)}", file=sys.stderr)
