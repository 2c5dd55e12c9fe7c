"""Buffer pools without a kernel: how large, what the kernel is told of them, and where a request's payload is found."""

import struct
from pathlib import Path

import pytest

from furtrace.demo import commands, wire
from furtrace.demo.entries import Entry, OwnBuffers
from furtrace.demo.modes import Mode
from furtrace.demo.options import Options, conflict, parse
from furtrace.demo.pools import PoolBuffers
from furtrace.demo.session import Limits
from furtrace.wire.commands import CMD_REQ, CMD_REQ_ADD_BUFPOOL, CMD_REQ_REGISTER
from furtrace.wire.flags import EntFlag, QueueFlag
from furtrace.wire.opcodes import Opcode, UringCommand
from furtrace.wire.ring import ENT_IN_OUT_BUFPOOL, EntInOutBufpool
from furtrace.wire.sqe import UringCmdFlag

POOLED = [mode for mode in Mode if mode.pooled]


def test_an_area_that_makes_a_queue() -> None:
    made = CMD_REQ.parse(commands.add_queue(5, commands.ZERO_COPY))
    assert (made.flags, made.commit_id, made.qid) == (QueueFlag.ZERO_COPY, 0, 5)
    assert CMD_REQ.parse(commands.add_queue(5, 0)).flags == 0


def test_an_area_that_adds_a_pool() -> None:
    added = CMD_REQ_ADD_BUFPOOL.parse(commands.add_bufpool(3, 0x7F12_3456_7000, 1 << 31))
    assert (added.flags, added.commit_id, added.qid) == (0, 0, 3)
    assert (added.bufpool.uaddr, added.bufpool.len, added.bufpool.reserved) == (0x7F12_3456_7000, 1 << 31, 0)


def test_an_area_that_registers_or_commits() -> None:
    registered = CMD_REQ_REGISTER.parse(commands.register(2, 1024))
    assert (registered.flags, registered.qid, registered.ent_zero_copy_buf_index) == (0, 2, 1024)
    committed = CMD_REQ.parse(commands.commit(2, 1 << 63))
    assert (committed.flags, committed.commit_id, committed.qid) == (0, 1 << 63, 2)
    assert commands.CMD_FIXED == UringCmdFlag.FIXED


@pytest.mark.parametrize(
    ("max_write", "size"), [(4096, 8192), (10_000, 12_288), (131_072, 131_072), (1 << 20, 1 << 20)]
)
@pytest.mark.parametrize("mode", POOLED)
def test_a_pool_is_as_large_as_its_buffers_are_together(mode: Mode, max_write: int, size: int) -> None:
    memory = Options(Path(), depth=4, buffers=3, limits=Limits(max_write=max_write, mode=mode)).queue_memory()
    _queue, pool = memory.setup(6)
    added = CMD_REQ_ADD_BUFPOOL.parse(pool.area)
    assert (added.qid, added.bufpool.len, pool.size) == (6, 3 * size, 3 * size)
    assert len(memory.entries) == 4


def test_as_many_buffers_as_entries_unless_told_otherwise() -> None:
    memory = Options(Path(), depth=4, limits=Limits(mode=Mode.POOL)).queue_memory()
    assert memory.setup(0)[1].size == 4 * 131_072
    assert isinstance(Options(Path()).queue_memory(), OwnBuffers)


@pytest.mark.parametrize(
    ("mode", "flags", "fixed", "free", "slots"),
    [
        (Mode.POOL, 0, None, 0, [None] * 4),
        (Mode.FIXED_POOL, 0, 1, 1, [None] * 4),
        (Mode.ZERO_COPY, QueueFlag.ZERO_COPY, None, 5, [1, 2, 3, 4]),
    ],
)
def test_what_the_kernel_is_told(mode: Mode, flags: int, fixed: int | None, free: int, slots: list[int | None]) -> None:
    memory = PoolBuffers(mode, 4, 2, 8192)
    queue, pool = memory.setup(1)
    assert (queue.op, pool.op) == (UringCommand.ADD_QUEUE, UringCommand.ADD_BUFPOOL)
    assert CMD_REQ.parse(queue.area).flags == flags
    assert memory.fixed == fixed
    assert list(memory.table).count((0, 0)) == free
    assert [entry.slot for entry in memory.entries] == slots
    for entry in memory.entries:
        registered = CMD_REQ_REGISTER.parse(memory.register(1, entry).area)
        assert registered.ent_zero_copy_buf_index == (entry.slot or 0)
    # Each slot must be a place of the table that is free, and a fixed pool the place that its index names.
    assert all(memory.table[slot] == (0, 0) for slot in slots if slot is not None)
    if fixed is not None:
        bufpool = CMD_REQ_ADD_BUFPOOL.parse(pool.area).bufpool
        assert memory.table[fixed] == (bufpool.uaddr, bufpool.len)


