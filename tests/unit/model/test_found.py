"""What was under way as a trace began, and what events tell of it afterwards."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from furtrace.model.conversation import Conversation
from furtrace.model.found import found_requests, wanted
from furtrace.model.requests import Found, first_seen, state
from furtrace.model.snapshot import InList, Pool, Snapshot
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import Flag, Kind, Records, Transport
from furtrace.views.lines import RequestLines
from tests.unit.events import CONNECTION, SERVER, batch, committed, delivered, ended, event, queued, whole
from tests.unit.states import asked, entry, queue, seen

NOW = 100_000_000_000
"""When the state is taken, in nanoseconds."""
INFO = TraceInfo("6.18", "plain", "tracepoints", 0)


def conversation(snapshot: Snapshot) -> Conversation:
    """A conversation that begins with a state."""
    snapshot.ns = NOW
    rows = found_requests(snapshot, {4711: (4710, b"client")}.get)
    made = Conversation()
    made.add_found(snapshot, rows)
    return made


def served(unique: int = 4, address: int = 0xE0) -> Snapshot:
    """A queue of two entries, of which the server has one."""
    busy = replace(entry(InList.USERSPACE, asked(unique, InList.USERSPACE)), address=address)
    return seen(queue(busy, replace(entry(InList.AVAILABLE), address=0xE8, headers=0x2000))).snapshot


def test_what_the_server_has() -> None:
    made = conversation(served())
    (row,) = made.requests.under_way
    assert (row["unique"], row["connection"], row["queue"], row["entry"]) == (4, CONNECTION, 0, 0xE0)
    assert (row["found"], state(row), row["commit_id"]) == (Found.SERVED, "in the server", 4)
    assert (row["client_pid"], row["client_tid"], row["client_comm"].tobytes().rstrip(b"\0")) == (4710, 4711, b"client")
    assert (row["server_pid"], row["server_comm"].tobytes().rstrip(b"\0")) == (42, b"server")
    assert first_seen(made.requests.under_way)[0] == row["made_ns"] == NOW - 10_000_000_000
    (table,) = made.queues.table()
    assert (table.registered, table.in_server, table.available, table.backlog) == (2, 1, 1, 0)


@pytest.mark.parametrize(
    ("where", "said", "transport"),
    [
        (InList.PENDING, "queued", Transport.DEV),
        (InList.PROCESSING, "in the server", Transport.DEV),
        (InList.BACKGROUND, "queued", Transport.UNKNOWN),
    ],
)
def test_what_no_queue_has(where: InList, said: str, transport: Transport) -> None:
    (row,) = conversation(seen(requests=(asked(4, where),)).snapshot).requests.under_way
    assert (state(row), row["transport"], row["entry"]) == (said, transport, 0)


def test_what_waits_in_a_queue() -> None:
    held = entry(InList.USERSPACE, asked(4, InList.USERSPACE))
    made = conversation(seen(queue(held, waiting=(asked(6, InList.QUEUED), asked(8, InList.QUEUED)))).snapshot)
    (table,) = made.queues.table()
    assert (table.backlog, table.deepest, table.in_server) == (2, 2, 1)
    assert [state(row) for row in made.requests.under_way] == ["in the server", "queued", "queued"]
    made.feed(batch(event(Kind.DELIVERED, NOW + 5, unique=6, queue=0, entry=0xE0, transport=1, **SERVER)))
    (table,) = made.queues.table()
    assert (table.backlog, table.in_server) == (1, 2)


def test_it_ends_like_any_other() -> None:
    made = conversation(served())
    members = {"entry": 0xE0, "queue": 0}
    (row,) = made.feed(batch(committed(4, NOW + 5, 15, **members), ended(4, NOW + 9, 15, queue=0)))
    assert (row["unique"], row["ended_ns"], row["server_tid"]) == (4, NOW + 9, SERVER["tid"])
    assert len(made.requests.under_way) == 0
    (line,) = RequestLines(INFO, made.paths).ended(np.array([row]))
    assert line.endswith("<~10000000us: wait ?, server ?, commit 0.0>")


def test_events_know_better() -> None:
    """It was queued when events came already, but the state was not taken yet."""
    made = conversation(served())
    made.feed(batch(queued(4, NOW - 70), delivered(4, NOW - 50, entry=0xE0, queue=0)))
    (row,) = made.requests.under_way
    assert (row["queued_ns"], row["delivered_ns"]) == (NOW - 70, NOW - 50)
    made = conversation(served())
    made.feed(batch(queued(4, NOW - 70)))
    assert state(made.requests.under_way[0]) == "queued"
    assert first_seen(made.requests.under_way)[0] == NOW - 70


def test_a_kernel_that_does_not_keep_when_they_were_made() -> None:
    request = asked(4, InList.PENDING, age=None)
    (row,) = conversation(seen(requests=(request,)).snapshot).requests.under_way
    assert (row["made_ns"], row["found_ns"], first_seen(np.array([row]))[0]) == (0, NOW, NOW)


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        ((None, (), ()), [4, 6, 8]),
        ((4710, (), ()), [4, 6, 8]),
        ((4711, (), ()), []),
        ((None, (16,), ()), [6]),
        ((None, (), (0,)), [8]),
    ],
)
def test_only_what_is_wanted(filters: tuple[Any, Any, Any], left: list[int]) -> None:
    requests = (asked(4, InList.PENDING), asked(6, InList.PENDING, opcode=16))
    snapshot = seen(queue(entry(InList.USERSPACE, asked(8, InList.USERSPACE))), requests=requests).snapshot
    rows = found_requests(snapshot, {4711: (4710, b"client")}.get)
    assert rows["unique"][wanted(rows, *filters)].tolist() == left


def test_an_entry_that_registers_meanwhile_counts_once() -> None:
    made = conversation(served())
    made.feed(batch(*(event(Kind.REGISTER, ns, queue=0, command_op=1) for ns in (NOW - 5, NOW + 5))))
    (table,) = made.queues.table()
    assert table.registered == 3


def test_a_new_connection_of_that_number_has_nothing_of_it() -> None:
    made = conversation(served())
    made.feed(batch(event(Kind.INIT, NOW + 5, opcode=26), event(Kind.REGISTER, NOW + 9, queue=0, command_op=1)))
    assert len(made.requests.under_way) == 0
    assert [table.registered for table in made.queues.table()] == [1]


def _pooled() -> Snapshot:
    pool = Pool(0x7000, 4096, 4, frozenset({0, 3}), None)
    busy = entry(InList.USERSPACE, asked(4, InList.USERSPACE))
    busy = replace(busy, address=0xE0, payload=0x9000, buffer=2, slot=1, zero_copied=True)
    idle = replace(entry(InList.AVAILABLE), address=0xE8, headers=0x2000, buffer=0)
    made = queue(busy, idle, pool=pool)
    made.zero_copy = True
    return seen(made).snapshot


def test_pools_and_slots() -> None:
    made = conversation(_pooled())
    (pool,) = made.pools.table()
    assert (pool.pooled, pool.buffers, pool.free, pool.in_use, pool.counted) == (True, 4, 2, 2, True)
    held = {number: (one.unique, one.entry, one.offset) for number, one in pool.held.items()}
    assert held == {2: (4, 0xE0, 8192)}  # nobody has number 1, as an entry that does not change would
    assert {number: one.unique for number, one in pool.slots.items()} == {1: 4}
    (row,) = made.requests.under_way
    assert (row["buffer_id"], row["pool_offset"], row["slot"], row["pooled"]) == (2, 8192, 1, True)


def test_a_buffer_goes_back() -> None:
    made = conversation(_pooled())
    back = event(Kind.RECYCLED, NOW + 5, queue=0, entry=0xE0, buffer_id=2, flags=Flag.HAS_BUFFER | Flag.POOL)
    back["buffers"], back["buffers_free"] = 4, 3
    made.feed(batch(back))
    (pool,) = made.pools.table()
    assert (pool.held, pool.free) == ({}, 3)


def test_memory() -> None:
    made = conversation(_pooled())
    (memory,) = made.memory.queues(made.requests, made.pools.table())
    assert (memory.pool_address, memory.pool_size) == (0x7000, 16384)
    assert [(slot.address, slot.payload) for slot in memory.slots] == [(0x1000, 0), (0x2000, 0)]
    assert memory.slots[0].holder is not None
    assert (memory.slots[0].holder["unique"], memory.slots[1].holder) == (4, None)


def test_what_comes_later_is_as_ever() -> None:
    made = conversation(served())
    records: list[Records] = whole(6, NOW + 10, entry=0xE8, queue=0)
    (row,) = made.feed(batch(*records))
    assert (row["unique"], row["found"], row["queued_ns"]) == (6, Found.NOT, NOW + 10)
