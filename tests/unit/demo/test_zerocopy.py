"""Zero-copied requests without a kernel: the file's side of them, and a ring that moves bytes in the server's stead."""

import errno
import json
from pathlib import Path

import pytest

from furtrace.demo import wire
from furtrace.demo.backing import unless_copied
from furtrace.demo.entries import Command
from furtrace.demo.errors import DemoError
from furtrace.demo.handlers import Handlers
from furtrace.demo.memory import Memory
from furtrace.demo.modes import Mode
from furtrace.demo.node import Node, Owner
from furtrace.demo.sender import CommandLog, Sender
from furtrace.demo.session import Limits, Session
from furtrace.demo.tree import Tree
from furtrace.demo.uring import Ring
from furtrace.demo.wire import Reply, Request
from furtrace.demo.zerocopy import Transfer
from furtrace.wire.flags import InitFlag, OpenReplyFlag
from furtrace.wire.opcodes import Opcode, UringCommand
from furtrace.wire.sqe import IoUringOp

OWNER = Owner(0, 0)


@pytest.fixture
def session() -> Session:
    return Session(Tree(OWNER, space=8 * 4096, contents=unless_copied), Limits(mode=Mode.ZERO_COPY))


def request(opcode: int, node: Node, offset: int = 0, size: int = 0) -> Request:
    op_in = wire.READ_IN.pack(1, offset, size, 0, 0, 0, 0)
    return Request((40 + len(op_in), opcode, 2, node.ino, 0, 0, 77, 0, 0), op_in, b"")


def begun(handlers: Handlers, asked: Request) -> Transfer:
    transfer = handlers.begin(asked)
    assert isinstance(transfer, Transfer)
    return transfer


def test_only_files_that_are_backed_are_opened_for_zero_copy(session: Session) -> None:
    flags = {}
    for name in (b"a", b"a.copy"):
        node = session.tree.create(session.tree.root, name, 0o644, OWNER)
        reply = Handlers(session).answer(request(Opcode.OPEN, node))
        _handle, flags[name], _backing = wire.OPEN_OUT.unpack(reply.body)
    assert flags == {b"a": OpenReplyFlag.IO_URING_ZERO_COPY, b"a.copy": 0}


@pytest.mark.parametrize(
    ("offset", "size", "length"), [(0, 100, 100), (9000, 5000, 1000), (10_000, 1, 0), (1 << 40, 9, 0)]
)
def test_a_read_moves_no_more_than_there_is(session: Session, offset: int, size: int, length: int) -> None:
    node = session.tree.create(session.tree.root, b"a", 0o644, OWNER)
    session.tree.write(node, 0, b"x" * 10_000)
    asked = request(Opcode.READ, node, offset, size)
    handlers = Handlers(session)
    transfer = begun(handlers, asked)
    assert (transfer.op, transfer.offset, transfer.left) == (IoUringOp.READ_FIXED, offset, length)
    transfer.advance(length)
    assert transfer.outbound == length
    assert handlers.end(asked, transfer) == Reply(0, b"")


def test_a_write_takes_its_room_first_and_says_what_was_moved(session: Session) -> None:
    node = session.tree.create(session.tree.root, b"a", 0o644, OWNER)
    node.mtime = 0
    asked = request(Opcode.WRITE, node, 4096, 8192)
    handlers = Handlers(session)
    transfer = begun(handlers, asked)
    assert (transfer.op, transfer.offset, transfer.left) == (IoUringOp.WRITE_FIXED, 4096, 8192)
    assert session.tree.space.used == 2
    transfer.advance(8192)
    assert handlers.end(asked, transfer) == Reply(0, wire.TWO_U32.pack(8192, 0))
    assert transfer.outbound == 0
    assert node.mtime > 0
    assert handlers.begin(request(Opcode.WRITE, node, 0, 10 * 4096)) == Reply(-errno.ENOSPC, b"")


def test_pages_for_a_file_that_is_not_backed_are_refused(session: Session) -> None:
    node = session.tree.create(session.tree.root, b"a.copy", 0o644, OWNER)
    assert Handlers(session).begin(request(Opcode.READ, node, 0, 100)) == Reply(-errno.EIO, b"")
    assert Handlers(session).begin(request(Opcode.READ, session.tree.root)) == Reply(-errno.EISDIR, b"")


