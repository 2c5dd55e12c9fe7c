"""Which requests of a recording are shown: those that a plain look at all of them chooses, and nothing else of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from furtrace.model.choosing import AtOnce, Judge, Playing, Wanted, only_connections, playing, start_of
from furtrace.model.conversation import Conversation
from furtrace.model.filtering import DisplayFilter
from furtrace.trace.record import (
    HINTS,
    NO_QUEUE,
    Flag,
    Kind,
    Records,
    Transport,
    events_only,
    lost_record,
    mounted_record,
)
from furtrace.wire.opcodes import Opcode
from tests.unit.events import batch, committed, delivered, ended, event, found, one_name, queued, whole
from tests.unit.model.histories import History, histories
from tests.unit.model.reference import Row, row_of

DEV: dict[str, Any] = {"transport": Transport.DEV, "queue": NO_QUEUE}


def _judged(wanted: Wanted, batches: list[Records]) -> Judge:
    judge = Judge(wanted, whole=True)
    for each in batches:
        judge.feed(only_connections(each, {wanted.connection} if wanted.connection else None))
    judge.judge_the_rest()
    return judge


def _replayed(wanted: Wanted, *batches: Records) -> tuple[Playing, list[Row], Records]:
    """The conversation at its end, the requests that ended, and the events that were shown."""
    conversation = playing(_judged(wanted, list(batches)).choice(), whole=True)
    rows, events = [], [batch()]
    for each in batches:
        for part in conversation.cut(only_connections(each, {wanted.connection} if wanted.connection else None)):
            rows += [row_of(row) for row in conversation.feed(part)]
            events.append(events_only(conversation.shown))
    return conversation, rows, np.concatenate(events)


def _uniques(wanted: Wanted, *parts: Records) -> tuple[list[int], list[int], list[int]]:
    """Uniques of requests that ended, of those under way, and of events."""
    conversation, rows, events = _replayed(wanted, batch(*parts))
    under_way = sorted(conversation.requests.under_way["unique"].tolist())
    return [row["unique"] for row in rows], under_way, sorted(set(events["unique"].tolist()))


# ---- against all of it ----

_CRITERIA: list[tuple[Wanted, Callable[[Row], bool]]] = [
    (Wanted(opcodes=frozenset({Opcode.READ, Opcode.LOOKUP})),
     lambda row: row["opcode"] in (Opcode.READ, Opcode.LOOKUP)),
    (Wanted(connection=7), lambda row: row["connection"] == 7),
    (Wanted(connection=7, opcodes=frozenset({Opcode.READ})),
     lambda row: row["connection"] == 7 and row["opcode"] == Opcode.READ),
    (Wanted(display=DisplayFilter("latency > 9ns and error == 0")),
     lambda row: row["error"] == 0 and row["ended_ns"] and row["queued_ns"] and row["ended_ns"] - row["queued_ns"] > 9),
    (Wanted(display=DisplayFilter("unfinished or transport == dev")),
     lambda row: not row["ended_ns"] or row["transport"] == Transport.DEV),
]  # fmt: skip


def _no_connection_ends_early(events: Records) -> bool:
    """No number is used anew: what a plain model has under way at its end is all that did not end."""
    return not (events["kind"] == Kind.INIT).any()


@settings(deadline=None, max_examples=150)
@given(histories(), st.sampled_from(_CRITERIA))
def test_shows_what_fits_of_all_that_there_is(
    history: History, criterion: tuple[Wanted, Callable[[Row], bool]]
) -> None:
    wanted, fits = criterion
    everything = Conversation()
    rows = [row_of(row) for part in everything.cut(history.events) for row in everything.feed(part)]
    conversation, shown, events = _replayed(wanted, *history.batches)
    assert shown == [row for row in rows if fits(row)]
    left = {(row["connection"], row["unique"]): row for row in map(row_of, everything.requests.under_way) if fits(row)}
    assert {(row["connection"], row["unique"]): row for row in map(row_of, conversation.requests.under_way)} == left
    assert conversation.ended == len(shown)
    assert conversation.errors == sum(row["error"] != 0 for row in shown)
    assert conversation.events == len(events)
    if _no_connection_ends_early(history.events):
        names = {(row["connection"], row["unique"]) for row in [*shown, *left.values()]}
        every = events_only(history.events)
        expected = [each for each in every if (int(each["connection"]), int(each["unique"])) in names]
        with_request = events[events["unique"] != 0]
        assert with_request.tobytes() == batch(*(np.array([each]) for each in expected)).tobytes()


@settings(deadline=None, max_examples=80)
@given(histories(), st.sampled_from(_CRITERIA))
def test_at_once_shows_the_same_requests(history: History, criterion: tuple[Wanted, Callable[[Row], bool]]) -> None:
    wanted = criterion[0]
    only = {wanted.connection} if wanted.connection else None
    conversation = playing(AtOnce(wanted, {}), whole=True)
    rows = []
    for each in history.batches:
        for part in conversation.cut(only_connections(each, only)):
            rows += [row_of(row) for row in conversation.feed(part)]
    twice, expected, _ = _replayed(wanted, *history.batches)
    assert rows == expected
    assert sorted(map(str, map(row_of, conversation.requests.under_way))) == sorted(
        map(str, map(row_of, twice.requests.under_way))
    )


@settings(deadline=None, max_examples=60)
@given(histories())
def test_without_a_choice_it_is_the_conversation(history: History) -> None:
    one, other = Conversation(), playing(None, whole=True)
    for each in history.batches:
        assert one.feed(each).tobytes() == other.feed(each).tobytes()
        assert other.shown.tobytes() == each.tobytes()
    for name in ("events", "ended", "errors", "lost", "refused", "by_transport"):
        assert getattr(one, name) == getattr(other, name)
    assert one.queues.table() == other.queues.table()


# ---- single criteria ----


def test_queues() -> None:
    wanted = Wanted(queues=frozenset({3}))
    parts = [
        *whole(10, 100),
        *whole(12, 300, queue=4),
        queued(14, 500, cpu=3),  # under way: the client's CPU stands for its queue
        queued(16, 501, cpu=4),
        queued(18, 502, cpu=3),
        ended(18, 503, **DEV),
        event(Kind.REGISTER, 504, queue=3),
        event(Kind.REGISTER, 505, queue=4),
        event(Kind.READY, 506),
    ]
    conversation, rows, events = _replayed(wanted, batch(*parts))
    assert [row["unique"] for row in rows] == [10]
    assert conversation.requests.under_way["unique"].tolist() == [14]
    assert [(int(each["ns"])) for each in events] == [100, 110, 210, 215, 500, 504]
    assert [(queue.queue, queue.registered) for queue in conversation.queues.table()] == [(3, 1)]


def test_clients() -> None:
    flags = {"flags": Flag.BACKGROUND, "pid": 900, "tid": 900}
    parts = [
        *whole(10, 100),
        queued(12, 300, client_tid=41, **flags),  # in the background, for a thread of the client
        queued(14, 301, client_tid=99, **flags),
        queued(16, 302, pid=41, tid=77),
    ]
    assert _uniques(Wanted(client=40), *parts) == ([10], [12], [10, 12])
    assert _uniques(Wanted(client=41), *parts) == ([], [16], [16])


def test_the_background_is_the_clients_only_once_it_was_seen() -> None:
    early = queued(8, 50, client_tid=41, flags=Flag.BACKGROUND, pid=900, tid=900), ended(8, 60)
    _, rows, _ = _replayed(Wanted(client=40), batch(*early), batch(*whole(10, 100)))
    assert [row["unique"] for row in rows] == [10]


def test_set_up_and_trouble_are_shown_where_a_connection_or_queue_is_chosen() -> None:
    alone = [
        event(Kind.REGISTER, 1, queue=3, pid=900),
        event(Kind.REFUSED, 2, queue=3),
        event(Kind.STOPPED, 3, queue=4, connection=8),
    ]
    lost = lost_record(4, 5, 3, cpu=0)

    def times(**wanted: Any) -> list[int]:
        _, _, events = _replayed(Wanted(**wanted), batch(*alone, lost, *whole(10, 100)))
        return [int(ns) for ns in events["ns"] if ns < 100]

    assert times() == [1, 2, 3, 4]
    assert times(connection=7) == [1, 2, 4]
    assert times(queues=frozenset({3})) == [1, 2, 4]
    assert times(server=900) == [1, 2, 4]
    assert times(opcodes=frozenset({3})) == [4]
    assert times(client=40) == [4]
    assert times(display=DisplayFilter("op == GETATTR")) == [4]


def test_trouble_is_counted_where_it_is_shown() -> None:
    refused = event(Kind.REFUSED, 2, queue=3)
    assert _replayed(Wanted(connection=7), batch(refused))[0].refused == 1
    assert _replayed(Wanted(opcodes=frozenset({3})), batch(refused))[0].refused == 0


def _mounted(path: bytes, ns: int, *, connection: int = 7, server: int = 900) -> list[Records]:
    """A connection begins, as it is recorded: where it is mounted is told first."""
    place = {"connection": connection}
    return [
        mounted_record(ns, connection, path),
        queued(2, ns, Opcode.INIT, **place),
        ended(2, ns + 1, Opcode.INIT, pid=server, **place, **DEV),
        event(Kind.INIT, ns + 2, unique=2, opcode=Opcode.INIT, pid=server, **place),
        event(Kind.REGISTER, ns + 3, pid=server, **place),
    ]


def _requests(unique: int, ns: int, *, server: int = 900, **place: Any) -> list[Records]:
    parts = [part.copy() for part in whole(unique, ns, **place)]
    for part in parts[1:]:
        part["pid"] = server
    return parts


def test_mounts_and_servers_of_connections_that_have_the_same_number() -> None:
    parts = [
        *_mounted(b"/a", 100),
        *_requests(4, 200),
        *_mounted(b"/b", 300, server=901),
        *_requests(4, 400, server=901),
        queued(6, 500),
        *_mounted(b"/c", 600, connection=8),
        *_requests(4, 700, connection=8),
    ]
    for wanted, times in (
        (Wanted(mounts=frozenset({"/a"})), [100, 101, 102, 103, 200, 210, 310, 315]),
        (Wanted(server=901), [300, 301, 302, 303, 400, 410, 510, 515, 500]),
        (Wanted(mounts=frozenset({"/b"})), [300, 301, 302, 303, 400, 410, 510, 515, 500]),
        (Wanted(mounts=frozenset({"/c"})), [600, 601, 602, 603, 700, 710, 810, 815]),
        (Wanted(mounts=frozenset({"/a", "/b"}), server=900), [100, 101, 102, 103, 200, 210, 310, 315]),
        (Wanted(mounts=frozenset({"/d"})), []),
        (Wanted(mounts=frozenset({"/b"}), opcodes=frozenset({Opcode.INIT})), [300, 301, 302]),
    ):
        judge = _judged(wanted, [batch(*parts)])
        assert bool(judge.connections()) == bool(times)
        _, _, events = _replayed(wanted, batch(*parts))
        assert [int(ns) for ns in events["ns"]] == times
        # However it comes.
        _, _, again = _replayed(wanted, *np.split(batch(*parts), range(1, len(parts))))
        assert again.tobytes() == events.tobytes()


def test_a_mount_in_a_display_filter() -> None:
    parts = [*_mounted(b"/a", 100), *_requests(4, 200), *_mounted(b"/b", 300, server=901), *_requests(4, 400)]
    wanted = Wanted(display=DisplayFilter('mount == "/b" and op != INIT'))
    _, _, events = _replayed(wanted, batch(*parts))
    assert [int(ns) for ns in events["ns"]] == [400, 410, 510, 515]
    # Told behind the request: known only to whoever has gone over it before.
    late = batch(*_requests(4, 200), mounted_record(300, 7, b"/b"))
    assert _replayed(wanted, late[:4], late[4:])[1] == []
    before = _judged(Wanted(), [late])
    judge = Judge(wanted, whole=True, mounts=before.mounts)
    judge.feed(late[:4])
    assert len(playing(judge.choice(), whole=True).feed(late)) == 1


def test_a_place_that_is_mounted_anew_under_the_same_number() -> None:
    """Where it is mounted is said once."""
    parts = [*_mounted(b"/a", 100), *_requests(4, 200), *_mounted(b"/a", 300)[1:], *_requests(4, 400)]
    _, rows, _ = _replayed(Wanted(mounts=frozenset({"/a"})), batch(*parts))
    assert [row["unique"] for row in rows] == [2, 4, 2, 4]


def test_what_never_ends_is_judged_as_well() -> None:
    parts = [
        queued(4, 100, Opcode.READ),
        *_mounted(b"/a", 300),  # the number is used anew
        queued(4, 400, Opcode.WRITE),
        queued(6, 401, Opcode.READ),
    ]
    assert _uniques(Wanted(opcodes=frozenset({Opcode.READ})), *parts) == ([], [6], [4, 6])
    assert _uniques(Wanted(display=DisplayFilter("unfinished and op == WRITE")), *parts) == ([], [4], [4])
    _, _, events = _replayed(Wanted(opcodes=frozenset({Opcode.READ})), batch(*parts))
    assert [int(ns) for ns in events["ns"]] == [100, 401]


def test_paths_are_those_that_hold_when_a_request_ends() -> None:
    parts = [
        queued(2, 9, Opcode.LOOKUP, node_id=1, **one_name(b"old")),
        found(2, 10, Opcode.LOOKUP, 1, b"old", 5),
        *whole(4, 100),
        queued(6, 299, Opcode.LINK, node_id=1, **one_name(b"new")),
        found(6, 300, Opcode.LINK, 1, b"new", 5),
        *whole(8, 400),
        queued(10, 500),
    ]
    for way in (_uniques, _at_once):
        assert way(Wanted(display=DisplayFilter('path == "/old"')), *parts)[:2] == ([2, 4], [])
        assert way(Wanted(display=DisplayFilter('path == "/new"')), *parts)[:2] == ([6, 8], [10])


def _at_once(wanted: Wanted, *parts: Records) -> tuple[list[int], list[int]]:
    conversation = playing(AtOnce(wanted, {}), whole=True)
    rows = [row for part in conversation.cut(batch(*parts)) for row in conversation.feed(part)]
    return [int(row["unique"]) for row in rows], conversation.requests.under_way["unique"].tolist()


def test_what_is_said_of_a_request_does_not_depend_on_the_filter() -> None:
    """Numbers of entries, and times that follow from another request, are those that there are without a filter."""
    parts = [*whole(10, 100, entry=0xA), *whole(12, 150, entry=0xB), *whole(14, 500, Opcode.READ, entry=0xB)]
    conversation, (row,), _ = _replayed(Wanted(opcodes=frozenset({Opcode.READ})), batch(*parts))
    assert (row["entry_index"], row["assigned_ns"]) == (1, 500)
    assert conversation.requests.entry_index(7, 3, 0xB) == 1


def test_times_since_the_start() -> None:
    hint = mounted_record(1, 7, b"/a")
    parts = [hint, *whole(10, 1000), *whole(12, 2000), queued(14, 4000)]
    assert _uniques(Wanted(display=DisplayFilter("time >= 1000ns")), *parts)[:2] == ([12], [14])
    assert _uniques(Wanted(display=DisplayFilter("end < 1us")), *parts)[:2] == ([10], [])
    assert start_of(batch(*parts)) == 1000
    assert start_of(hint) == 1
    assert start_of(batch()) is None


def test_hints_and_losses_go_on() -> None:
    parts = [mounted_record(1, 7, b"/a"), lost_record(2, 3, 5, cpu=0), *whole(10, 100), delivered(12, 400)]
    conversation = playing(_judged(Wanted(connection=9), [batch(*parts)]).choice(), whole=True)
    conversation.feed(only_connections(batch(*parts), {9}))
    assert [int(kind) for kind in conversation.shown["kind"]] == [Kind.LOST]
    assert (conversation.lost, conversation.events) == (5, 0)
    conversation = playing(_judged(Wanted(opcodes=frozenset({99})), [batch(*parts)]).choice(), whole=True)
    conversation.feed(batch(*parts))
    assert [int(kind) for kind in conversation.shown["kind"]] == [Kind.MOUNTED, Kind.LOST]


@pytest.mark.parametrize("kind", HINTS)
def test_a_hint_is_no_event_that_shows_a_connection(kind: Kind) -> None:
    judge = _judged(Wanted(mounts=frozenset({"/a"})), [batch(mounted_record(1, 7, b"/a"), event(kind, 2))])
    assert judge.connections() == set()


def test_counting_anew() -> None:
    conversation = Conversation()
    conversation.feed(batch(lost_record(1, 2, 5, cpu=0), *whole(10, 100), queued(12, 300), committed(14, 301)))
    conversation.feed(batch(event(Kind.REFUSED, 302, queue=3)))
    conversation.count_anew()
    assert (conversation.events, conversation.ended, conversation.lost, conversation.refused) == (0, 0, 0, 0)
    assert conversation.operations.table() == []
    assert list(conversation.trouble) == []
    assert [(queue.delivered, queue.entries) for queue in conversation.queues.table()] == [(0, 1)]
    (row,) = conversation.feed(batch(ended(12, 400)))
    assert (row["queued_ns"], conversation.ended) == (300, 1)