def test_the_second_iovec_of_a_pools_entry_is_empty() -> None:
    memory = PoolBuffers(Mode.POOL, 2, 2, 8192)
    headers = set()
    for entry in memory.entries:
        command = memory.register(0, entry)
        header, header_size, payload, payload_size = iovecs(command.address)
        assert (header_size, payload, payload_size, command.length) == (288, 0, 0, 2)
        headers.add(header)
    assert len(headers) == 2


def iovecs(address: int) -> tuple[int, ...]:
    with Path("/proc/self/mem").open("rb") as memory:
        memory.seek(address)
        return struct.unpack("=QQQQ", memory.read(32))


def put_request(entry: Entry, said: EntInOutBufpool) -> None:
    """Do what the kernel does to an entry's header."""
    wire.IN_HEADER.pack_into(entry.header, 0, 40, Opcode.WRITE, 77, 1, 0, 0, 5, 0, 0)
    entry.header[256:288] = ENT_IN_OUT_BUFPOOL.build(said)


def test_the_payload_is_where_the_offset_says_and_the_answer_goes_there() -> None:
    memory = PoolBuffers(Mode.POOL, 2, 3, 8192)
    entry, other = memory.entries
    put_request(entry, EntInOutBufpool(0, 77, 5, 16_384, 0))
    entry.receive()
    entry.payload[:5] = b"hello"
    delivery = entry.receive()
    assert bytes(delivery.request.payload) == b"hello"
    assert (delivery.commit_id, delivery.payload_sz, delivery.offset, delivery.zero_copied) == (77, 5, 16_384, False)
    entry.put(77, 0, b"answer")
    put_request(other, EntInOutBufpool(0, 78, 6, 16_384, 0))
    assert bytes(other.receive().request.payload) == b"answer"
    put_request(other, EntInOutBufpool(0, 78, 6, 8192, 0))
    assert bytes(other.receive().request.payload) == bytes(6)
    assert len(other.payload) == 8192


def test_what_is_zero_copied_is_not_in_the_payload_and_counts_in_the_answer() -> None:
    (entry,) = PoolBuffers(Mode.ZERO_COPY, 1, 1, 8192).entries
    put_request(entry, EntInOutBufpool(EntFlag.ZERO_COPY, 9, 8192, 0, 0))
    delivery = entry.receive()
    assert (delivery.zero_copied, delivery.payload_sz, len(delivery.request.payload)) == (True, 8192, 0)
    entry.put(9, 0, b"", moved=5000)
    assert ENT_IN_OUT_BUFPOOL.parse(bytes(entry.header[256:288])).payload_sz == 5000
    assert wire.OUT_HEADER.unpack_from(entry.header) == (16 + 5000, 0, 9)


@pytest.mark.parametrize("mode", Mode)
def test_modes_and_the_options_that_go_with_them(mode: Mode) -> None:
    assert conflict(mode, uring=True, buffers=None) is None
    assert (conflict(mode, uring=True, buffers=2) is None) == mode.pooled
    assert (conflict(mode, uring=False, buffers=None) is None) == (mode is Mode.PLAIN)


def test_the_command_line_becomes_options(tmp_path: Path) -> None:
    line = [str(tmp_path), "--mode", "zero-copy", "--depth", "6", "--buffers", "2", "--log-commands", "/x"]
    options = parse(line)
    assert (options.limits.mode, options.depth, options.buffers) == (Mode.ZERO_COPY, 6, 2)
    assert (options.directory, options.log, options.log_commands) == (tmp_path, None, Path("/x"))
    assert parse([str(tmp_path)]).limits.mode is Mode.PLAIN
