"""Perfetto traces: valid, every request in them once, and counters that say what is so."""

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from furtrace.export import formats
from furtrace.export.perfetto_counters import Counters, Span
from furtrace.model.conversation import Conversation
from furtrace.trace.info import TraceInfo
from furtrace.trace.reading import FOREIGN_CONNECTIONS, Origin
from furtrace.trace.record import NO_CPU, Flag, Kind, Records, lost_record
from furtrace.wire.opcodes import Opcode, opcode_name
from tests.unit.events import batch, committed, delivered, ended, event, found, one_name, queued, read_in, whole
from tests.unit.export.reckoning import NAMES, SHIPPED, reckoned, recorded
from tests.unit.export.test_parquet import INFO, Read
from tests.unit.export.trace_events import Slice, Trace, ns
from tests.unit.model.histories import History, histories

START = 1000


def trace_of(*records: Records, read: Read | None = None, start: int = START) -> Trace:
    """Export batches, and read what comes of them."""
    written = io.BytesIO()
    conversation = Conversation()
    source = formats.Source(conversation, {7: "/mnt"}, read or Read(), start)
    form = formats.PerfettoForm(source, written.write)
    now = start
    for each in records:
        for part in conversation.cut(each):
            form.batch(part, conversation.feed(part))
            now = max(now, int(part["ns"].max(initial=0)))
    form.end(5, now)
    return Trace(written.getvalue().decode())


def request(trace: Trace) -> Slice:
    (only,) = trace.of("request")
    return only


def phases(one: Slice) -> list[tuple[str, int, int]]:
    return [(phase.name, phase.begin, phase.end) for phase in one.children]


# ---- a request ----


def test_a_request_is_a_slice_of_its_client_with_its_phases_in_it() -> None:
    made = trace_of(batch(*whole(2, 2000), *whole(4, 3000, Opcode.READ)))
    first, second = made.of("request")
    assert (first.name, first.begin, first.end, first.parent) == ("GETATTR", 1000, 1115, None)
    assert made.threads[first.event["tid"]] == (first.event["pid"], "client[41]")
    assert made.processes[first.event["pid"]] == "clients"
    assert phases(first) == [("wait", 1000, 1010), ("server", 1010, 1110), ("commit", 1110, 1115)]
    # Of the second it is known when its entry took it: the entry was free by then.
    assert phases(second) == [
        *(("queue", 2000, 2000), ("delivery", 2000, 2010)),
        *(("server", 2010, 2110), ("commit", 2110, 2115)),
    ]


def test_it_is_a_slice_of_its_entry_too_and_an_arrow_leads_there() -> None:
    made = trace_of(batch(*whole(2, 2000)))
    (entry,) = made.of("entry")
    assert (entry.name, entry.begin, entry.end) == ("GETATTR", 1010, 1110)
    assert made.threads[entry.event["tid"]] == (7, "queue 3 entry 0")
    assert made.processes[7] == "connection 7 /mnt"
    assert made.arrows == [(request(made), entry)]


def test_what_is_told_of_it() -> None:
    asked = queued(2, 2000, Opcode.WRITE, header=read_in(65536, 4096))
    written = ended(2, 2200, Opcode.WRITE, header=bytes(128) + (4096).to_bytes(8, "little"))
    place: dict[str, Any] = {"flags": Flag.POOL | Flag.HAS_BUFFER | Flag.HEADER_FROM_SERVER, "buffer_id": 3}
    made = trace_of(
        batch(asked, delivered(2, 2010, Opcode.WRITE, **place), committed(2, 2100, Opcode.WRITE, **place), written)
    )
    assert request(made).arguments == {
        "unique": 2,
        "offset": 65536,
        "size": 4096,
        "moved": 4096,
        "buffer": 3,
        "buffer_offset": 0,
    }
    failed = trace_of(batch(*whole(2, 2000, error=-2)))
    assert request(failed).arguments == {"unique": 2, "error_name": "ENOENT"}


def test_names_are_escaped() -> None:
    name = b'\x1b]0;"\xff\xe2\x80\xae<script>'
    asked = queued(2, 2000, Opcode.LOOKUP, node_id=1, comm=b'a"\n\xff', **one_name(name))
    made = trace_of(batch(asked, found(2, 2100, Opcode.LOOKUP, 1, name, 5)))
    assert request(made).arguments["path"] == r'/\x1b]0;"\xff\u202e<script>'
    assert made.threads[request(made).event["tid"]][1] == r'a"\n\xff[41]'
    assert made.text.isascii()


