"""Connections that end, places where requests are served, zero-copy; and the rules as a whole."""

import errno
import re
from typing import Any

import pytest

from furtrace.checks.checker import RULES
from furtrace.trace.record import Flag, Kind, Records, Step, Transport
from furtrace.wire.opcodes import Opcode
from tests.unit.checks.judging import SECOND, judged, rules
from tests.unit.events import after_loss, batch, committed, delivered, ended, event, queued, whole

ABORTED = -errno.ECONNABORTED


def test_requests_that_were_cut_off_are_told_together() -> None:
    events = [queued(2, 1000), delivered(2, 1010), queued(4, 1020)]
    (finding,) = judged(*events, ended(2, 2000, error=ABORTED), ended(4, 2010, error=-errno.ENOTCONN))
    assert finding.rule.id == "cut-off"
    assert "2 requests were under way, 1 of them in the server's hands" in finding.sentence
    assert "GETATTR (unique 2), GETATTR (unique 4)" in finding.sentence


@pytest.mark.parametrize("opcode", [Opcode.DESTROY, Opcode.RELEASE])
def test_what_nobody_waits_for_may_be_cut_off(opcode: Opcode) -> None:
    assert rules(queued(2, 1000, opcode), ended(2, 2000, opcode, ABORTED)) == []


def _by_device(unique: int, ns: int, opcode: int = Opcode.GETATTR) -> list[Records]:
    place: dict[str, Any] = {"transport": Transport.DEV, "queue": 0xFFFFFFFF}
    return [queued(unique, ns, opcode), ended(unique, ns + 100, opcode, **place)]


def test_past_the_ring() -> None:
    ready = event(Kind.READY, 1000)
    assert rules(ready, *_by_device(2, 2000), *_by_device(4, 3000)) == ["past-the-ring"]
    assert rules(*_by_device(2, 500), ready) == []
    assert rules(ready, *_by_device(2, 2000, Opcode.INIT)) == []
    before = [queued(2, 900), ready, ended(2, 1100, transport=Transport.DEV)]
    assert rules(*before) == []


@pytest.mark.parametrize(("cpu", "count", "found"), [(1, 300, ["other-cpu"]), (3, 300, []), (1, 150, [])])
def test_on_another_cpu(cpu: int, count: int, found: list[str]) -> None:
    events = []
    for number in range(count):
        unique, ns = 2 * number + 2, 1000 * number + 1000
        events += [queued(unique, ns), delivered(unique, ns + 10, cpu=cpu)]
        events += [committed(unique, ns + 20), ended(unique, ns + 30)]
    assert rules(*events) == found


def test_a_completion_queue_without_room() -> None:
    events = [queued(2, 1000), delivered(2, 1010, flags=Flag.CQE_OVERFLOW), committed(2, 1100), ended(2, 1110)]
    assert rules(*events) == ["cq-overflow"]


def _zero_copied(opcode: int, moved: int | None) -> list[Records]:
    """A request of 4096 bytes in slot 1, of which the server's own I/O moves so many."""
    flags = Flag.ZERO_COPIED | Flag.HAS_SLOT | Flag.HEADER_FROM_SERVER
    place: dict[str, Any] = {"flags": flags, "slot": 1}
    events = [queued(2, 1000, opcode), delivered(2, 1010, opcode, **place)]
    if moved is not None:
        events.append(event(Kind.FIXED_IO, 1050, unique=2, opcode=opcode, length=moved, slot=1, flags=Flag.HAS_SLOT))
    answer = bytes(128) + (4096).to_bytes(4, "little") + bytes(4)
    reply: dict[str, Any] = {"header": answer} if opcode == Opcode.WRITE else {}
    return [*events, committed(2, 1100, opcode, 4096, **place), ended(2, 1110, opcode, **reply)]


@pytest.mark.parametrize(("opcode", "rule"), [(Opcode.WRITE, "write-unread"), (Opcode.READ, "read-unwritten")])
def test_zero_copy_that_moves_nothing(opcode: int, rule: str) -> None:
    assert rules(*_zero_copied(opcode, 4096)) == []
    assert rules(*_zero_copied(opcode, None)) == [rule]
    (finding,) = judged(*_zero_copied(opcode, 100))
    assert finding.rule.id == rule
    assert "moved 100 bytes" in finding.sentence
    assert rules(after_loss(batch(*_zero_copied(opcode, None)), 1)) == []


@pytest.mark.parametrize("error", [-errno.EINVAL, -errno.EBUSY])
def test_a_slot_that_can_t_be_used(error: int) -> None:
    place: dict[str, Any] = {"unique": 2, "opcode": Opcode.READ, "queue": 3, "slot": 9, "error": error}
    events = [queued(2, 1000, Opcode.READ), event(Kind.PAGES_REGISTERED, 1010, **place)]
    (finding,) = judged(*events, ended(2, 1020, Opcode.READ, error))
    assert finding.rule.id == "slot-refused"
    assert "READ, unique 2 can't be put into slot 9" in finding.sentence


def _dry(unique: int, ns: int, wait: int = 5000) -> list[Records]:
    """A request that waits so long for a buffer."""
    place: dict[str, Any] = {"opcode": Opcode.READ, "queue": 3, "transport": Transport.URING, "entry": 0xE0}
    dry = event(Kind.SELECTED, ns + 1, unique=unique, error=-errno.ENOBUFS, **place)
    got = event(Kind.SELECTED, ns + 1 + wait, unique=unique, **place)
    return [queued(unique, ns, Opcode.READ), dry, got, *whole(unique, ns + wait + 1000, Opcode.READ)[1:]]


