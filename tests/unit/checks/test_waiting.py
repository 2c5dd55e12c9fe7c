"""Requests that wait."""

import pytest

from furtrace.model.snapshot import InList, Snapshot
from furtrace.trace.record import NO_QUEUE, Flag, Kind, Records, Transport
from furtrace.wire.opcodes import Opcode
from tests.unit.checks.judging import SECOND, judged, rules
from tests.unit.events import after_loss, batch, committed, delivered, ended, event, queued, whole
from tests.unit.states import asked, entry, queue, seen


def test_one_that_the_server_keeps() -> None:
    (finding,) = judged(queued(2, 1000, Opcode.FSYNC), delivered(2, 1010, Opcode.FSYNC), until=6 * SECOND)
    assert finding.rule.id == "unanswered"
    assert finding.sentence == "FSYNC, unique 2, has been in the hands of server[901], by queue 3, for 6.0 s."


def test_one_whose_thread_has_ended() -> None:
    events = whole(4, SECOND)[:2]
    for alive, said in ((lambda _tid: True, "s."), (lambda tid: tid != 901, "s. That thread has ended."), (None, "s.")):
        (finding,) = judged(*events, until=9 * SECOND, alive=alive)
        assert finding.sentence.endswith(said)
        assert ("ended" in finding.sentence) == ("ended" in said)


def test_it_is_said_once() -> None:
    events = [queued(2, 1000), delivered(2, 1010)]
    ticks = [event(Kind.READY, second * SECOND) for second in range(1, 20)]
    assert rules(*events, *ticks) == ["unanswered"]


def test_one_that_is_answered_in_time() -> None:
    assert rules(*whole(2, 1000), until=60 * SECOND) == []
    assert rules(queued(2, 1000), delivered(2, 1010), until=4 * SECOND) == []


@pytest.mark.parametrize("opcode", [Opcode.SETLKW, Opcode.FORGET, Opcode.INTERRUPT])
def test_what_may_wait_or_has_no_answer(opcode: Opcode) -> None:
    assert rules(queued(2, 1000, opcode), delivered(2, 1010, opcode), until=60 * SECOND) == []


def test_one_whose_answer_may_have_been_lost() -> None:
    assert rules(after_loss(batch(queued(2, 1000), delivered(2, 1010)), 1), until=60 * SECOND) == []
    events = [queued(2, 1000), delivered(2, 1010), after_loss(batch(*whole(4, 2 * SECOND)), 1)]
    assert rules(*events, until=60 * SECOND) == []


def test_one_that_waits_for_an_entry() -> None:
    registered = event(Kind.REGISTER, 900, queue=3, command=0xC0)
    events = [registered, queued(2, 1000), delivered(2, 1010), queued(4, 2 * SECOND)]
    first, second = judged(*events, until=8 * SECOND)
    assert (first.rule.id, first.unique) == ("unanswered", 2)
    assert (second.rule.id, second.unique) == ("no-entry", 4)
    assert second.sentence.startswith(
        "GETATTR, unique 4, has been queued for 6.0 s for queue 3: its entry is in the server's hands"
    )


def test_how_many_entries_there_are_is_not_known_to_a_trace_that_began_later() -> None:
    events = [queued(2, 1000), delivered(2, 1010), queued(4, 2 * SECOND)]
    assert rules(*events, until=8 * SECOND) == ["unanswered", "not-fetched"]


def test_one_that_waits_for_a_buffer() -> None:
    dry = event(Kind.SELECTED, 1010, unique=2, opcode=Opcode.READ, queue=3, error=-105, transport=Transport.URING)
    assert rules(queued(2, 1000, Opcode.READ), dry, until=8 * SECOND) == ["no-buffer"]


def test_one_that_nobody_fetches() -> None:
    (finding,) = judged(*whole(2, 1000), queued(4, 2000), until=8 * SECOND)
    assert finding.rule.id == "not-fetched"
    assert "the server has not fetched it (unless its client was killed meanwhile" in finding.sentence


def test_whether_its_client_is_there() -> None:
    events = [*whole(2, 1000), queued(4, 2000)]
    assert judged(*events, until=8 * SECOND, alive=lambda tid: tid != 41) == []
    (finding,) = judged(*events, until=8 * SECOND, alive=lambda tid: tid == 41)
    assert finding.sentence.endswith("for queue 3, and the server has not fetched it.")
    background = queued(4, 2000, flags=Flag.BACKGROUND)
    assert len(judged(*whole(2, 1000), background, until=8 * SECOND, alive=lambda _: False)) == 1


def test_one_that_may_be_with_a_server_that_reads() -> None:
    """Nothing tells when a server reads a request from /dev/fuse, or that it has a ring at all."""
    (finding,) = judged(queued(4, 2000), until=8 * SECOND)
    assert finding.rule.id == "waiting"
    assert "it is queued, or the server has it by /dev/fuse" in finding.sentence
    place = {"transport": Transport.DEV, "entry": 0, "queue": NO_QUEUE}
    read = [queued(2, 1000), delivered(2, 1010, **place), ended(2, 1020, transport=Transport.DEV, queue=NO_QUEUE)]
    assert rules(*read, queued(4, 2000), until=8 * SECOND) == ["not-fetched"]


