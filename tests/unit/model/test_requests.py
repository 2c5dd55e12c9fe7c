"""How requests are put together from their events."""

from typing import Any

import numpy as np
import pytest

from furtrace.model import requests as module
from furtrace.model.requests import Requests, Requests_, first_seen, new_requests, state
from furtrace.trace.record import NO_BUFFER, NO_QUEUE, Flag, Kind, Records, Step, Transport
from furtrace.wire.opcodes import Opcode
from tests.unit.events import (
    batch,
    committed,
    delivered,
    ended,
    event,
    one_name,
    operation_header,
    queued,
    read_in,
    reply_header,
    two_names,
    whole,
)

READ = Opcode.READ
DEV: dict[str, Any] = {"transport": Transport.DEV, "queue": NO_QUEUE, "entry": 0}
DEV_END: dict[str, Any] = {"transport": Transport.DEV, "queue": NO_QUEUE}


def _feed(*parts: Records) -> Requests_:
    return Requests().feed(batch(*parts))


def _one(*parts: Records) -> np.void:
    (row,) = _feed(*parts)
    assert isinstance(row, np.void)
    return row


def _text(field: np.void) -> bytes:
    return field.tobytes().rstrip(b"\0")


def test_a_whole_request() -> None:
    row = _one(
        queued(10, 1000, READ, header=read_in(4096, 512), **one_name(b"x")),
        delivered(10, 1010, READ, payload=0xBEEF, flags=Flag.HAS_BUFFER, buffer_id=4, pool_offset=8192),
        committed(10, 1110, READ, 500, payload=0xBEEF, flags=Flag.HEADER_FROM_SERVER | Flag.HAS_BUFFER, buffer_id=4),
        ended(10, 1115, READ),
    )
    times = [int(row[f"{name}_ns"]) for name in ("queued", "assigned", "delivered", "committed", "ended")]
    assert times == [1000, 0, 1010, 1110, 1115]
    assert (row["unique"], row["connection"], row["opcode"], row["node_id"]) == (10, 7, READ, 5)
    assert (row["queue"], row["expected_queue"], row["entry"], row["entry_index"]) == (3, 3, 0xE0, 0)
    assert (row["client_pid"], row["client_tid"], _text(row["client_comm"])) == (40, 41, b"client")
    assert (row["server_pid"], row["server_tid"], _text(row["server_comm"])) == (900, 901, b"server")
    assert (row["commit_id"], row["payload"], row["buffer_id"]) == (10, 0xBEEF, 4)
    assert (row["reply_size"], row["moved"], row["error"]) == (500, 500, 0)
    assert row["transport"] == Transport.URING
    assert row["flags"] == Flag.CURRENT_IS_CLIENT | Flag.HAS_BUFFER
    assert not row["uncertain"]
    assert (row["name_size"], row["second"], _text(row["name"])) == (2, 0, b"x")
    assert row["operation_size"] == 40
    assert row["operation"].tobytes()[:40] == read_in(4096, 512)[128:]


@pytest.mark.parametrize("at", range(5))
def test_cut_at_every_point(at: int) -> None:
    parts = whole(10, 1000, READ)
    once = _feed(*parts)
    model = Requests()
    rows = np.concatenate([model.feed(batch(*parts[:at])), model.feed(batch(*parts[at:]))])
    assert rows.tobytes() == once.tobytes()
    assert len(rows) == 1
    assert len(model.under_way) == 0


def test_an_event_at_a_time() -> None:
    parts = whole(10, 1000)
    model = Requests()
    assert [len(model.feed(part)) for part in parts] == [0, 0, 0, 1]


def test_states_of_a_request_under_way() -> None:
    model = Requests()
    states = []
    for part in whole(10, 1000)[:3]:
        model.feed(part)
        (row,) = model.under_way
        states.append(state(row))
    assert states == ["queued", "in the server", "in the kernel, committed"]
    model.feed(batch(), lost=True)
    assert state(model.under_way[0]) == "unknown, events were lost"