def test_a_wait_for_a_buffer_is_in_the_wait() -> None:
    dry: dict[str, Any] = {"queue": 3, "error": -105, "flags": Flag.HAS_ERROR}
    got = {"queue": 3, "entry": 0xE0, "buffers": 4, "flags": Flag.HAS_BUFFER}
    made = trace_of(
        batch(
            queued(2, 2000),
            event(Kind.SELECTED, 2003, unique=2, opcode=3, buffers=4, **dry),
            event(Kind.SELECTED, 2007, unique=2, opcode=3, buffers_free=3, **got),
            delivered(2, 2010),
            committed(2, 2110),
            ended(2, 2115),
        )
    )
    wait, *_ = request(made).children
    assert (wait.name, phases(wait)) == ("wait", [("no buffer free", 1003, 1007)])


def test_a_request_that_does_not_end_lasts_to_the_end() -> None:
    made = trace_of(batch(queued(2, 2000), delivered(2, 2010), *whole(4, 3000, connection=9)))
    one = next(one for one in made.of("request") if one.arguments["unique"] == 2)
    assert (one.begin, one.end, one.arguments["unfinished"]) == (1000, 2115, "in the server")


def test_by_dev_fuse_the_server_has_it_until_it_ends() -> None:
    dev: dict[str, Any] = {"transport": 2, "entry": 0, "queue": 0xFFFFFFFF}
    made = trace_of(batch(queued(2, 2000), delivered(2, 2010, **dev), ended(2, 2100, transport=2, queue=0xFFFFFFFF)))
    (entry,) = made.of("entry")
    assert (made.threads[entry.event["tid"]][1], entry.begin, entry.end) == ("/dev/fuse", 1010, 1100)


# ---- what overlaps ----


def test_what_overlaps_on_one_thread_gets_lanes_of_its_own() -> None:
    parts = [
        *(queued(unique, 2000 + unique, flags=Flag.BACKGROUND | Flag.CURRENT_IS_CLIENT) for unique in (2, 4, 6)),
        *(ended(unique, 2100 + unique) for unique in (4, 2, 6)),
        *(queued(8, 2200), ended(8, 2300)),
    ]
    made = trace_of(batch(*sorted(parts, key=lambda part: int(part["ns"][0]))))
    slices = {one.arguments["unique"]: one for one in made.of("request")}
    assert sorted(slices) == [2, 4, 6, 8]
    assert all(one.parent is None for one in slices.values())
    lanes = {unique: made.threads[one.event["tid"]][1] for unique, one in slices.items()}
    names = ["client[41]", "client[41] (overlapping 1)", "client[41] (overlapping 2)"]
    assert sorted(lanes[unique] for unique in (2, 4, 6)) == names
    assert lanes[8] in names


def test_threads_of_the_same_number_are_told_apart() -> None:
    made = trace_of(batch(queued(2, 2000, comm=b"bash"), ended(2, 2100), queued(4, 2200, comm=b"ls"), ended(4, 2300)))
    assert sorted(name for _, name in made.threads.values()) == ["bash[41]", "ls[41]"]


@given(history=histories())
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_whatever_happens_every_request_is_there_once(history: History) -> None:
    made = trace_of(*history.batches, start=int(history.events["ns"].min(initial=START)))
    conversation = Conversation()
    rows = [conversation.feed(part) for each in history.batches for part in conversation.cut(each)]
    every = np.concatenate([*rows, conversation.requests.under_way])
    shown = Counter((one.name, one.arguments["unique"]) for one in made.of("request"))
    assert shown == Counter(zip(map(opcode_name, every["opcode"].tolist()), every["unique"].tolist(), strict=True))
    assert len(made.arrows) == len(made.of("entry"))
    for client, entry in made.arrows:
        assert (client.category, entry.category) == ("request", "entry")
        assert client.arguments["unique"] == entry.arguments["unique"]


# ---- trouble ----


