"""Rows of the iterator, and what they say of a connection."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from furtrace.model.slots import Reply, reply_in
from furtrace.model.snapshot import (
    Connected,
    EntryState,
    InList,
    Names,
    PayloadMode,
    Request,
    RowKind,
    Snapshot,
    decode,
    hertz,
)
from furtrace.probe.snapshot import ROW, Rows
from furtrace.trace.record import NO_QUEUE
from furtrace.wire.opcodes import Opcode

FLAGS = {3: "FR_WAITING", 8: "FR_SENT"}
REAL = Path(__file__).parents[2] / "data" / "snapshot-7.3.bin"
"""Of Linux 7.3.4: two demo servers with three entries a queue; one for zero-copy, one whose pool has one buffer and is
registered buffer 1."""


def row(kind: RowKind, *values: int, **members: Any) -> Rows:
    """A row of connection 7."""
    made = np.zeros(1, ROW)
    known = {"kind": kind, "connection": 7, "queue": NO_QUEUE} | members
    for name, value in known.items():
        made[name] = value
    made["value"][0, : len(values)] = values
    return made


def half(low: int, high: int) -> int:
    return low | high << 32


JIFFIES, NS = (1 << 32) - 300 * 250 + 250 * 100, 100_000_000_000
CONNECTION = row(
    RowKind.CONNECTION,
    *(half(131072, 32), half(64, 2), half(1, 9), 45, JIFFIES, NS, half(2, 8), 131072),
    flags=Connected.CONNECTED | Connected.INITIALIZED | Connected.HAS_RING,
)


def request(unique: int, age: int = 0, flags: int = 0) -> tuple[int, ...]:
    """The values of a READ, so many jiffies old."""
    return unique, 5, half(Opcode.READ, 80), half(4711, 1000), JIFFIES - age, flags


def snapshot(*rows: Rows, **how: Any) -> Snapshot:
    (found,) = decode(np.concatenate([CONNECTION, *rows]), Names(FLAGS, **how))
    return found


def test_a_connection() -> None:
    server = row(RowKind.SERVER, half(4242, 3), *np.frombuffer(b"my server\0\0\0\0\0\0\0", "<u8").tolist())
    (found,) = decode(np.concatenate([server, CONNECTION, server]), Names(FLAGS))
    assert (found.number, found.servers) == (7, {4242: b"my server"})
    assert (found.max_write, found.max_pages, found.minor) == (131072, 32, 45)
    assert (found.max_background, found.num_background, found.active_background, found.waiting) == (64, 2, 1, 9)
    assert (found.nr_queues, found.references, found.max_payload) == (2, 8, 131072)
    assert (found.ready, found.lacking) == (False, [0, 1])


def test_requests_and_their_ages() -> None:
    rows = [
        row(RowKind.QUEUE, queue=1),
        row(RowKind.REQUEST, *request(4, 500, 1 << 8), queue=1, list=InList.QUEUED),
        row(RowKind.REQUEST, *request(2, 1000), list=InList.PENDING),
        row(RowKind.ENTRY, 1, 2, 3, 0, 0, *request(6, 250), queue=1, list=InList.USERSPACE, state=4, flags=2),
    ]
    found = snapshot(*rows)
    assert [(one.unique, one.age_s, one.queue) for one in found.all_requests()] == [
        (2, 4.0, None),
        (4, 2.0, 1),
        (6, 1.0, 1),
    ]
    (waiting,) = found.queues[1].waiting
    assert waiting == Request(4, Opcode.READ, 5, 80, 4711, 1000, ("FR_SENT",), 2.0, InList.QUEUED, 1)
    (entry,) = found.queues[1].entries
    assert (entry.headers, entry.payload, entry.payload_size, entry.state) == (1, 2, 3, EntryState.USERSPACE)
    assert (entry.buffer, entry.slot, entry.zero_copied) == (None, None, False)
    assert found.lacking == [0]


def test_lists_that_changed_meanwhile() -> None:
    rows = [
        row(RowKind.QUEUE, queue=0),
        row(RowKind.LIST, 3, queue=0, list=InList.AVAILABLE),
        row(RowKind.LIST, 2, queue=0, list=InList.USERSPACE, flags=1),
        row(RowKind.LIST, 4, list=InList.PROCESSING),
        row(RowKind.LIST, 5, list=InList.PROCESSING, flags=1),  # of another /dev/fuse of the same connection
    ]
    found = snapshot(*rows)
    assert found.queues[0].lengths == {InList.AVAILABLE: 3, InList.USERSPACE: 2}
    assert found.queues[0].changed == {InList.USERSPACE}
    assert (found.lengths, found.changed) == ({InList.PROCESSING: 9}, {InList.PROCESSING})


def test_entries_that_moved_while_lists_were_read() -> None:
    rows = [
        row(RowKind.QUEUE, queue=0),
        row(RowKind.ENTRY, queue=0, list=InList.AVAILABLE, address=1),
        row(RowKind.ENTRY, queue=0, list=InList.AVAILABLE, address=2),
        row(RowKind.ENTRY, queue=0, list=InList.USERSPACE, address=1),
    ]
    found = snapshot(*rows)
    assert [(one.address, one.where) for one in found.queues[0].entries] == [
        (1, InList.USERSPACE),
        (2, InList.AVAILABLE),
    ]
    assert found.queues[0].changed == {InList.AVAILABLE, InList.USERSPACE}
    assert found.moved == 8 - 2


@pytest.mark.parametrize("made", [0, JIFFIES + 1])
def test_an_age_that_is_not_known(made: int) -> None:
    values = (*request(2)[:4], made, 0)
    assert snapshot(row(RowKind.REQUEST, *values, list=InList.PENDING)).requests[0].age_s is None


@given(st.sampled_from([100, 250, 300, 1000]), st.integers(1, 10**9))
def test_the_rate_of_jiffies(rate: int, seconds: int) -> None:
    found = hertz((1 << 32) - 300 * rate + rate * seconds, seconds * 10**9)
    assert found == rate or (found is None and 290 <= seconds <= 310)


def test_no_rate_fits() -> None:
    assert hertz(12345, 10**12) is None


@given(st.integers(1, 2000), st.data())
def test_the_bitmap_of_a_pool(buffers: int, data: st.DataObject) -> None:
    free = data.draw(st.frozensets(st.integers(0, buffers - 1)))
    bits = np.zeros(-(-buffers // 512) * 512, np.uint8)
    bits[list(free)] = 1
    words = np.packbits(bits, bitorder="little").view("<u8")
    maps = [row(RowKind.BITMAP, at, *words[at : at + 8].tolist(), queue=0) for at in range(0, len(words), 8)]
    pool = snapshot(row(RowKind.QUEUE, 0, 4096, 8192, buffers, 3, queue=0, flags=4, state=2), *maps, has_modes=True)
    found = pool.queues[0].pool
    assert found is not None
    assert (found.buffers, found.free, found.base, found.buffer_size, found.registered) == (
        *(buffers, free, 4096, 8192),
        None,
    )


def test_pools_and_zero_copy_of_a_real_kernel() -> None:
    first, second = decode(np.frombuffer(REAL.read_bytes(), ROW), Names(FLAGS, has_modes=True))
    assert (first.ready, second.ready) == (True, True)
    assert (first.minor, first.max_payload, first.references) == (46, 131072, 6)
    for queue in (*first.queues.values(), *second.queues.values()):
        assert queue.mode is PayloadMode.POOL
        assert {entry.state for entry in queue.entries} == {EntryState.AVAILABLE}
        assert queue.count(InList.AVAILABLE) == len(queue.entries) == 3
        assert queue.pool is not None
        assert queue.pool.free == frozenset(range(queue.pool.buffers))
    assert [queue.zero_copy for queue in first.queues.values()] == [True, True]
    assert {entry.slot for entry in first.queues[0].entries} == {1, 2, 3}
    assert [queue.pool.registered for queue in second.queues.values() if queue.pool] == [1, 1]
    assert [queue.pool.buffers for queue in second.queues.values() if queue.pool] == [1, 1]


HELD = Request(84, Opcode.READ, 5, 80, 4711, 1000, (), 2.0, InList.USERSPACE, 1)


def slot(second: int, unique: int, payload: int) -> bytes:
    """A header slot: length, what is at the place of opcode and error, unique, and payload_sz."""
    head = (
        (16 + payload).to_bytes(4, "little") + second.to_bytes(4, "little", signed=True) + unique.to_bytes(8, "little")
    )
    return head.ljust(272, b"\0") + payload.to_bytes(4, "little").ljust(16, b"\0")


def test_a_reply_that_was_not_committed() -> None:
    assert reply_in(slot(0, 84, 4096), HELD) == Reply(0, 4112, 4096)
    assert reply_in(slot(-5, 84, 0), HELD) == Reply(-5, 16, 0)


@pytest.mark.parametrize(
    "header",
    [slot(Opcode.READ, 84, 0), slot(0, 82, 4096), bytes(288), slot(0, 84, 0)[:287]],
    ids=["the request itself", "the reply of the request before", "nothing", "too short"],
)
def test_what_is_no_reply(header: bytes) -> None:
    assert reply_in(header, HELD) is None