def test_requests_between_each_other() -> None:
    first, second = whole(10, 1000, entry=0xA), whole(12, 1003, entry=0xB, error=-2)
    rows = _feed(first[0], second[0], second[1], first[1], second[2], second[3], first[2], first[3])
    assert rows["unique"].tolist() == [10, 12]  # by the time of their end, whatever the order in the ring
    assert rows["entry"].tolist() == [0xA, 0xB]
    assert rows["error"].tolist() == [0, -2]
    assert rows["delivered_ns"].tolist() == [1010, 1013]


def test_in_the_order_of_their_end() -> None:
    rows = _feed(queued(10, 1), queued(12, 2), queued(14, 3), ended(12, 10), ended(14, 11), ended(10, 12))
    assert rows["unique"].tolist() == [12, 14, 10]


@pytest.mark.parametrize("missing", range(3))
def test_what_was_not_seen_stays_0(missing: int) -> None:
    parts = whole(10, 1000)
    names = ("queued_ns", "delivered_ns", "committed_ns", "ended_ns")
    known = [int(_one(*parts)[name]) for name in names]
    del parts[missing]
    known[missing] = 0
    row = _one(*parts)
    assert [int(row[name]) for name in names] == known
    assert row["assigned_ns"] == 0


def test_the_end_alone() -> None:
    row = _one(ended(10, 1115, READ, -5))
    assert (row["error"], row["entry_index"], row["expected_queue"], row["reply_size"]) == (-5, -1, NO_QUEUE, -1)
    assert (row["client_pid"], row["client_tid"], row["server_pid"]) == (0, 41, 0)
    assert row["queue"] == 3


def test_new_rows_know_nothing() -> None:
    (row,) = new_requests(1)
    assert (row["queue"], row["expected_queue"]) == (NO_QUEUE, NO_QUEUE)
    unknown = ("entry_index", "reply_size", "moved", "buffer_id", "slot", "page_bytes", "fixed_bytes")
    assert [int(row[name]) for name in unknown] == [-1] * 7
    assert row["ended_ns"] == row["unique"] == row["client_tid"] == 0


def test_events_without_a_request_make_none() -> None:
    model = Requests()
    assert len(model.feed(batch(event(Kind.REGISTER, 5), committed(0, 6), event(Kind.LOST, 7, unique=8)))) == 0
    assert len(model.under_way) == 0


def test_an_empty_batch() -> None:
    model = Requests()
    assert len(model.feed(batch())) == 0
    model.feed(queued(10, 1))
    assert len(model.feed(batch())) == 0
    assert len(model.under_way) == 1


def test_the_same_unique_on_several_connections() -> None:
    parts = [whole(10, 1000 + n, connection=7 + n, error=-n) for n in range(5)]
    model = Requests()
    model.feed(batch(*(part[0] for part in parts)))
    rows = model.feed(batch(*(part[1] for part in parts), *(part[3] for part in parts)))
    assert rows[["connection", "error", "queued_ns"]].tolist() == [(7 + n, -n, 1000 + n) for n in range(5)]


@pytest.mark.parametrize("bit", range(48))
def test_uniques_of_48_bits(bit: int) -> None:
    rows = _feed(queued(1 << 48, 1), queued(1 << bit | 1 << 48, 2), ended(1 << bit | 1 << 48, 3), ended(1 << 48, 4))
    assert rows["queued_ns"].tolist() == [2, 1]


def test_an_end_without_a_queue_takes_none_away() -> None:
    assert _one(*whole(10, 1000)[:3], ended(10, 2000, queue=NO_QUEUE))["queue"] == 3
    assert _one(*whole(10, 1000)[:3], ended(10, 2000, queue=4))["queue"] == 4


def test_a_resent_request_is_the_same() -> None:
    row = _one(queued(10, 1000), delivered(10 | 1 << 63, 1010), committed(10, 1020), ended(10, 1030))
    assert (row["unique"], row["delivered_ns"], row["queued_ns"]) == (10, 1010, 1000)


def _init(ns: int, connection: int = 7) -> Records:
    return event(Kind.INIT, ns, unique=2, opcode=Opcode.INIT, connection=connection)