def test_one_that_its_client_took_back() -> None:
    """The next one of the queue was fetched, so this one is not there any more."""
    assert rules(*whole(2, 1000), queued(4, 2000), *whole(6, 3000), until=8 * SECOND) == []


def test_one_that_took_long() -> None:
    late = [queued(2, 1000), delivered(2, 1010), committed(2, 2 * SECOND), ended(2, 2 * SECOND + 10)]
    (finding,) = judged(*late)
    assert finding.rule.id == "slow"
    assert finding.sentence == "GETATTR, unique 2, was in the server's hands for 2.0 s, then answered."


def test_what_hangs_between_two_events_far_apart_is_seen() -> None:
    """In one batch, which a recording of little traffic is."""
    late = [queued(2, 1000), delivered(2, 1010), committed(2, 20 * SECOND), ended(2, 20 * SECOND + 10)]
    assert rules(*late) == ["unanswered", "slow"]


def interrupt(unique: int, ns: int) -> Records:
    """The server reads an INTERRUPT of the request ``unique``."""
    header = bytes(128) + unique.to_bytes(8, "little")
    return delivered(unique + 1, ns, Opcode.INTERRUPT, header=header, entry=0, queue=NO_QUEUE, transport=Transport.DEV)


def test_an_interrupt_that_is_ignored() -> None:
    events = [queued(2, SECOND), delivered(2, SECOND + 10), interrupt(2, 2 * SECOND)]
    assert rules(*events, until=5 * SECOND) == []
    found = judged(*events, until=8 * SECOND)
    assert [one.rule.id for one in found] == ["interrupt-ignored", "unanswered"]
    assert found[0].sentence == "GETATTR, unique 2, is not answered 6.0 s after the server read INTERRUPT for it."


def test_an_interrupt_that_is_heeded() -> None:
    events = [queued(2, SECOND), delivered(2, SECOND + 10), interrupt(2, 2 * SECOND)]
    assert rules(*events, committed(2, 3 * SECOND), ended(2, 3 * SECOND + 1, error=-4), until=60 * SECOND) == ["slow"]


# ---- what was under way as the trace began ----


def _at(snapshot: Snapshot) -> Snapshot:
    snapshot.ns = 100 * SECOND
    return snapshot


def test_one_that_hung_before() -> None:
    held = entry(InList.USERSPACE, asked(4, InList.USERSPACE, age=7.0))
    begun = _at(seen(queue(held, waiting=(asked(6, InList.QUEUED, age=6.0),))).snapshot)
    served, waiting = judged(begun=begun, until=101 * SECOND)
    assert (served.rule.id, served.unique, served.queue) == ("unanswered", 4, 0)
    assert served.sentence == "READ, unique 4, 8.0 s old, is in the hands of server[42], by queue 0."
    assert (waiting.rule.id, waiting.unique) == ("no-entry", 6)
    assert "7.0 s old, is queued for queue 0: its entry is in the server's hands" in waiting.sentence


def test_one_whose_age_the_kernel_does_not_keep() -> None:
    begun = _at(seen(requests=(asked(4, InList.PROCESSING, age=None),)).snapshot)
    assert judged(begun=begun, until=104 * SECOND) == []
    (found,) = judged(begun=begun, until=106 * SECOND)
    assert found.sentence == "READ, unique 4, 6.0 s old at least, is in the hands of server[42], by /dev/fuse."


def test_one_that_hung_before_and_is_answered() -> None:
    begun = _at(seen(queue(entry(InList.USERSPACE, asked(4, InList.USERSPACE, age=3.0)))).snapshot)
    ends = (committed(4, 100 * SECOND + 5, 15), ended(4, 100 * SECOND + 9, 15))
    assert rules(*ends, begun=begun, until=110 * SECOND) == []


def test_one_that_was_queued_before_and_is_with_the_server_now() -> None:
    begun = _at(seen(queue(entry(InList.AVAILABLE), waiting=(asked(4, InList.QUEUED, age=1.0),))).snapshot)
    (found,) = judged(delivered(4, 100 * SECOND + 5, 15), begun=begun, until=106 * SECOND)
    assert (found.rule.id, found.unique) == ("unanswered", 4)
    assert "for 6.0 s" in found.sentence  # since it was brought there, as was seen


def test_one_that_a_server_may_have_read_meanwhile() -> None:
    """Before the ring was ready; that it is read from /dev/fuse this kernel does not tell."""
    begun = _at(seen(queue(entry(InList.AVAILABLE)), requests=(asked(4, InList.PENDING, age=7.0),)).snapshot)
    (found,) = judged(*whole(6, 100 * SECOND + 5), begun=begun, until=101 * SECOND)
    assert (found.rule.id, found.unique) == ("waiting", 4)
