"""What a state alone proves."""

import pytest

from furtrace.checks.standing import Seen, verdicts
from furtrace.model.slots import Reply
from furtrace.model.snapshot import Connected, Entry, EntryState, InList, PayloadMode, Pool, Queue, Request, Snapshot
from furtrace.trace.tasks import Task
from furtrace.wire.opcodes import Opcode

WELL = Connected.CONNECTED | Connected.INITIALIZED | Connected.WANTS_URING | Connected.HAS_RING | Connected.READY


def asked(unique: int, where: InList, age: float | None = 10.0, opcode: int = Opcode.READ) -> Request:
    device = where in (InList.PENDING, InList.PROCESSING)
    return Request(unique, opcode, 1, 80, 4711, 0, (), age, where, None if device else 0)


def entry(where: InList, request: Request | None = None) -> Entry:
    return Entry(1, where, EntryState.AVAILABLE, 0x1000, 0, 0, None, None, zero_copied=False, request=request)


def queue(*entries: Entry, waiting: tuple[Request, ...] = (), pool: Pool | None = None) -> Queue:
    made = Queue(0, stopped=False, zero_copy=False, mode=PayloadMode.UNSET, active_background=0, pool=pool)
    made.entries, made.waiting = list(entries), list(waiting)
    for one in entries:
        made.lengths[one.where] = made.lengths.get(one.where, 0) + 1
    return made


def seen(*queues: Queue, flags: Connected = WELL, requests: tuple[Request, ...] = (), waiting: int = 1) -> Seen:
    snapshot = Snapshot(7, 0, flags, 0, 0, 45, 12, 0, 0, waiting, max(1, len(queues)), 0, 131072, {42: b"server"})
    snapshot.queues = dict(enumerate(queues))
    snapshot.requests = list(requests)
    return Seen(snapshot)


def found(one: Seen) -> list[tuple[str, int | None]]:
    return [(verdict.finding.rule.id, verdict.unique) for verdict in verdicts(one)]


HELD = entry(InList.USERSPACE, asked(4, InList.USERSPACE))


def test_the_server_has_it() -> None:
    state = seen(queue(HELD, entry(InList.AVAILABLE)))
    assert found(state) == [("unanswered", 4)]
    state.replies[4] = Reply(0, 16, 0)
    (verdict,) = verdicts(state)
    assert verdict.finding.sentence == (
        "READ, unique 4, 10.0 s old, is in the hands of server[42], by queue 0; a reply with error 0 lies in its "
        "header slot and was not committed."
    )


@pytest.mark.parametrize("where", list(InList))
@pytest.mark.parametrize("age", [4.9, None])
def test_what_is_young_or_of_no_age_is_no_fault(where: InList, age: float | None) -> None:
    request = asked(4, where, age)
    assert found(seen(queue(entry(where, request), waiting=(request,)), requests=(request,))) == []


def test_what_may_wait_is_no_fault() -> None:
    request = asked(4, InList.USERSPACE, opcode=Opcode.SETLKW)
    assert found(seen(queue(entry(InList.USERSPACE, request)))) == []


def test_every_entry_is_taken() -> None:
    state = seen(queue(HELD, waiting=(asked(6, InList.QUEUED),)))
    assert found(state) == [("unanswered", 4), ("no-entry", 6)]
    assert "its entry is in the server's hands" in verdicts(state)[1].finding.sentence


def test_no_buffer_is_free() -> None:
    pool = Pool(0, 131072, 1, frozenset(), None)
    state = seen(queue(HELD, entry(InList.AVAILABLE), waiting=(asked(6, InList.QUEUED),), pool=pool))
    assert found(state) == [("unanswered", 4), ("no-buffer", 6)]


def test_a_list_that_changed_proves_nothing() -> None:
    made = queue(HELD, waiting=(asked(6, InList.QUEUED),))
    made.changed.add(InList.AVAILABLE)
    assert found(seen(made)) == [("unanswered", 4)]


def test_nobody_comes_for_it() -> None:
    assert found(seen(queue(entry(InList.WITH_REQUEST, asked(4, InList.WITH_REQUEST))))) == [("not-fetched", 4)]
    assert found(seen(requests=(asked(4, InList.PENDING),), flags=WELL)) == [("not-fetched", 4)]


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ("TT", " The server is stopped: kill -CONT lets it go on."),
        ("DD", "can't be interrupted."),
        ("ST", "server[42]."),
    ],
)
def test_what_the_server_does(states: str, said: str) -> None:
    state = seen(requests=(asked(4, InList.PENDING),))
    state.threads = [Task(at, 42, b"server", b"", letter, ()) for at, letter in enumerate(states)]
    assert verdicts(state)[0].finding.sentence.endswith(said)


def test_a_ring_that_is_not_ready() -> None:
    not_ready = WELL & ~Connected.READY
    assert found(seen(queue(), flags=not_ready)) == [("ring-not-ready", None)]
    assert found(seen(queue(entry(InList.AVAILABLE)), flags=not_ready)) == []  # it has entries by now
    assert found(seen(queue(), flags=not_ready, waiting=0)) == []  # it may be about to
    (verdict,) = verdicts(seen(flags=not_ready & ~Connected.HAS_RING))
    assert "no queue has an entry: the ring is not ready, and 1 request waits for it" in verdict.finding.sentence


def test_a_connection_that_has_ended_is_not_blamed() -> None:
    assert found(seen(queue(HELD), flags=WELL & ~Connected.CONNECTED)) == []
