"""Queues: where their entries are, and how many requests wait."""

from typing import Any

from furtrace.model.conversation import Conversation
from furtrace.model.queues import Queue
from furtrace.trace.record import NO_QUEUE, Kind, Records, Step, Transport
from furtrace.wire.opcodes import Opcode
from tests.unit.events import after_loss, batch, committed, delivered, ended, event, queued, whole


def _register(ns: int, queue: int = 3, **members: Any) -> Records:
    return event(Kind.REGISTER, ns, queue=queue, command_op=1, **members)


def _refused(ns: int, queue: int = 3, command_op: int = 1) -> Records:
    return event(Kind.REFUSED, ns, queue=queue, command_op=command_op, error=-22)


def _queues(*batches: Records) -> list[Queue]:
    conversation = Conversation()
    for one in batches:
        conversation.feed(one)
    return conversation.queues.table()


def _queue(*batches: Records) -> Queue:
    (queue,) = _queues(*batches)
    return queue


def test_states() -> None:
    queue = _queue(
        batch(
            *(_register(n) for n in range(8)),
            *whole(10, 100, entry=0xA),
            *whole(12, 300, entry=0xB),
            *whole(14, 500, entry=0xC)[:2],
            *whole(16, 600, entry=0xA)[:2],
            *whole(18, 700, entry=0xB)[:3],
            queued(20, 900),
        )
    )
    assert (queue.connection, queue.queue, queue.entries, queue.registered) == (7, 3, 3, 8)
    assert (queue.in_server, queue.in_kernel, queue.backlog, queue.delivered) == (2, 1, 1, 5)
    assert queue.available == 5


def test_available_of_entries_that_were_registered_before() -> None:
    queue = _queue(batch(*whole(10, 100, entry=0xA), *whole(12, 300, entry=0xB)[:2]))
    assert (queue.entries, queue.registered, queue.available) == (2, 0, 1)


def test_an_entry_that_took_a_request_is_not_in_the_server_yet() -> None:
    place: dict[str, Any] = {"queue": 3, "entry": 0xA, "unique": 10}
    taken = event(Kind.STEP, 5, step=Step.ADD_REQ_TO_RING_ENT, **place)
    queue = _queue(batch(_register(1), _register(2), queued(10, 4), taken))
    assert (queue.entries, queue.in_server, queue.in_kernel, queue.backlog, queue.available) == (1, 0, 1, 0, 1)
    queue = _queue(batch(_register(1), _register(2), queued(10, 4), taken, delivered(10, 6, entry=0xA)))
    assert (queue.in_server, queue.in_kernel, queue.backlog) == (1, 0, 0)


def test_by_connection_and_number() -> None:
    parts = [part for place in ((8, 0), (7, 2), (7, 1)) for part in whole(10, 100, connection=place[0], queue=place[1])]
    assert [(queue.connection, queue.queue) for queue in _queues(batch(*parts))] == [(7, 1), (7, 2), (8, 0)]


def test_a_refused_register_is_none() -> None:
    assert _queue(batch(_register(1), _register(2), _refused(3))).registered == 1
    assert _queue(batch(_register(1), _refused(2, command_op=2))).registered == 1
    assert _queue(batch(_register(1), _refused(2), _refused(3))).registered == 0
    assert _queues(batch(_refused(1))) == []


def test_init_begins_anew() -> None:
    init = event(Kind.INIT, 500)
    other = whole(10, 100, connection=8)
    first, second = _queues(batch(_register(1), *whole(10, 100), *other, init, _register(501)))
    assert (first.connection, first.registered, first.delivered, first.entries) == (7, 1, 0, 0)
    assert (second.connection, second.delivered) == (8, 1)


def test_backlog_is_of_the_queue_of_the_clients_cpu() -> None:
    parts = [_register(1, 0), _register(2, 1), queued(10, 10, cpu=0), queued(12, 11, cpu=1), queued(14, 12, cpu=1)]
    assert [queue.backlog for queue in _queues(batch(*parts))] == [1, 2]


def test_deepest_within_a_batch() -> None:
    asked = [queued(n, n) for n in range(10, 20, 2)]
    served = [part for n in range(10, 20, 2) for part in (delivered(n, 20 + n), committed(n, 40 + n), ended(n, 60 + n))]
    queue = _queue(batch(_register(1), *asked, *served))
    assert (queue.deepest, queue.backlog, queue.delivered) == (5, 0, 5)


def test_deepest_over_batches() -> None:
    register = batch(_register(1))
    assert _queue(register, queued(10, 10), queued(12, 11), delivered(10, 12), queued(14, 13)).deepest == 2
    assert (
        _queue(register, batch(queued(10, 10), queued(12, 11)), batch(queued(14, 12), delivered(10, 13))).deepest == 3
    )


def test_a_delivery_by_dev_is_no_entrys() -> None:
    dev = {"transport": Transport.DEV, "entry": 0, "queue": NO_QUEUE}
    queue = _queue(batch(_register(1), queued(10, 2, Opcode.INIT), delivered(10, 3, Opcode.INIT, **dev)))
    assert (queue.delivered, queue.backlog, queue.in_server) == (0, 0, 0)


def test_uncertain_requests_are_in_no_state() -> None:
    conversation = Conversation()
    conversation.feed(batch(_register(1), *whole(10, 100)[:2], *whole(12, 200, entry=0xB)[:3], queued(14, 300)))
    conversation.feed(after_loss(batch(), 1))
    (queue,) = conversation.queues.table()
    assert (queue.in_server, queue.in_kernel, queue.backlog) == (0, 0, 0)
    assert queue.delivered == 2


def test_deepest_does_not_count_what_was_aborted() -> None:
    gone = ended(10, 20, error=-103), queued(12, 30), queued(14, 31)
    assert _queue(batch(_register(1)), batch(queued(10, 10), *gone)).deepest == 2