def test_trouble_is_marked() -> None:
    refused = event(Kind.REFUSED, 2500, queue=3, error=-22, flags=Flag.HAS_ERROR, command_op=2)
    stopped = event(Kind.STOPPED, 2600, queue=3, error=-107, flags=Flag.HAS_ERROR, command_op=2)
    full = delivered(4, 2700, flags=Flag.CQE_OVERFLOW)
    losses = lost_record(2800, 2900, 12, cpu=1), lost_record(2950, 2960, 3, cpu=NO_CPU)
    made = trace_of(batch(*whole(2, 2000), refused, stopped, full, *losses))
    told = [(one["name"], one["s"], ns(one["ts"]), one["args"]) for one in made.instants]
    command = {"command": "COMMIT_AND_FETCH", "queue": 3}
    assert told == [
        ("REFUSED", "p", 1500, command | {"error_name": "EINVAL"}),
        ("STOPPED", "p", 1600, command | {"error_name": "ENOTCONN"}),
        ("CQE overflow", "p", 1700, {"queue": 3, "unique": 4}),
        ("LOST", "g", 1800, {"events": 12, "until_us": 1.9, "cpu": 1}),
        ("LOST", "g", 1950, {"events": 3, "until_us": 1.96}),
    ]
    assert {one["pid"] for one in made.instants[:3]} == {7}


def test_what_is_true_of_all_stands_at_the_end() -> None:
    made = trace_of(batch(lost_record(2000, 2010, 12, cpu=0), *whole(2, 2100)))
    (recording,) = made.other["recordings"]
    assert (recording["kernel"], recording["dialect"]) == ("7.3.0", "bufpool")
    assert (made.other["begin_monotonic_ns"], made.other["summary"]["lost"]) == (START, 12)
    assert made.other["begin_realtime_ns"] == INFO.realtime_offset_ns + START


def test_an_empty_recording_is_a_trace() -> None:
    assert trace_of().slices == []


def test_hosts_are_named_where_there_are_several() -> None:
    other = TraceInfo("6.18", "plain", "tracepoints", INFO.realtime_offset_ns + 5_000, boot="b2", host="beta")
    read = Read(Origin(INFO), Origin(other, FOREIGN_CONNECTIONS, 5_000))
    made = trace_of(batch(*whole(2, 2000), *whole(2, 3000, connection=7 + FOREIGN_CONNECTIONS)), read=read)
    assert sorted(made.processes.values()) == [
        *("clients on alpha", "clients on beta"),
        *("connection 7 /mnt on alpha", "connection 7 on beta"),
    ]
    assert len(made.of("request")) == 2


def test_boots_of_one_host_are_told_apart() -> None:
    other = TraceInfo(**(vars(INFO) | {"boot": "0123456789"}))
    read = Read(Origin(INFO), Origin(other, FOREIGN_CONNECTIONS))
    made = trace_of(
        batch(*whole(2, 2000, connection=9), *whole(2, 3000, connection=9 + FOREIGN_CONNECTIONS)), read=read
    )
    assert sorted(made.processes.values()) == [
        *("clients on alpha, boot 01234567", "clients on alpha, boot b1"),
        *("connection 9 on alpha, boot 01234567", "connection 9 on alpha, boot b1"),
    ]


# ---- counters ----