def test_a_pool_that_runs_dry() -> None:
    few = [part for number in range(9) for part in _dry(2 * number + 2, 10_000 * number + 1000)]
    assert rules(*few) == []
    (finding,) = judged(*few, *_dry(200, 500_000))
    assert finding.rule.id == "pool-dry"
    assert finding.sentence == (
        "10 requests of queue 3 found no free buffer, and waited 5.0 us each, at most 1 at a time: 1 more buffer would "
        "have served them."
    )
    assert rules(*_dry(2, 1000, wait=999_999_999)) == []
    assert rules(*_dry(2, 1000, wait=SECOND)) == ["pool-dry"]
    kept = _dry(2, 1000, wait=SECOND)
    assert rules(*kept[:2], *kept[3:]) == ["pool-dry"]  # its entry kept the buffer of the request before


def test_a_pool_of_the_connection_that_had_the_number_before() -> None:
    """What waited there does not count here, and what was said there is said here again."""
    few = [part for number in range(9) for part in _dry(2 * number + 2, 10_000 * number + 1000)]
    begun = event(Kind.INIT, SECOND // 10)
    assert rules(*few, begun, *_dry(2, SECOND // 5)) == []
    long = [_dry(2, 1000, SECOND), _dry(2, 2 * SECOND, SECOND)]
    assert rules(*long[0], event(Kind.INIT, 2 * SECOND - 1), *long[1]) == ["pool-dry", "pool-dry"]


def _loaded(queue: int, number: int, wait_ns: int, start: int = SECOND) -> list[Records]:
    """Requests of one entry, each of which waits so long for it; 10 ms apart."""
    events = []
    place: dict[str, Any] = {"queue": queue, "entry": 0xE0 + queue}
    for at in range(number):
        unique, ns = 1000 * queue + 2 * at + 2, 10_000_000 * at + start
        got = event(Kind.STEP, ns + wait_ns, unique=unique, step=Step.ADD_REQ_TO_RING_ENT, **place)
        events += [queued(unique, ns, cpu=queue), got, delivered(unique, ns + wait_ns + 10, cpu=queue, **place)]
        events += [committed(unique, ns + wait_ns + 20, **place), ended(unique, ns + wait_ns + 30, queue=queue)]
    return events


@pytest.mark.parametrize(("wait_ns", "found"), [(3_000_000, ["queue-imbalance"]), (500_000, [])])
def test_queues_out_of_balance(wait_ns: int, found: list[str]) -> None:
    said = judged(*_by_time(*_loaded(1, 600, wait_ns), *_loaded(2, 2, 10)))
    assert [one.rule.id for one in said] == found
    if found:
        assert said[0].sentence.startswith("In 5.")
        assert "waited 3.0 ms each for an entry of queue 1, while queue 2 used 0%" in said[0].sentence


def test_a_queue_that_nobody_has_used_is_idle_too() -> None:
    registered = event(Kind.REGISTER, 1000, queue=2, command_op=1)
    assert rules(registered, *_loaded(1, 600, 3_000_000)) == ["queue-imbalance"]


def test_a_queue_alone_is_not_out_of_balance() -> None:
    assert rules(*_loaded(1, 600, 3_000_000)) == []


def test_what_was_said_of_the_connection_that_had_the_number_before_is_said_again() -> None:
    twice = [_by_time(*_loaded(1, 600, 3_000_000, start), *_loaded(2, 2, 10, start)) for start in (SECOND, 9 * SECOND)]
    assert rules(*twice[0], *twice[1]) == ["queue-imbalance"]
    assert rules(*twice[0], event(Kind.INIT, 8 * SECOND), *twice[1]) == 2 * ["queue-imbalance"]
    twice = [_copied(start) for start in (1000, 2 * SECOND)]
    assert rules(*twice[0], event(Kind.INIT, SECOND), *twice[1]) == 2 * ["zero-copy-missing"]


def _by_time(*events: Records) -> list[Records]:
    return sorted(events, key=lambda one: int(one["ns"][0]))


def _copied(start: int) -> list[Records]:
    """READs on a queue for zero-copy, whose file was not opened for it."""
    flags = Flag.QUEUE_ZERO_COPY | Flag.HAS_PAGES | Flag.HEADER_FROM_SERVER
    events = []
    for at in range(100):
        unique, ns = 2 * at + 2, 1000 * at + start
        place: dict[str, Any] = {"flags": flags}
        events += [
            queued(unique, ns, Opcode.READ, flags=Flag.HAS_PAGES),
            delivered(unique, ns + 1, Opcode.READ, **place),
        ]
        events += [committed(unique, ns + 2, Opcode.READ, **place), ended(unique, ns + 3, Opcode.READ)]
    return events


def test_zero_copy_that_does_not_happen() -> None:
    (finding,) = judged(*_copied(1000))
    assert finding.rule.id == "zero-copy-missing"
    assert finding.sentence.startswith("100 requests of queue 3 were copied: their files were not opened with")


def test_rules_can_be_told_apart_and_read() -> None:
    for name, rule in RULES.items():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
        assert len(name) <= 20
        assert rule.explanation.endswith(".")
        assert rule.remedy
        assert not rule.title.endswith(".")
    assert len({rule.title for rule in RULES.values()}) == len(RULES)


def test_nothing_is_said_of_nothing() -> None:
    assert judged() == []
    assert judged(until=10**12) == []
