"""How old requests are at least, where the kernel does not say it."""

from furtrace.model.ages import Ages
from furtrace.model.snapshot import InList, Snapshot
from tests.unit.states import asked, entry, queue, seen

SECOND = 1_000_000_000


def snapshot(ns: int, *uniques: int, age: float | None = None) -> Snapshot:
    """One request in an entry, one in a queue, the rest outside."""
    first, second, *rest = uniques
    held = entry(InList.USERSPACE, asked(first, InList.USERSPACE, age))
    requests = tuple(asked(unique, InList.PENDING, age) for unique in rest)
    made = seen(queue(held, entry(InList.AVAILABLE), waiting=(asked(second, InList.QUEUED, age),)), requests=requests)
    made.snapshot.ns = ns
    return made.snapshot


def ages(told: Snapshot) -> dict[int, tuple[float | None, bool]]:
    return {request.unique: (request.age_s, request.at_least) for request in told.all_requests()}


def test_they_are_as_old_as_they_have_been_seen() -> None:
    known = Ages()
    assert ages(known.told(snapshot(10 * SECOND, 4, 6, 8))) == dict.fromkeys((4, 6, 8), (None, False))
    known.forget_others()
    assert ages(known.told(snapshot(13 * SECOND, 4, 6, 10))) == {4: (3.0, True), 6: (3.0, True), 10: (None, False)}


def test_what_the_kernel_knows_is_left_alone() -> None:
    known = Ages()
    for ns in (10 * SECOND, 13 * SECOND):
        assert set(ages(known.told(snapshot(ns, 4, 6, age=7.0))).values()) == {(7.0, False)}


def test_a_number_that_is_used_anew_is_another_request() -> None:
    known = Ages()
    for ns, uniques in ((10 * SECOND, (4, 6)), (11 * SECOND, (8, 10)), (12 * SECOND, (4, 6))):
        told = known.told(snapshot(ns, *uniques))
        known.forget_others()
    assert set(ages(told).values()) == {(None, False)}


def test_connections_have_their_own_numbers() -> None:
    known, other = Ages(), snapshot(11 * SECOND, 4, 6)
    known.told(snapshot(10 * SECOND, 4, 6))
    other.number = 8
    assert set(ages(known.told(other)).values()) == {(None, False)}
