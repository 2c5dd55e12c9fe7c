"""The sums over a conversation."""

import numpy as np

from furtrace.model.conversation import Conversation
from furtrace.trace.record import NO_QUEUE, Flag, Kind, Transport, lost_record
from tests.unit.events import after_loss, batch, delivered, ended, event, queued, whole


def test_counters() -> None:
    conversation = Conversation()
    dev = ended(20, 900, error=-2, transport=Transport.DEV, queue=NO_QUEUE)
    finished = conversation.feed(batch(*whole(10, 100), *whole(12, 300, error=-5), queued(14, 500), dev))
    assert finished["unique"].tolist() == [10, 12, 20]
    assert (conversation.events, conversation.ended, conversation.errors, conversation.lost) == (10, 3, 2, 0)
    assert conversation.by_transport == {Transport.URING: 2, Transport.DEV: 1}
    conversation.feed(after_loss(batch(ended(14, 1000)), 5))
    conversation.feed(after_loss(batch(), 2))
    assert (conversation.events, conversation.ended, conversation.errors, conversation.lost) == (11, 4, 2, 7)
    assert conversation.by_transport == {Transport.URING: 3, Transport.DEV: 1}
    assert sum(operation.count for operation in conversation.operations.table()) == 4


def test_loss_counts_once_where_a_batch_holds_inits() -> None:
    conversation = Conversation()
    events = batch(*whole(10, 100), event(Kind.INIT, 200), *whole(10, 300), event(Kind.INIT, 400, connection=8))
    finished = conversation.feed(after_loss(events, 3))
    assert (conversation.lost, conversation.events, conversation.ended) == (3, 10, 2)
    assert finished["uncertain"].all()


def test_trouble() -> None:
    conversation = Conversation()
    overflow = delivered(10, 3, flags=Flag.CQE_OVERFLOW)
    refused = event(Kind.REFUSED, 1, error=-22, flags=Flag.HAS_ERROR | Flag.CQE_OVERFLOW)
    stopped = event(Kind.STOPPED, 2, error=-107)
    conversation.feed(batch(refused, queued(10, 1), stopped, overflow))
    conversation.feed(batch(stopped))
    assert (conversation.refused, conversation.stopped, conversation.overflows) == (1, 2, 2)
    assert [Kind(one["kind"]) for one in conversation.trouble] == [
        Kind.REFUSED,
        Kind.STOPPED,
        Kind.DELIVERED,
        Kind.STOPPED,
    ]


def test_trouble_outlives_its_batch() -> None:
    """A batch is a view of the ring buffer, which the kernel writes anew."""
    conversation = Conversation()
    given = batch(event(Kind.REFUSED, 1, error=-22))
    conversation.feed(given)
    given["error"] = -1
    assert conversation.trouble[0]["error"] == -22


def test_what_is_under_way_outlives_its_batch() -> None:
    conversation = Conversation()
    given = batch(queued(10, 1))
    conversation.feed(given)
    given["unique"] = 99
    assert conversation.requests.under_way["unique"].tolist() == [10]


def test_the_newest_trouble_is_remembered() -> None:
    conversation = Conversation()
    for ns in range(1, 302):
        conversation.feed(event(Kind.REFUSED, ns, error=-22))
    assert conversation.refused == 301
    assert [int(one["ns"]) for one in conversation.trouble] == list(range(102, 302))


def test_losses_are_told_apart_by_cpu() -> None:
    conversation = Conversation()
    conversation.feed(batch(lost_record(5, 9, 3, cpu=1), lost_record(5, 9, 2), *whole(10, 6)))
    conversation.feed(lost_record(300, 400, 4, cpu=1))
    assert (conversation.lost, conversation.lost_by_cpu, conversation.passed_over) == (9, [0, 7], 2)


def test_doubt_ends_where_the_loss_does() -> None:
    """What begins after the time in which events may have been lost is as sure as ever, in the same batch too."""
    events = batch(*whole(8, 10), lost_record(150, 300, 1, cpu=0), *whole(10, 160), *whole(12, 301))
    finished = Conversation().feed(events)
    assert dict(zip(finished["unique"].tolist(), finished["uncertain"].tolist(), strict=True)) == {
        8: False,
        10: True,
        12: False,
    }


def test_doubt_goes_on_in_the_next_batch() -> None:
    events = batch(lost_record(150, 300, 1, cpu=0), *whole(10, 160), *whole(12, 301))
    whole_batch = Conversation().feed(events)
    conversation = Conversation()
    in_two = np.concatenate([conversation.feed(events[:3]), conversation.feed(events[3:])])
    assert in_two.tobytes() == whole_batch.tobytes()
    assert conversation.lost == 1


def test_a_batch_is_cut_where_numbers_begin_to_mean_something_else() -> None:
    conversation = Conversation()
    first, loss, second = batch(*whole(10, 100)), lost_record(300, 320, 5, cpu=0), batch(*whole(12, 315)[:2])
    later, begun = batch(*whole(14, 400)), batch(event(Kind.INIT, 600), *whole(16, 700))
    parts = conversation.cut(batch(first, loss, second[:1], second[1:], later, begun))
    cut = [[(Kind(event["kind"]), int(event["unique"])) for event in part] for part in parts]
    four = (Kind.QUEUED, Kind.DELIVERED, Kind.COMMITTED, Kind.ENDED)
    assert cut == [
        [(kind, 10) for kind in four],
        [(Kind.LOST, 0), (Kind.QUEUED, 12)],  # the second one is later than the loss
        [(Kind.DELIVERED, 12), *((kind, 14) for kind in four)],
        [(Kind.INIT, 0), *((kind, 16) for kind in four)],
    ]
    for part in parts:
        conversation.feed(part)
    assert (conversation.lost, conversation.ended) == (5, 3)
    assert [len(part) for part in conversation.cut(batch())] == [0]
