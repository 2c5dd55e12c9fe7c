"""Two snapshots of a connection, and what moved between them."""

from dataclasses import replace

from furtrace.model.moves import moves
from furtrace.model.snapshot import InList, Request
from tests.unit.states import asked, seen


def unique(requests: list[Request]) -> list[int]:
    return [request.unique for request in requests]


def test_what_moved() -> None:
    before = seen(requests=tuple(asked(number, InList.PENDING) for number in (2, 4, 6))).snapshot
    later = (asked(4, InList.PENDING, 11.0), asked(6, InList.PROCESSING, 11.0), asked(8, InList.PENDING, 0.5))
    after = replace(seen(requests=later).snapshot, ns=1_000_000_000)
    found = moves(before, after)
    assert (unique(found.ended), unique(found.came), unique(found.moved), unique(found.stayed)) == ([2], [8], [6], [4])
    assert (found.seconds, found.stands_still) == (1.0, False)
    assert moves(before, before).stands_still
    nothing = seen().snapshot
    assert not moves(nothing, nothing).stands_still