@pytest.mark.parametrize("cut", [True, False])
def test_a_number_used_anew(cut: bool) -> None:
    """What was under way when INIT comes belonged to an older connection of that number."""
    before = batch(queued(10, 100, connection=7), queued(10, 101, connection=8))
    after = batch(_init(200), *whole(10, 300)[1:], queued(12, 400))
    model = Requests()
    if cut:
        model.feed(before)
        (row,) = model.feed(after)
    else:
        (row,) = model.feed(batch(before, after))
    assert row["queued_ns"] == 0  # the QUEUED of 100 was not its own
    assert sorted(model.under_way[["connection", "unique"]].tolist()) == [(7, 12), (8, 10)]


def test_the_init_request_itself_outlives_its_init() -> None:
    model = Requests()
    model.feed(queued(2, 100, Opcode.INIT))
    model.feed(_init(200))
    (row,) = model.feed(ended(2, 201, Opcode.INIT, **DEV_END))
    assert row["queued_ns"] == 100


def test_entries_are_numbered_by_their_first_use() -> None:
    model = Requests()
    rows = model.feed(
        batch(
            *whole(14, 100, entry=0xB),
            *whole(10, 300, entry=0xC),
            *whole(12, 500, entry=0xA),
            *whole(16, 700, entry=0xC),
            *whole(18, 900, entry=0xB, queue=4),
        )
    )
    assert rows["entry_index"].tolist() == [0, 1, 2, 1, 0]
    assert model.entries() == {(7, 3): 3, (7, 4): 1}
    assert [model.entry_index(7, 3, entry) for entry in (0xA, 0xB, 0xC, 0xD)] == [2, 0, 1, None]
    assert model.entry_index(8, 3, 0xA) is None


def test_entries_keep_their_number_over_batches() -> None:
    model = Requests()
    model.feed(batch(*whole(10, 100, entry=0xB)))
    rows = model.feed(batch(*whole(12, 300, entry=0xA), *whole(14, 500, entry=0xB)))
    assert rows["entry_index"].tolist() == [1, 0]


def test_one_address_on_two_connections_is_two_entries() -> None:
    rows = _feed(
        *whole(10, 100, entry=0xA, connection=7),
        *whole(10, 300, entry=0xB, connection=8),
        *whole(12, 500, entry=0xA, connection=8),
    )
    assert rows["entry_index"].tolist() == [0, 0, 1]


def test_init_forgets_entries() -> None:
    model = Requests()
    model.feed(batch(*whole(10, 100, entry=0xA), *whole(12, 300, entry=0xB), *whole(10, 400, connection=8)))
    rows = model.feed(batch(_init(500), *whole(10, 600, entry=0xB)))
    assert rows["entry_index"].tolist() == [0]
    assert model.entries() == {(7, 3): 1, (8, 3): 1}


def _assigned(*parts: Records) -> list[int]:
    return [int(ns) for ns in _feed(*parts)["assigned_ns"]]


def test_assigned_to_a_free_entry_at_once() -> None:
    assert _assigned(*whole(10, 1000), *whole(12, 2000)) == [0, 2000]


def test_assigned_when_the_entry_gets_free() -> None:
    """A request that waits is taken at the end of the entry's previous one (here at 1115)."""
    late = [queued(12, 1050), delivered(12, 1120), committed(12, 1200), ended(12, 1210)]
    assert _assigned(*whole(10, 1000), *late) == [0, 1115]


def test_assigned_over_batches() -> None:
    model = Requests()
    model.feed(batch(*whole(10, 1000)))
    model.feed(batch(queued(12, 1050), delivered(12, 1120)))
    assert model.feed(batch(committed(12, 1200), ended(12, 1210)))["assigned_ns"].tolist() == [1115]


def test_assigned_of_several_entries() -> None:
    parts = [*whole(10, 1000, entry=0xA), *whole(12, 1200, entry=0xB), *whole(14, 1400, entry=0xA)]
    assert _assigned(*parts, *whole(16, 1600, entry=0xB)) == [0, 0, 1400, 1600]


def test_first_request_on_an_entry_is_not_known_to_have_been_assigned() -> None:
    assert _assigned(*whole(10, 1000, entry=0xA), *whole(12, 2000, entry=0xB)) == [0, 0]
    assert _assigned(*whole(10, 1000, connection=7), *whole(12, 2000, connection=8)) == [0, 0]


