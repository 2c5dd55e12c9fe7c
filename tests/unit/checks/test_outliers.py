"""Requests that took longer than others of their kind."""

from furtrace.trace.record import Kind, Records
from furtrace.wire.opcodes import Opcode
from tests.unit.checks.judging import judged, repeated, replied, rules
from tests.unit.events import delivered, ended, event, queued

MS = 1_000_000


def getattrs(count: int, took: int, *, first: int = 2, begin: int = 1000) -> Records:
    """Requests one after another, each with the server for ``took`` ns."""
    given = [queued(first, begin, Opcode.GETATTR), delivered(first, begin + 10, Opcode.GETATTR)]
    given += [replied(first, begin + 10 + took, size=104), ended(first, begin + 20 + took, Opcode.GETATTR, 0)]
    return repeated(given, count, 2 * took)


def test_one_that_takes_far_longer_than_the_others() -> None:
    many = getattrs(1000, 50_000)
    (finding,) = judged(many, getattrs(1, 150 * MS, first=5000, begin=700 * MS))
    assert (finding.rule.id, finding.unique) == ("slow-for-its-kind", 5000)
    assert "GETATTR, unique 5000, was in the server's hands for 150 ms" in finding.sentence
    assert "99 of 100 of the 1000 GETATTR requests before it" in finding.sentence


def test_a_kind_that_is_hardly_known_is_not_compared() -> None:
    many = getattrs(999, 50_000)
    assert rules(many, getattrs(1, 150 * MS, first=5000, begin=700 * MS)) == []


def test_one_that_is_not_so_long_is_not_told() -> None:
    many = getattrs(1000, 50_000)
    assert rules(many, getattrs(1, 99 * MS, first=5000, begin=700 * MS)) == []
    slow = getattrs(1000, 10 * MS)
    assert rules(slow, getattrs(1, 150 * MS, first=5000, begin=30_000 * MS)) == []


def test_those_of_the_connection_that_had_the_number_before_are_not_compared() -> None:
    many, one = getattrs(1000, 50_000), getattrs(1, 150 * MS, first=5000, begin=700 * MS)
    assert rules(many, event(Kind.INIT, 600 * MS), one) == []
    assert rules(many, event(Kind.INIT, 600 * MS, connection=8), one) == ["slow-for-its-kind"]


def test_those_of_another_connection_are_not_compared() -> None:
    others, one = getattrs(1000, 50_000), getattrs(1, 150 * MS, first=5000, begin=700 * MS)
    others["connection"] = 8
    assert rules(others, one) == []


def test_what_is_slow_by_itself_is_told_as_that() -> None:
    many = getattrs(1000, 50_000)
    assert rules(many, getattrs(1, 1500 * MS, first=5000, begin=700 * MS)) == ["slow"]


def test_those_of_the_same_second_are_one_event() -> None:
    many = getattrs(1000, 50_000)
    assert rules(many, getattrs(3, 150 * MS, first=5000, begin=700 * MS)) == ["slow-for-its-kind"]