def _steps(moves: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The running sum of moves at times, as a counter has it."""
    by_time: Counter[int] = Counter()
    for at, step in moves:
        by_time[at] += step
    value, found = 0, []
    for at, step in sorted(by_time.items()):
        if step:
            value += step
            found.append((at, value))
    return found


def _without_repeats(samples: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Samples that say something new."""
    return [now for before, now in pairwise([(0, 0), *samples]) if before[1] != now[1]]


@pytest.fixture(scope="module", params=NAMES)
def shipped(request: pytest.FixtureRequest) -> tuple[Records, Trace]:
    """A recording that ships with furtrace, and the trace of it, made in several batches."""
    records = recorded(SHIPPED / f"{request.param}.pcapng.zst")
    parts = [records[at : at + 3000] for at in range(0, len(records), 3000)]
    return records, trace_of(*parts, start=int(records["ns"].min()))


def test_a_real_recording_has_a_slice_a_request(shipped: tuple[Records, Trace]) -> None:
    records, made = shipped
    requests, base = reckoned(records), int(records["ns"].min())
    slices = {one.arguments["unique"]: one for one in made.of("request")}
    assert len(slices) == len(made.of("request")) == len(requests)
    for (_, unique), told in requests.items():
        first = min(filter(None, told.times.values()))
        assert (slices[unique].begin, slices[unique].name) == (first - base, opcode_name(told.opcode))
        if told.times["ended"]:
            assert slices[unique].end == told.times["ended"] - base
    entries = {one.arguments["unique"]: (one.begin, one.end) for one in made.of("entry")}
    for (_, unique), told in requests.items():
        if told.times["delivered"] and told.times["committed"]:
            assert entries[unique] == (told.times["delivered"] - base, told.times["committed"] - base)


def test_requests_in_flight_against_the_events(shipped: tuple[Records, Trace]) -> None:
    records, made = shipped
    base = int(records["ns"].min())
    moves = [
        (at - base, step)
        for told in reckoned(records).values()
        for at, step in ((min(filter(None, told.times.values())), 1), (told.times["ended"], -1))
        if at
    ]
    assert _without_repeats(made.counter("requests in flight")) == _steps(moves)


def test_the_backlog_against_the_events(shipped: tuple[Records, Trace]) -> None:
    records, made = shipped
    base = int(records["ns"].min())
    came: dict[int, tuple[int, int]] = {}
    moves: dict[int, list[tuple[int, int]]] = {}
    for record in records:
        kind, unique, at = Kind(record["kind"]), int(record["unique"]), int(record["ns"]) - base
        if kind is Kind.QUEUED and record["opcode"] != Opcode.INIT:  # which comes before there are queues
            came[unique] = int(record["cpu"]), at
        taken = kind in (Kind.DELIVERED, Kind.ENDED, Kind.PAGES_REGISTERED)
        if (taken or (kind is Kind.SELECTED and not record["error"])) and unique in came:
            queue, queued_at = came.pop(unique)
            moves.setdefault(queue, []).extend(((queued_at, 1), (at, -1)))
    for queue, own in moves.items():
        assert _without_repeats(made.counter(f"queue {queue} backlog")) == _steps(own)


def test_buffers_in_use_against_the_kernels_count() -> None:
    records = recorded(SHIPPED / "pool.pcapng.zst")
    made = trace_of(records, start=int(records["ns"].min()))
    told: dict[int, list[tuple[int, int]]] = {}
    for record in records[np.isin(records["kind"], (Kind.SELECTED, Kind.RECYCLED))]:
        free = 0 if record["kind"] == Kind.SELECTED and record["error"] else record["buffers_free"]
        at = int(record["ns"] - records["ns"].min())
        told.setdefault(int(record["queue"]), []).append((at, int(record["buffers"]) - int(free)))
    assert told
    for queue, samples in told.items():
        assert _without_repeats(made.counter(f"queue {queue} buffers in use")) == _without_repeats(samples)


@given(history=histories())
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_after_each_batch_counters_say_what_the_model_says(history: History) -> None:
    conversation, counters, until = Conversation(), Counters(), 0
    values: dict[tuple[int, str], int] = {}
    for each in history.batches:
        for part in conversation.cut(each):
            finished = conversation.feed(part)
            span = Span(until, max(until, int(part["ns"].max(initial=0))))
            until = span.end
            for connection, name, _, samples in counters.update(part, finished, conversation, span):
                assert all(span.begin <= one.ns <= span.end for one in samples)
                values[connection, name] = samples[-1].value
            _check(values, conversation)


def _check(values: dict[tuple[int, str], int], conversation: Conversation) -> None:
    under_way = Counter(conversation.requests.under_way["connection"].tolist())
    for (connection, name), value in values.items():
        if name == "requests in flight":
            assert value == under_way[connection]
    assert {connection for connection, name in values if name == "requests in flight"} >= under_way.keys()
    for queue in conversation.queues.table():
        assert values[queue.connection, f"queue {queue.queue} backlog"] == queue.backlog
    for pool in conversation.pools.table():
        if pool.pooled and (pool.counted or pool.buffers is None):
            assert values[pool.connection, f"queue {pool.queue} buffers in use"] == pool.in_use


def test_after_a_loss_counters_say_what_the_model_says() -> None:
    conversation, counters = Conversation(), Counters()
    parts = [
        batch(queued(2, 2000), queued(4, 2001), delivered(4, 2005)),
        batch(lost_record(2010, 2020, 5, cpu=0), delivered(6, 2030)),
        batch(ended(4, 2100), event(Kind.INIT, 2200, opcode=Opcode.INIT)),
    ]
    values: dict[tuple[int, str], int] = {}
    for each in parts:
        for part in conversation.cut(each):
            finished, last = conversation.feed(part), int(part["ns"].max())
            for one in counters.update(part, finished, conversation, Span(int(part["ns"].min()), last)):
                values[one.connection, one.name] = one.samples[-1].value
            _check(values, conversation)
    assert values[7, "requests in flight"] == 0