def test_a_new_connection_does_not_inherit_free_entries() -> None:
    assert _assigned(*whole(10, 1000), _init(1500), *whole(12, 2000)) == [0, 0]


@pytest.mark.parametrize("kind", [Flag.BACKGROUND, Flag.HAS_BUFFER])
def test_background_and_pool_requests_are_not_known_to_have_been_assigned(kind: Flag) -> None:
    second = [queued(12, 2000), delivered(12, 2010, flags=kind), committed(12, 2020), ended(12, 2030)]
    assert _assigned(*whole(10, 1000), *second, *whole(14, 3000)) == [0, 0, 3000]


def test_a_time_after_delivery_is_none() -> None:
    overlap = [queued(12, 1050), delivered(12, 1100), committed(12, 1200), ended(12, 1210)]
    assert _assigned(*whole(10, 1000), *overlap) == [0, 0]


def test_assigned_is_not_known_after_loss() -> None:
    model = Requests()
    model.feed(batch(*whole(10, 1000)))
    assert model.feed(batch(*whole(12, 2000), *whole(14, 3000)), lost=True)["assigned_ns"].tolist() == [0, 0]
    assert model.feed(batch(*whole(16, 4000), *whole(18, 5000)))["assigned_ns"].tolist() == [0, 5000]


def test_loss_makes_open_requests_uncertain() -> None:
    model = Requests()
    model.feed(batch(queued(10, 1), queued(12, 2)))
    assert not model.under_way["uncertain"].any()
    (row,) = model.feed(batch(ended(10, 3), queued(14, 4)), lost=True)
    assert row["uncertain"]
    assert model.under_way["uncertain"].tolist() == [True, True]
    (row,) = model.feed(batch(ended(14, 5), queued(16, 6)))
    assert row["uncertain"]
    assert dict(model.under_way[["unique", "uncertain"]].tolist()) == {12: True, 16: False}


def test_loss_with_nothing_to_read() -> None:
    model = Requests()
    model.feed(queued(10, 1))
    model.feed(batch(), lost=True)
    assert model.under_way["uncertain"].tolist() == [True]


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_OPEN", 3)
    model = Requests()
    model.feed(batch(queued(16, 1), queued(10, 2), delivered(12, 3)))
    assert model.forgotten == 0
    model.feed(batch(queued(14, 4), queued(8, 5)))
    assert sorted(model.under_way["unique"].tolist()) == [8, 12, 14]
    assert model.forgotten == 2
    (row,) = model.feed(ended(12, 6))
    assert row["delivered_ns"] == 3
    (row,) = model.feed(ended(10, 7))
    assert row["queued_ns"] == 0


def test_first_seen() -> None:
    model = Requests()
    model.feed(batch(queued(10, 5), delivered(10, 6), delivered(12, 7), committed(14, 8)))
    assert sorted(first_seen(model.under_way).tolist()) == [5, 7, 8]
    assert first_seen(_feed(ended(10, 9))).tolist() == [9]


def test_names_and_operation_of_queued() -> None:
    row = _one(queued(10, 1, Opcode.RENAME, **two_names(b"old", b"new")), ended(10, 2))
    assert (row["name_size"], row["second"]) == (100, 96)
    assert row["name"].tobytes()[96:100] == b"new\0"
    assert row["operation_size"] == 0


def test_requests_with_and_without_a_name_in_one_batch() -> None:
    rows = _feed(
        queued(10, 1), queued(12, 2, **one_name(b"n")), queued(14, 3), ended(10, 4), ended(12, 5), ended(14, 6)
    )
    assert rows["name_size"].tolist() == [0, 2, 0]
    assert [_text(name) for name in rows["name"]] == [b"", b"n", b""]


def test_operation_from_the_server_where_queued_was_not_seen() -> None:
    header = read_in(77, 99).ljust(288, b"\0")
    late = delivered(10, 1, READ, flags=Flag.HEADER_FROM_SERVER, header=header)
    row = _one(late, ended(10, 2))
    assert row["operation_size"] == 128
    assert row["operation"].tobytes() == header[128:256]
    row = _one(queued(10, 1), late, ended(10, 2))
    assert row["operation_size"] == 0  # the kernel said that there is none


