"""The sums over a conversation."""

from furtrace.model.conversation import Conversation
from furtrace.trace.record import NO_QUEUE, Flag, Kind, Transport
from tests.unit.events import batch, delivered, ended, event, queued, whole


def test_counters() -> None:
    conversation = Conversation()
    dev = ended(20, 900, error=-2, transport=Transport.DEV, queue=NO_QUEUE)
    finished = conversation.feed(batch(*whole(10, 100), *whole(12, 300, error=-5), queued(14, 500), dev))
    assert finished["unique"].tolist() == [10, 12, 20]
    assert (conversation.events, conversation.ended, conversation.errors, conversation.lost) == (10, 3, 2, 0)
    assert conversation.by_transport == {Transport.URING: 2, Transport.DEV: 1}
    conversation.feed(batch(ended(14, 1000)), lost=5)
    conversation.feed(batch(), lost=2)
    assert (conversation.events, conversation.ended, conversation.errors, conversation.lost) == (11, 4, 2, 7)
    assert conversation.by_transport == {Transport.URING: 3, Transport.DEV: 1}
    assert sum(operation.count for operation in conversation.operations.table()) == 4


def test_loss_counts_once_where_a_batch_holds_inits() -> None:
    conversation = Conversation()
    finished = conversation.feed(
        batch(*whole(10, 100), event(Kind.INIT, 200), *whole(10, 300), event(Kind.INIT, 400, connection=8)), lost=3
    )
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
