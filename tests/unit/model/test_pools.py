"""Pools and slots: against a kernel at random, and by what little a tracepoint tells."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from furtrace.model.conversation import Conversation
from furtrace.model.pools import Pool
from furtrace.model.zerocopy import CopiedBecause
from furtrace.trace.record import NO_BUFFER, NOT_COUNTED, Flag, Kind, Records
from furtrace.wire.opcodes import Opcode
from tests.unit.events import CONNECTION, after_loss, batch, committed, delivered, ended, event, queued, whole
from tests.unit.model.kernel import BUFFERS, QUEUE, SIZE, Kernel, kernels

_SEEN_BY_FUNCTIONS = (Kind.SELECTED, Kind.RECYCLED, Kind.PAGES_REGISTERED, Kind.PAGES_UNREGISTERED)
_POOLED: dict[str, Any] = {"flags": Flag.POOL | Flag.HAS_BUFFER, "buffer_id": 2, "pool_offset": 2 * SIZE}
_IN_SLOT = Flag.POOL | Flag.QUEUE_ZERO_COPY | Flag.FILE_ZERO_COPY | Flag.ZERO_COPIED | Flag.HAS_SLOT | Flag.HAS_PAGES
_SLOT: dict[str, Any] = {"flags": _IN_SLOT, "slot": 4, "buffer_id": NO_BUFFER}


def _pool(*batches: Records, lost: int = 0) -> Pool:
    """The only pool after these batches; ``lost``: with the last of them."""
    conversation = Conversation()
    for number, one in enumerate(batches, start=1):
        conversation.feed(after_loss(one, lost if number == len(batches) else 0))
    (pool,) = conversation.pools.table()
    return pool


def _pools(*batches: Records) -> list[Pool]:
    conversation = Conversation()
    for one in batches:
        conversation.feed(one)
    return conversation.pools.table()


def _selected(unique: int, ns: int, free: int, **members: Any) -> Records:
    known = {"unique": unique, "opcode": Opcode.GETATTR, "queue": 3, "entry": 0xE0, "flags": Flag.HAS_BUFFER}
    known |= {"buffer_id": 2, "pool_offset": 2 * SIZE, "buffers": 4, "buffers_free": free}
    return event(Kind.SELECTED, ns, **(known | members))


def _dry(unique: int, ns: int) -> Records:
    return _selected(unique, ns, 0, error=-105, flags=Flag.HAS_ERROR)


def _recycled(ns: int, free: int, **members: Any) -> Records:
    known = {"queue": 3, "entry": 0xE0, "flags": Flag.HAS_BUFFER, "buffer_id": 2, "buffers": 4, "buffers_free": free}
    return event(Kind.RECYCLED, ns, **(known | members))


def _cut(events: list[Records], cuts: list[int]) -> list[Records]:
    return np.split(batch(*events), cuts)


@settings(deadline=None, max_examples=150)
@given(kernels(), st.lists(st.integers(0, 200), max_size=8))
def test_equals_the_kernel(kernel: Kernel, cuts: list[int]) -> None:
    cuts = sorted(cut for cut in cuts if cut <= len(kernel.events))
    conversation = Conversation()
    seen = 0
    for part in _cut(kernel.events, cuts):
        conversation.feed(part)
        seen += len(part)
        (pool,) = conversation.pools.table() or [Pool(CONNECTION, QUEUE)]
        if not seen:
            continue
        assert {number: holding.entry for number, holding in pool.held.items()} == kernel.held[seen - 1]
        assert {number: holding.unique for number, holding in pool.slots.items()} == kernel.slots[seen - 1]
        assert all(holding.offset == number * SIZE for number, holding in pool.held.items())
        assert all(holding.size == 4096 for holding in pool.slots.values())
        if pool.watched:
            assert (pool.buffers, pool.in_use) == (BUFFERS, len(kernel.held[seen - 1]))
    assert [pool.selected, pool.recycled, pool.dry] == list(kernel.counts.values())
    assert pool.peak == max(map(len, kernel.held), default=0)
    assert pool.waiting == (len(kernel.waiting) if pool.dry_since_ns is not None else 0)
    under_way = {entry.unique for entry in kernel.entries if entry.unique}
    assert {holding.unique for holding in pool.held.values()} <= under_way
    assert list(pool.idle()) == []


@settings(deadline=None, max_examples=100)
@given(kernels(), st.lists(st.integers(0, 200), max_size=8))
def test_cutting_does_not_matter(kernel: Kernel, cuts: list[int]) -> None:
    once = _pools(batch(*kernel.events))
    assert _pools(*_cut(kernel.events, sorted(cut for cut in cuts if cut <= len(kernel.events)))) == once


@settings(deadline=None, max_examples=100)
@given(kernels(), st.lists(st.integers(0, 200), max_size=8))
def test_tracepoints_alone_tell_of_requests_under_way(kernel: Kernel, cuts: list[int]) -> None:
    """The same requests, buffers and slots; how many buffers there are is not known."""
    seen = [part for part in kernel.events if part["kind"][0] not in _SEEN_BY_FUNCTIONS]
    parts = _cut(seen, sorted(cut for cut in cuts if cut <= len(seen)))
    (pool,) = _pools(*parts) or [Pool(CONNECTION, QUEUE)]
    entries = {entry.buffer: entry for entry in kernel.entries if entry.buffer is not None}
    assert {number: holding.unique for number, holding in pool.held.items()} == {
        number: entry.unique for number, entry in entries.items()
    }
    assert {number: holding.unique for number, holding in pool.slots.items()} == {
        entry.slot: entry.unique for entry in kernel.entries if entry.zero_copied
    }
    assert (pool.buffers, pool.free, pool.counted, pool.dry, pool.dry_since_ns) == (None, None, False, 0, None)
    whole_ = _pools(batch(*kernel.events))
    assert pool.because == (whole_[0].because if whole_ else {})


@settings(deadline=None, max_examples=100)
@given(kernels(), st.data())
def test_after_a_loss_nothing_that_is_held_is_wrong(kernel: Kernel, data: st.DataObject) -> None:
    """Some events do not come, and the batch in which they were missed says so; what is held then is held indeed."""
    count = len(kernel.events)
    first = data.draw(st.integers(0, count))
    last = data.draw(st.integers(first, count))
    keep = data.draw(st.lists(st.booleans(), min_size=last - first, max_size=last - first))
    some = [one for one, kept in zip(kernel.events[first:last], keep, strict=True) if kept]
    conversation = Conversation()
    conversation.feed(batch(*kernel.events[:first]))
    conversation.feed(after_loss(batch(*some), 1))
    conversation.feed(batch(*kernel.events[last:]))
    for pool in conversation.pools.table():
        truth = kernel.held[-1].items()
        assert {number: holding.entry for number, holding in pool.held.items()}.items() <= truth
        assert {number: holding.unique for number, holding in pool.slots.items()}.items() <= kernel.slots[-1].items()
        if pool.counted:
            assert pool.in_use == len(truth)


def test_a_plain_queue_has_no_pool() -> None:
    assert _pools(batch(*whole(10, 100), *whole(12, 300, Opcode.READ))) == []


def test_a_pool_is_known_from_its_making() -> None:
    made = event(Kind.ADD_BUFPOOL, 1, queue=3, command_op=4)
    refused = event(Kind.REFUSED, 2, queue=3, command_op=4, error=-22)
    pool = _pool(batch(made))
    assert (pool.connection, pool.queue, pool.pooled, pool.buffers, pool.in_use) == (CONNECTION, 3, True, None, 0)
    assert _pools(batch(made, refused)) == []
    assert len(_pools(batch(made, made, refused))) == 1
    assert _pools(batch(refused)) == []
    assert len(_pools(batch(made, event(Kind.REFUSED, 2, queue=3, command_op=2, error=-22)))) == 1


def test_a_new_connection_begins_anew() -> None:
    one = _selected(10, 100, 3)
    other = _selected(10, 100, 3, connection=8)
    (pool,) = _pools(batch(one, other), batch(event(Kind.INIT, 500)))
    assert pool.connection == 8


def test_a_buffer_that_is_kept() -> None:
    first = [queued(10, 1), _selected(10, 2, 3), delivered(10, 3, **_POOLED), committed(10, 4, **_POOLED), ended(10, 5)]
    pool = _pool(batch(*first))
    (idle,) = pool.idle()
    assert (idle.number, idle.unique, idle.ended_ns, idle.since_ns, idle.kept) == (2, 10, 5, 2, False)
    pool = _pool(batch(*first), batch(queued(12, 3), delivered(12, 6, **_POOLED)))
    (held,) = pool.held.values()
    assert (held.number, held.offset, held.unique, held.since_ns, held.kept) == (2, 2 * SIZE, 12, 2, True)
    assert list(pool.idle()) == []
    assert (pool.selected, pool.recycled, pool.in_use, pool.peak) == (1, 0, 1, 1)


def test_dry() -> None:
    full = [_selected(10, 1, 0), queued(12, 2), _dry(12, 3), queued(14, 4), _dry(14, 5)]
    pool = _pool(batch(*full))
    assert (pool.dry, pool.dry_since_ns, pool.waiting, pool.free, pool.in_use) == (2, 3, 2, 0, 4)
    pool = _pool(batch(*full), batch(delivered(12, 6, **_POOLED)))
    assert (pool.dry_since_ns, pool.waiting) == (3, 1)
    pool = _pool(batch(*full), batch(_recycled(7, 1)))
    assert (pool.dry_since_ns, pool.waiting, pool.free, pool.peak) == (None, 0, 1, 4)
    assert _pool(batch(*full, _recycled(7, 1), _dry(16, 8))).dry_since_ns == 8
    assert _pool(batch(*full), batch(_dry(16, 8))).dry_since_ns == 3


def test_requests_of_other_queues_do_not_wait_for_this_pool() -> None:
    assert _pool(batch(queued(12, 2), _dry(12, 3), queued(14, 4, cpu=1), queued(16, 4, connection=8))).waiting == 1


def test_too_many_to_be_counted() -> None:
    pool = _pool(batch(_selected(10, 1, NOT_COUNTED)))
    assert (pool.buffers, pool.free, pool.counted, pool.in_use, pool.peak) == (4, None, False, 1, 1)


def test_where_recycling_is_not_seen_the_kernels_count_is_right() -> None:
    first = [_selected(10, 1, 3), delivered(10, 2, **_POOLED), committed(10, 3, **_POOLED), ended(10, 4)]
    pool = _pool(batch(*first), batch(_selected(12, 9, 3, buffer_id=1, entry=0xE1)))
    assert {number: holding.unique for number, holding in pool.held.items()} == {1: 12}


def test_after_loss_what_is_held_is_not_known() -> None:
    first = batch(_selected(10, 1, 0), _dry(12, 2))
    pool = _pool(first, batch(_selected(14, 3, 2)), lost=1)
    assert (pool.held, pool.slots, pool.free, pool.dry_since_ns, pool.buffers) == ({}, {}, None, None, 4)
    assert (pool.selected, pool.dry, pool.peak) == (2, 1, 4)


def test_a_ring_that_ends_gives_nothing_back() -> None:
    first = batch(_selected(10, 1, 3), delivered(10, 2, **_POOLED), delivered(12, 2, Opcode.READ, entry=0xE1, **_SLOT))
    pool = _pool(first)
    assert (list(pool.held), list(pool.slots)) == ([2], [4])
    pool = _pool(first, batch(ended(10, 5, error=-103), ended(12, 5, Opcode.READ, error=-103)))
    assert (pool.held, pool.slots) == ({}, {})
    pool = _pool(first, batch(event(Kind.STOPPED, 5, queue=3, error=-107)))
    assert (pool.held, pool.slots, pool.free) == ({}, {}, None)


def _registered(unique: int, ns: int, **members: Any) -> Records:
    known = {"unique": unique, "opcode": Opcode.READ, "queue": 3, "entry": 0xE0, "slot": 4, "length": 8192}
    return event(Kind.PAGES_REGISTERED, ns, **(known | {"flags": Flag.HAS_SLOT | Flag.HAS_ERROR} | members))


def test_slots() -> None:
    use = [queued(10, 1, Opcode.READ), _registered(10, 2), delivered(10, 3, Opcode.READ, **_SLOT)]
    done = [committed(10, 4, Opcode.READ, 5000, **_SLOT | {"flags": _IN_SLOT | Flag.HEADER_FROM_SERVER})]
    gone = event(Kind.PAGES_UNREGISTERED, 5, unique=10, queue=3, slot=4, flags=Flag.HAS_SLOT)
    pool = _pool(batch(*use))
    (held,) = pool.slots.values()
    assert (held.number, held.unique, held.size, held.since_ns, held.entry) == (4, 10, 8192, 2, 0xE0)
    pool = _pool(batch(*use, *done, gone, ended(10, 6, Opcode.READ)))
    assert (pool.slots, pool.registered, pool.failed, pool.zero_copied_bytes, pool.zero_copied) == ({}, 1, 0, 5000, 1)
    pool = _pool(batch(*use, *done, ended(10, 6, Opcode.READ)))
    assert [holding.ended_ns for holding in pool.slots.values()] == [6]


def test_pages_that_could_not_be_unregistered_stay() -> None:
    stuck = event(Kind.PAGES_UNREGISTERED, 5, unique=10, queue=3, slot=4, flags=Flag.HAS_SLOT, error=-22)
    assert list(_pool(batch(_registered(10, 2), stuck)).slots) == [4]


def test_pages_that_could_not_be_registered() -> None:
    pool = _pool(batch(_registered(10, 2, error=-16), ended(10, 3, Opcode.READ, -16)))
    assert (pool.slots, pool.registered, pool.failed) == ({}, 0, 1)


def test_reasons_are_counted_by_queue() -> None:
    asked = Flag.QUEUE_ZERO_COPY | Flag.HAS_PAGES
    pools = _pools(
        batch(
            *(part for n in (10, 12) for part in whole(n, n * 100, Opcode.READ, flags=asked)),
            *whole(14, 3000, Opcode.READDIR, flags=asked, queue=1),
            *whole(16, 4000, Opcode.READ, flags=Flag.FILE_ZERO_COPY | Flag.HAS_PAGES, queue=2),
        )
    )
    assert [(pool.queue, pool.because) for pool in pools] == [
        (1, {CopiedBecause.OPERATION: 1}),
        (2, {CopiedBecause.QUEUE: 1}),
        (3, {CopiedBecause.FILE: 2}),
    ]
    assert not any(pool.pooled for pool in pools)