def test_background_request_of_another_task() -> None:
    row = _one(queued(10, 1, flags=Flag.BACKGROUND, client_tid=55), delivered(10, 2), ended(10, 3))
    assert (row["client_pid"], row["client_tid"], _text(row["client_comm"])) == (0, 55, b"")
    assert row["flags"] == Flag.BACKGROUND


def test_client_of_a_request_seen_late() -> None:
    assert _one(delivered(10, 1, client_tid=77), ended(10, 2, client_tid=78))["client_tid"] == 77
    assert _one(ended(10, 2, client_tid=78))["client_tid"] == 78
    assert _one(queued(10, 1), delivered(10, 2, client_tid=99), ended(10, 3))["client_tid"] == 41


def test_delivered_is_the_server_not_the_client() -> None:
    row = _one(delivered(10, 1, flags=Flag.CURRENT_IS_CLIENT | Flag.ZERO_COPIED), ended(10, 2))
    assert row["flags"] == Flag.ZERO_COPIED


def test_commit_without_the_servers_header() -> None:
    row = _one(queued(10, 1), committed(10, 2, flags=0), ended(10, 3))
    assert row["reply_size"] == -1


@pytest.mark.parametrize("size", [0, 4096, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_reply_size_is_what_the_server_wrote(size: int) -> None:
    row = _one(queued(10, 1), committed(10, 2, READ, header=reply_header(size)), ended(10, 3, READ))
    assert (row["reply_size"], row["moved"]) == (size, size)


def test_dev_reply() -> None:
    row = _one(
        queued(10, 1, READ), delivered(10, 2, READ, **DEV, pid=800), ended(10, 9, READ, length=16 + 300, **DEV_END)
    )
    assert (row["transport"], row["queue"], row["entry_index"], row["committed_ns"]) == (Transport.DEV, NO_QUEUE, -1, 0)
    assert (row["server_pid"], row["server_tid"], _text(row["server_comm"])) == (900, 901, b"server")
    assert (row["reply_size"], row["moved"]) == (300, 300)


def test_dev_reply_that_is_too_short_to_be_one() -> None:
    assert _one(queued(10, 1), ended(10, 9, length=0, **DEV_END))["reply_size"] == -1


def test_dev_reply_with_an_error() -> None:
    row = _one(queued(10, 1, READ), ended(10, 9, READ, -2, **DEV_END))
    assert (row["server_pid"], row["reply_size"], row["moved"]) == (900, -1, -1)


@pytest.mark.parametrize("error", [-4, -103, -107])
def test_who_gave_a_request_up_is_no_server(error: int) -> None:
    row = _one(queued(10, 1), ended(10, 9, error=error, **DEV_END))
    assert (row["server_pid"], row["server_tid"], _text(row["server_comm"])) == (0, 0, b"")


def test_uring_end_is_no_server() -> None:
    row = _one(queued(10, 1), delivered(10, 2, pid=800), ended(10, 9, pid=1))
    assert row["server_pid"] == 800


@pytest.mark.parametrize("opcode", [Opcode.READ, Opcode.READDIR, Opcode.READDIRPLUS, Opcode.READLINK])
def test_bytes_brought(opcode: Opcode) -> None:
    assert _one(queued(10, 1), committed(10, 2, opcode, 123), ended(10, 3, opcode))["moved"] == 123
    assert _one(queued(10, 1), committed(10, 2, opcode, 123), ended(10, 3, opcode, -5))["moved"] == -1
    assert _one(queued(10, 1), ended(10, 3, opcode))["moved"] == -1


@pytest.mark.parametrize("opcode", [Opcode.WRITE, Opcode.COPY_FILE_RANGE])
def test_bytes_written(opcode: Opcode) -> None:
    reply = operation_header((4096).to_bytes(4, "little") + bytes(4))
    row = _one(queued(10, 1), committed(10, 2, opcode, 8), ended(10, 3, opcode, header=reply))
    assert (row["moved"], row["reply_size"]) == (4096, 8)
    assert _one(ended(10, 3, opcode, -5, header=reply))["moved"] == -1
    assert _one(ended(10, 3, opcode, header=reply[:131]))["moved"] == -1


def test_other_operations_move_nothing() -> None:
    row = _one(queued(10, 1), committed(10, 2, payload_size=104), ended(10, 3, header=operation_header(b"\xff" * 8)))
    assert row["moved"] == -1


def test_a_request_without_a_buffer_on_a_pool_queue_is_not_known_to_have_been_assigned() -> None:
    second = [queued(12, 2000), delivered(12, 2010, buffer_id=NO_BUFFER), committed(12, 2020), ended(12, 2030)]
    assert _assigned(*whole(10, 1000), *second, *whole(14, 3000)) == [0, 0, 3000]


def test_behind_a_filter_nothing_is_assigned() -> None:
    """The entry may have been busy with a request that was filtered out."""
    rows = Requests(whole=False).feed(batch(*whole(10, 1000), *whole(12, 2000)))
    assert rows["assigned_ns"].tolist() == [0, 0]


# ---- pools, slots, steps ----

_TAKEN: dict[str, Any] = {"unique": 10, "opcode": READ, "node_id": 5, "queue": 3, "entry": 0xE0}
_BUFFER: dict[str, Any] = {"buffer_id": 2, "pool_offset": 8192, "payload": 0xBEEF, "flags": Flag.HAS_BUFFER}
_FIXED: dict[str, Any] = {"unique": 10, "queue": 3, "entry": 0xE0, "slot": 4, "length": 100}


def _step(unique: int, ns: int, step: Step = Step.ADD_REQ_TO_RING_ENT, **members: Any) -> Records:
    return event(Kind.STEP, ns, **({"unique": unique, "queue": 3, "entry": 0xE0, "step": step} | members))


def test_a_buffer_that_was_selected() -> None:
    dry = event(Kind.SELECTED, 2, **_TAKEN | {"error": -105, "entry": 0xE7, "flags": Flag.HAS_ERROR})
    later = event(Kind.SELECTED, 3, **_TAKEN | {"error": -105, "flags": Flag.HAS_ERROR})
    model = Requests()
    model.feed(batch(queued(10, 1, READ), dry, later))
    (row,) = model.under_way
    assert (row["buffer_waits"], row["dry_ns"], row["selected_ns"], row["entry"], row["pooled"]) == (2, 2, 0, 0, True)
    model.feed(event(Kind.SELECTED, 4, **_TAKEN, **_BUFFER))
    (row,) = model.under_way
    assert (row["buffer_waits"], row["dry_ns"], row["selected_ns"], row["entry_index"]) == (2, 2, 4, 0)
    assert (row["buffer_id"], row["pool_offset"], row["payload"], row["queue"]) == (2, 8192, 0xBEEF, 3)


def test_a_buffer_that_was_kept_was_not_selected() -> None:
    place = {"flags": Flag.HAS_BUFFER | Flag.POOL, "buffer_id": 2, "pool_offset": 8192}
    row = _one(*whole(10, 1000, READ, **place))
    assert (row["selected_ns"], row["buffer_id"], row["pool_offset"], row["pooled"]) == (0, 2, 8192, True)


def test_a_request_is_known_from_any_event_before_its_end() -> None:
    for first in (
        event(Kind.SELECTED, 5, **_TAKEN, **_BUFFER),
        event(Kind.SELECTED, 5, **_TAKEN | {"error": -105}),
        event(Kind.PAGES_REGISTERED, 5, **_TAKEN),
        _step(10, 5, opcode=READ),
    ):
        model = Requests()
        model.feed(first)
        (row,) = model.under_way
        assert (row["unique"], row["connection"], row["opcode"]) == (10, 7, READ)
        assert first_seen(model.under_way).tolist() == [5]
        assert len(model.feed(ended(10, 9, READ))) == 1
        assert len(model.under_way) == 0


@pytest.mark.parametrize("kind", [Kind.RECYCLED, Kind.PAGES_RELEASED, Kind.FIXED_IO, Kind.COPIED, Kind.RETURNED])
def test_what_may_come_after_the_end_begins_no_request(kind: Kind) -> None:
    late = event(kind, 2000, **_FIXED, opcode=READ)
    model = Requests()
    assert len(model.feed(batch(*whole(10, 1000, READ), late))) == 1
    model.feed(late)
    assert len(model.under_way) == 0


@pytest.mark.parametrize("step", [step for step in Step if step != Step.ADD_REQ_TO_RING_ENT])
def test_other_steps_begin_no_request(step: Step) -> None:
    model = Requests()
    model.feed(_step(10, 5, step))
    assert len(model.under_way) == 0


def test_what_the_servers_own_io_moved() -> None:
    place: dict[str, Any] = {"flags": Flag.ZERO_COPIED | Flag.HAS_SLOT, "slot": 4}
    parts = whole(10, 1000, READ, **place)
    before, failed, after = (
        event(Kind.FIXED_IO, 999, **_FIXED),
        event(Kind.FIXED_IO, 1050, **_FIXED | {"error": -14}),
        event(Kind.FIXED_IO, 2000, **_FIXED),
    )
    done = event(Kind.FIXED_IO, 1060, **_FIXED), event(Kind.FIXED_IO, 1061, **_FIXED)
    row = _one(before, *parts[:2], failed, *done, *parts[2:], after)
    assert (row["fixed_bytes"], row["fixed_ios"], row["slot"]) == (200, 3, 4)
    row = _one(*parts[:2], failed, *parts[2:])
    assert (row["fixed_bytes"], row["fixed_ios"]) == (0, 1)
    row = _one(*parts)
    assert (row["fixed_bytes"], row["fixed_ios"]) == (-1, 0)


def test_pages() -> None:
    registered = event(Kind.PAGES_REGISTERED, 1005, **_TAKEN, slot=4, length=8192, segments=2, flags=Flag.HAS_SLOT)
    gone = event(Kind.PAGES_UNREGISTERED, 1112, unique=10, queue=3, slot=4)
    row = _one(*whole(10, 1000, READ)[:1], registered, *whole(10, 1000, READ)[1:3], gone, *whole(10, 1000, READ)[3:])
    assert (row["registered_ns"], row["unregistered_ns"], row["slot"]) == (1005, 1112, 4)
    assert (row["page_bytes"], row["segments"]) == (8192, 2)
    assert row["flags"] & Flag.ZERO_COPIED
    assert row["opcode"] == READ


def test_pages_that_could_not_be_registered() -> None:
    refused = event(Kind.PAGES_REGISTERED, 1005, **_TAKEN, slot=4, length=8192, error=-16, flags=Flag.HAS_SLOT)
    row = _one(queued(10, 1000, READ), refused, ended(10, 1010, READ, -16))
    assert (row["registered_ns"], row["slot"], row["page_bytes"], row["entry_index"]) == (0, -1, -1, 0)
    assert not row["flags"] & Flag.ZERO_COPIED


def test_counters_do_not_overflow() -> None:
    model = Requests()
    dry = batch(*(event(Kind.SELECTED, 5, **_TAKEN | {"error": -105}),) * 40_000)
    for _ in range(2):
        model.feed(dry)
    assert model.under_way["buffer_waits"].tolist() == [65535]


def test_a_step_tells_exactly_when_an_entry_took_a_request() -> None:
    pooled: dict[str, Any] = {"flags": Flag.POOL | Flag.HAS_BUFFER, "buffer_id": 1}
    background = [queued(10, 1000, flags=Flag.BACKGROUND), _step(10, 1004), *whole(10, 1000, **pooled)[1:]]
    assert _assigned(*background) == [1004]
    first, second = whole(10, 1000), whole(12, 2000)
    assert _assigned(*first, second[0], _step(12, 2003), *second[1:], *whole(14, 3000)) == [0, 2003, 3000]
    model = Requests(whole=False)
    rows = model.feed(batch(queued(10, 1000), _step(10, 1003), *whole(10, 1000)[1:]), lost=True)
    assert rows["assigned_ns"].tolist() == [1003]


def test_flags_of_a_commit_tell_what_delivery_would_have() -> None:
    asked = Flag.POOL | Flag.QUEUE_ZERO_COPY | Flag.FILE_ZERO_COPY | Flag.HAS_PAGES
    row = _one(committed(10, 5, READ, flags=asked | Flag.HAS_ERROR | Flag.HEADER_FROM_SERVER), ended(10, 6, READ))
    assert row["flags"] == asked
    assert row["pooled"]
