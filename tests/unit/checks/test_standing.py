"""What a state alone proves."""

from dataclasses import replace

import pytest

from furtrace.checks.standing import Seen, verdicts
from furtrace.model.slots import Reply
from furtrace.model.snapshot import Connected, InList, Pool
from furtrace.trace.tasks import Task
from furtrace.wire.opcodes import Opcode
from tests.unit.states import WELL, asked, entry, queue, seen


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


CANCELLED = entry(InList.USERSPACE)


def test_a_thread_that_has_ended() -> None:
    state = seen(queue(HELD, CANCELLED, waiting=(asked(6, InList.QUEUED),)))
    assert found(state) == [("entries-gone", None), ("unanswered", 4), ("no-entry", 6)]
    gone, _, waits = verdicts(state)
    assert gone.finding.sentence.startswith("1 of the 2 entries of queue 0 is cancelled, as when")
    assert waits.finding.sentence.endswith("of its 2 entries 1 in the server's hands, 1 cancelled.")


def test_a_thread_that_has_ended_and_left_its_ring_open() -> None:
    idle = replace(entry(InList.AVAILABLE), thread=43, thread_ended=True)
    others = [replace(entry(InList.AVAILABLE), thread=44), HELD]
    (verdict,) = verdicts(seen(queue(idle, idle, *others[:1])))
    assert (verdict.finding.rule.id, verdict.finding.queue) == ("entries-gone", 0)
    assert verdict.finding.sentence == (
        "Thread 43 of the server has ended, which brought requests to 2 of the 3 entries of queue 0; nothing does now."
    )
    assert found(seen(queue(*others))) == [("unanswered", 4)]


def test_the_thread_that_does_not_come_is_named() -> None:
    sent = replace(entry(InList.WITH_REQUEST, asked(4, InList.WITH_REQUEST)), thread=43)
    state = seen(queue(sent))
    assert "the server's thread has not come for it." in verdicts(state)[0].finding.sentence
    state.threads = [Task(43, 42, b"ring-0", b"", "D", ())]
    assert "the server's thread ring-0[43] has not come for it." in verdicts(state)[0].finding.sentence


def test_a_queue_whose_entries_are_all_gone() -> None:
    """As Linux 7.3 has it, which frees them."""
    state = seen(queue(waiting=(asked(6, InList.QUEUED),)), queue(entry(InList.AVAILABLE)))
    assert found(state) == [("entries-gone", None), ("no-entry", 6)]
    gone, waits = verdicts(state)
    assert (gone.finding.queue, waits.finding.queue) == (0, 0)
    assert waits.finding.sentence.endswith("it has no entry.")


def test_no_entry_is_missed_while_a_ring_gets_ready_or_lists_change() -> None:
    assert found(seen(queue(CANCELLED), flags=WELL & ~Connected.READY, waiting=0)) == []
    changed = queue(CANCELLED)
    changed.changed.add(InList.USERSPACE)
    assert found(seen(changed)) == []
    moving = seen(queue())
    moving.snapshot.references = 1
    assert found(moving) == []


@pytest.mark.parametrize("flags", [WELL, WELL & ~Connected.CONNECTED])
def test_a_stopped_queue_that_has_requests(flags: Connected) -> None:
    stopped = queue(entry(InList.AVAILABLE), waiting=(asked(6, InList.QUEUED), asked(8, InList.QUEUED, age=1.0)))
    stopped.stopped = True
    verdict = verdicts(seen(stopped, flags=flags))[0]
    assert verdict.finding.sentence == "Queue 0 is stopped, and 1 request waits in it."
    stopped.waiting.clear()
    assert found(seen(stopped, flags=flags)) == []


def test_an_age_that_is_a_least_one() -> None:
    request = replace(asked(4, InList.PROCESSING), at_least=True)
    (verdict,) = verdicts(seen(requests=(request,)))
    assert verdict.finding.sentence.startswith("READ, unique 4, at least 10.0 s old, is in the hands of")


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


def test_a_queue_s_thread_that_can_not_be_interrupted() -> None:
    idle = replace(entry(InList.AVAILABLE), thread=43)
    state = seen(queue(HELD, idle), queue(replace(idle, thread=44)))
    state.threads = [
        Task(tid, 42, b"ring", b"", letter, ("f", "g")) for tid, letter in ((42, "S"), (43, "D"), (44, "D"))
    ]
    said = " The queue's thread ring[43] sleeps in f, and can't be interrupted."
    assert verdicts(state)[0].finding.sentence.endswith(f"by queue 0.{said}")
    state.threads.pop(1)
    assert verdicts(state)[0].finding.sentence.endswith("by queue 0.")


def test_a_ring_that_is_not_ready() -> None:
    not_ready = WELL & ~Connected.READY
    assert found(seen(queue(), flags=not_ready)) == [("ring-not-ready", None)]
    assert found(seen(queue(entry(InList.AVAILABLE)), flags=not_ready)) == []  # it has entries by now
    assert found(seen(queue(), flags=not_ready, waiting=0)) == []  # it may be about to
    moving = seen(queue(), flags=not_ready)
    moving.snapshot.references = 1
    assert found(moving) == []  # one that went from one list to another was not seen
    (verdict,) = verdicts(seen(flags=not_ready & ~Connected.HAS_RING))
    assert "no queue has an entry: the ring is not ready, and 1 request waits for it" in verdict.finding.sentence


def test_a_connection_that_has_ended_is_not_blamed() -> None:
    assert found(seen(queue(HELD), flags=WELL & ~Connected.CONNECTED)) == []