def test_a_transfer_goes_on_until_it_is_complete_at_its_end_or_failed(session: Session) -> None:
    node = session.tree.create(session.tree.root, b"a", 0o644, OWNER)
    for results, moved, error in (([60, 40], 100, 0), ([60, 0], 60, 0), ([60, -5], 60, -5)):
        transfer = Transfer(IoUringOp.READ_FIXED, 0, 0, 100)
        for result in results:
            assert transfer.left
            transfer.advance(result)
        assert (transfer.left, transfer.moved) == (0, moved)
        assert Handlers(session).end(request(Opcode.READ, node), transfer).error == error


@pytest.mark.parametrize(("mode", "said"), [(Mode.PLAIN, False), (Mode.POOL, True), (Mode.ZERO_COPY, True)])
def test_init_answers_that_pools_are_used(mode: Mode, said: bool) -> None:
    session = Session(Tree(OWNER), Limits(mode=mode))
    offered = InitFlag.INIT_EXT | InitFlag.OVER_IO_URING | InitFlag.HAS_IO_URING_BUFPOOL
    op_in = wire.INIT_IN.pack(7, 46, 0, offered & 0xFFFF_FFFF) + (offered >> 32).to_bytes(4, "little")
    Handlers(session).answer(Request((56, Opcode.INIT, 2, 0, 0, 0, 0, 0, 0), op_in, b""))
    assert bool(session.flags & InitFlag.HAS_IO_URING_BUFPOOL) == said


@pytest.fixture
def ring() -> Ring:
    try:
        return Ring(4)
    except DemoError as problem:
        pytest.skip(str(problem))


def test_a_ring_moves_bytes_between_a_registered_buffer_and_a_file(ring: Ring, tmp_path: Path) -> None:
    # Zero-copied pages are such a buffer, whose addresses count from 0; this one's count from its own.
    memory = Memory(8192)
    ring.register_buffers([(0, 0), (memory.address, 8192)])
    memory.view[:5] = b"bytes"
    log = CommandLog(tmp_path / "log")
    sender = Sender(ring, -1, 3, None, log)
    with (tmp_path / "file").open("wb") as file:
        start = memory.address
        transfer = Transfer(IoUringOp.WRITE_FIXED, file.fileno(), 7 - start, start + 5, moved=start)
        sender.transfer(transfer, 2, 1)
        ring.enter(1)
        ((user_data, result),) = ring.completions()
        assert (sender.done(user_data, result), result) == ((2, True), 5)
    assert (tmp_path / "file").read_bytes() == bytes(7) + b"bytes"
    ring.close()
    log.close()
    (line,) = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert (line["op"], line["queue"], line["entry"], line["buf_index"]) == ("WRITE_FIXED", 3, 2, 1)
    assert (line["bytes"], line["result"]) == (5, 5)
    assert line["sent_ns"] <= line["done_ns"]


def test_a_ring_that_refuses_buffers_says_so(ring: Ring) -> None:
    with pytest.raises(DemoError, match="1 buffers can't be registered with io_uring: Bad address"):
        ring.register_buffers([(4096, 4096)])
    ring.close()


@pytest.mark.parametrize("fixed", [None, 1])
def test_commands_carry_the_pools_index(fixed: int | None, tmp_path: Path) -> None:
    class Recorder:
        def push(self, *_: object, **fields: int) -> None:
            self.fields = fields

    recorder, log = Recorder(), CommandLog(tmp_path / "log")
    sender = Sender(recorder, 9, 0, fixed, log)  # type: ignore[arg-type]
    sender.command(Command(UringCommand.COMMIT_AND_FETCH, b"area"), 4, 77)
    assert (recorder.fields["op_flags"], recorder.fields["buf_index"]) == ((0, 0) if fixed is None else (1, 1))
    assert (recorder.fields["offset"], recorder.fields["user_data"]) == (2, 4)
    sender.close()
    log.close()
    line = json.loads((tmp_path / "log").read_text())
    assert (line["op"], line["commit_id"], line["buf_index"]) == ("COMMIT_AND_FETCH", 77, fixed)
    assert line["result"] is line["done_ns"] is None
