"""Statistics, against the model that keeps all of a request, and against events reckoned one by one."""

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from furtrace.model.choosing import AtOnce, Judge, Wanted, playing
from furtrace.model.conversation import Conversation
from furtrace.model.groups import COARSE, FINE, Facts, Group, Groups
from furtrace.model.histograms import Distribution, Histograms, bins_of
from furtrace.model.numbering import Numbering
from furtrace.model.pairing import PAIRED
from furtrace.model.paths import Paths
from furtrace.model.requests import Requests_, no_requests
from furtrace.model.statistics import ByChoice, ByWholeRequests, Chooser, Statistics, client_of
from furtrace.trace.merging import Recordings
from furtrace.trace.record import Kind, Records, lost_record
from furtrace.wire.opcodes import Opcode
from tests.unit.events import batch, whole
from tests.unit.export.reckoning import NAMES, SHIPPED, reckoned, recorded
from tests.unit.model.histories import History, histories

ENDS = {
    "queue": ("queued_ns", "assigned_ns"),
    "delivery": ("assigned_ns", "delivered_ns"),
    "wait": ("queued_ns", "delivered_ns"),
    "server": ("delivered_ns", "committed_ns"),
    "commit": ("committed_ns", "ended_ns"),
    "total": ("queued_ns", "ended_ns"),
}


def counted(batches: list[Records], by: tuple[str, ...] = ("client", "file"), **known: Chooser) -> Statistics:
    statistics = Statistics(by, **known)  # type: ignore[arg-type]
    for each in batches:
        statistics.feed(statistics.brief([each]))
    return statistics


def with_losses(history: History, lossy: bool) -> list[Records]:
    """Batches, into some of which a loss is put that lasts until the next event but one."""
    batches = []
    for number, each in enumerate(history.batches):
        if lossy and number % 3 == 1 and len(each):
            begin, end = int(each["ns"][0]), int(each["ns"][min(2, len(each) - 1)])
            batches.append(batch(lost_record(begin, end, 7, cpu=number % 2), each))
        else:
            batches.append(each)
    return batches


def finished(batches: list[Records]) -> tuple[Conversation, Requests_]:
    conversation = Conversation()
    return conversation, np.concatenate([no_requests(), *(conversation.feed(each).copy() for each in batches)])


def durations(rows: Requests_, phase: str) -> list[int]:
    begin, end = ENDS[phase]
    pairs = zip(rows[begin].tolist(), rows[end].tolist(), rows["uncertain"].tolist(), strict=True)
    return sorted(last - first for first, last, uncertain in pairs if first and last >= first and not uncertain)


def check_times(times: Distribution, exact: list[int], bits: int) -> None:
    assert (times.count, times.sum_ns) == (len(exact), sum(exact))
    if not exact:
        assert times.percentile(0.5) is None
        return
    assert times.max_ns == exact[-1]
    for share in (0.5, 0.9, 0.99, 0.999):
        found = times.percentile(share)
        assert found is not None
        true = exact[max(0, math.ceil(share * len(exact)) - 1)]
        assert abs(found - true) <= (true * 2.0 ** -(bits + 1) if true > 1 else 1), (share, true)


def check_group(group: Group, rows: Requests_, bits: int) -> None:
    moved = rows["moved"].clip(min=0)
    assert group.count == len(rows)
    assert group.errors == (rows["error"] != 0).sum()
    assert group.uncertain == rows["uncertain"].sum()
    assert group.moved == moved.sum()
    assert group.read == moved[rows["opcode"] == Opcode.READ].sum()
    assert group.written == moved[rows["opcode"] == Opcode.WRITE].sum()
    for phase in set(ENDS) & set(group.latency):
        check_times(group.latency[phase], durations(rows, phase), bits)


def check(statistics: Statistics, rows: Requests_) -> None:
    """All groups of requests that ended."""
    check_group(statistics.overall(), rows, FINE)
    every = (
        ([(group.key, group) for group in statistics.operations()], ["opcode"], FINE),
        ([(group.key, group) for group in statistics.connections()], ["connection"], FINE),
        ([(use.place, use.requests) for use in statistics.queues() if use.requests], ["connection", "queue"], FINE),
    )
    for groups, names, bits in every:
        assert len({key for key, _ in groups}) == len(groups) == len(np.unique(rows[names]))
        for key, group in groups:
            assert key is not None
            check_group(
                group, rows[np.logical_and.reduce([rows[n] == k for n, k in zip(names, key, strict=True)])], bits
            )
    for group in statistics.clients() or []:
        assert group.key is not None
        pid, comm = client_of(group.key)
        mine = rows["client_pid"] == pid
        mine &= np.array([name.tobytes().rstrip(b"\0") == comm for name in rows["client_comm"]], np.bool_)
        check_group(group, rows[mine], COARSE)
    assert sum(group.count for group in statistics.files() or []) == len(rows)
    failed = Counter(zip(rows["opcode"].tolist(), rows["error"].tolist(), strict=True))
    assert statistics.failures == Counter({pair: number for pair, number in failed.items() if pair[1]})
    assert {at: n for at, n in statistics.transports.items() if n} == dict(Counter(rows["transport"].tolist()))


@settings(deadline=None, max_examples=40)
@given(histories(), st.booleans())
def test_equals_the_whole_model(history: History, lossy: bool) -> None:
    batches = with_losses(history, lossy)
    conversation, rows = finished(batches)
    statistics = counted(batches)
    check(statistics, rows)
    assert statistics.unfinished == len(conversation.requests.under_way)
    assert statistics.total_events == conversation.events
    trouble = statistics.trouble
    assert (trouble.lost, trouble.passed_over) == (conversation.lost, conversation.passed_over)
    assert sum(trouble.refused.values()) == conversation.refused
    assert [trouble.lost_by_cpu[cpu] for cpu in range(len(conversation.lost_by_cpu))] == conversation.lost_by_cpu
    used = {use.place: use.entries for use in statistics.queues()}
    assert {place: count for place, count in conversation.requests.entries().items() if count > used[place]} == {}


@pytest.mark.parametrize("name", NAMES)
def test_shipped_recordings_equal_the_whole_model(name: str) -> None:
    records = recorded(SHIPPED / f"{name}.pcapng.zst")
    parts = np.array_split(records, 5)
    conversation, rows = finished(parts)
    statistics = counted(parts)
    check(statistics, rows)
    pools = {(pool.connection, pool.queue): pool for pool in conversation.pools.table() if pool.pooled}
    assert {(use.pool.connection, use.pool.queue): use.pool for use in statistics.pools()} == pools
    because = sum((Counter(pool.because) for pool in conversation.pools.table()), Counter())
    assert statistics.copying.requests == because
    entries = conversation.requests.entries()
    assert {use.place: use.entries for use in statistics.queues() if use.entries} == entries


@pytest.mark.parametrize("name", NAMES)
def test_shipped_recordings_equal_a_plain_reckoning(name: str) -> None:
    records = recorded(SHIPPED / f"{name}.pcapng.zst")
    requests = [request for request in reckoned(records).values() if request.times["ended"]]
    overall = counted([records]).overall()
    assert overall.count == len(requests)
    assert overall.errors == sum(request.error != 0 for request in requests)
    assert overall.moved == sum(request.moved or 0 for request in requests)
    for phase, (begin, end) in ENDS.items():
        if phase in ("queue", "delivery"):
            continue
        known = [request.lasted(begin.removesuffix("_ns"), end.removesuffix("_ns")) for request in requests]
        check_times(overall.latency[phase], sorted(each for each in known if each is not None and each >= 0), FINE)


# ---- queues and pools ----


def waiting(records: Records) -> Iterator[tuple[tuple[int, int], int]]:
    """Requests that wait for an entry, whenever there is one more or one less: one event after the other."""
    left = (Kind.SELECTED, Kind.PAGES_REGISTERED, Kind.DELIVERED, Kind.COMMITTED, Kind.ENDED, Kind.STEP)
    waits: dict[tuple[int, int], tuple[int, int]] = {}
    depth: Counter[tuple[int, int]] = Counter()
    for record in records[np.argsort(records["ns"], kind="stable")]:
        kind, request = Kind(record["kind"]), (int(record["connection"]), int(record["unique"]))
        if kind is Kind.QUEUED:
            waits[request] = request[0], int(record["cpu"])
            depth[waits[request]] += 1
            yield waits[request], depth[waits[request]]
        elif kind in left and request in waits:
            if (kind is Kind.SELECTED and record["error"]) or (kind is Kind.STEP and record["step"] != 3):
                continue
            depth[waits.pop(request)] -= 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("parts", [1, 20])
def test_the_deepest_backlog(name: str, parts: int) -> None:
    records = recorded(SHIPPED / f"{name}.pcapng.zst")
    most: dict[tuple[int, int], int] = {}
    for place, depth in waiting(records):
        most[place] = max(depth, most.get(place, 0))
    statistics = counted(np.array_split(records, parts))
    assert {use.place: use.deepest for use in statistics.queues() if use.deepest} == most


@pytest.mark.parametrize("parts", [1, 50])
def test_how_long_buffers_are_held(parts: int) -> None:
    records = recorded(SHIPPED / "pool.pcapng.zst")
    since: dict[tuple[int, int, int], int] = {}
    held: dict[tuple[int, int], list[int]] = {}
    waited: Counter[tuple[int, int]] = Counter()
    for record in records:
        buffer = int(record["connection"]), int(record["queue"]), int(record["buffer_id"])
        if record["kind"] == Kind.SELECTED and not record["error"]:
            since[buffer] = int(record["ns"])
        elif record["kind"] == Kind.RECYCLED and buffer in since:
            held.setdefault(buffer[:2], []).append(int(record["ns"]) - since.pop(buffer))
    dry = {int(record["unique"]) for record in records if record["kind"] == Kind.SELECTED and record["error"]}
    for record in records[records["kind"] == Kind.ENDED]:
        if int(record["unique"]) in dry:
            waited[int(record["connection"]), int(record["queue"])] += 1
    statistics = counted(np.array_split(records, parts))
    pools = {(use.pool.connection, use.pool.queue): use.held for use in statistics.pools()}
    assert set(pools) == set(held)
    for place, times in pools.items():
        assert times is not None
        check_times(times, sorted(held[place]), FINE)
    counts = {use.place: use.requests.latency["buffer"].count for use in statistics.queues() if use.requests}
    assert +Counter(counts) == waited


# ---- names ----


@pytest.mark.parametrize("name", NAMES)
def test_what_files_are_called(name: str) -> None:
    """As the model that knows at any time says at the end; of what has no name any more, that it has none."""
    paths, records = Paths(), recorded(SHIPPED / f"{name}.pcapng.zst")
    paths.feed(records)
    statistics, compared = counted([records]), 0
    for group in statistics.files() or []:
        assert group.key is not None
        connection, path = statistics.path(group.key)
        known = paths.path(connection, group.key[1])
        if group.key[1] and known.raw.startswith(b"/"):
            assert path.deleted == known.deleted
            assert path.raw == known.raw or path.deleted
            compared += path.raw == known.raw
    assert compared > 10


# ---- filters ----

WANTED = (Wanted(opcodes=frozenset({Opcode.READ, Opcode.LOOKUP})), Wanted(client=40), Wanted(queues=frozenset({1})))


@settings(deadline=None, max_examples=20)
@given(histories(), st.sampled_from(WANTED), st.booleans())
def test_filters_choose_as_replay_does(history: History, wanted: Wanted, lossy: bool) -> None:
    batches = with_losses(history, lossy)
    judge = Judge(wanted, whole=True)
    for each in batches:
        judge.feed(each)
    judge.judge_the_rest()
    replayed = playing(judge.choice(), whole=True)
    rows = np.concatenate([no_requests(), *(replayed.feed(each).copy() for each in batches)])
    statistics = counted(batches, chooser=ByChoice(judge.choice()))
    check(statistics, rows)
    assert statistics.total_events == replayed.events
    once = counted(batches, chooser=ByWholeRequests(AtOnce(wanted, {}), whole=True))
    replayed_once = playing(AtOnce(wanted, {}), whole=True)
    check(once, np.concatenate([no_requests(), *(replayed_once.feed(each).copy() for each in batches)]))


def test_counting_anew() -> None:
    records = batch(*whole(2, 1000, Opcode.READ), *whole(4, 5000, Opcode.WRITE), *whole(6, 9000, Opcode.READ))
    statistics = Statistics()
    statistics.feed(statistics.brief([records[:5]]))
    statistics.count_anew()
    statistics.feed(statistics.brief([records[5:]]))
    assert {group.key: group.count for group in statistics.operations()} == {(Opcode.WRITE,): 1, (Opcode.READ,): 1}
    assert statistics.overall().latency["total"].count == 2  # QUEUED of the first of them came before
    assert (statistics.first_ns, statistics.duration_ns) == (5010, 4105)


# ---- parts ----


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2**64 - 1) | st.integers(0, 3)), max_size=300),
    st.integers(1, 9),
)
def test_numbers_are_given_in_order(keys: list[tuple[int, int]], parts: int) -> None:
    numbering, known = Numbering(2), dict[tuple[int, int], int]()
    for piece in np.array_split(np.array(keys, np.uint64).reshape(-1, 2), parts):
        found = numbering.of(piece[:, 0], piece[:, 1]).tolist()
        assert found == [known.setdefault((int(a), int(b)), len(known)) for a, b in piece]
    assert numbering.keys.T.tolist() == [list(key) for key in known]


@given(st.lists(st.integers(0, 2**45), min_size=1, max_size=200), st.sampled_from([COARSE, FINE]))
def test_percentiles_are_as_exact_as_they_say(times: list[int], bits: int) -> None:
    values = np.array(times, np.int64)
    histograms = Histograms(1, bits)
    zeros = np.zeros(len(values), np.intp)
    histograms.add(zeros, zeros, values, bins_of(values, bits))
    (found,) = histograms.all()
    assert sum(number for _, _, number in found.bins()) == len(times)
    if max(times) < 2**44:
        check_times(found, sorted(times), bits)


def test_of_many_groups_those_that_matter_least_are_put_together() -> None:
    groups = Groups(1, ("total",), COARSE, most=8)
    rows = np.zeros(100, PAIRED)
    rows["queued_ns"], rows["ended_ns"], rows["moved"] = 1, np.arange(100) + 2, -1
    rows["node_id"] = np.arange(100) // 2
    rows["node_id"][::4] = 1000
    for piece in np.array_split(rows, 20):
        groups.add(Facts(piece), piece["node_id"])
    table = groups.table()
    assert len(table) <= 9
    assert table[-1].key is None
    assert max(table[:-1], key=lambda group: group.count).key == (1000,)
    assert next(group.count for group in table if group.key == (1000,)) == 25
    assert sum(group.count for group in table) == 100
    check_times(groups.all().latency["total"], list(range(1, 101)), COARSE)


def test_nothing_grows_with_the_length_of_a_recording() -> None:
    with Recordings([str(SHIPPED / "plain.pcapng.zst")]) as recordings:
        records = np.concatenate([each.copy() for each in recordings.batches()])
    statistics = Statistics(("client", "file"))
    sizes = []
    for _ in range(3):
        statistics.feed(statistics.brief([records]))
        sizes.append((statistics.unfinished, len(statistics.operations()), len(statistics.clients() or [])))
        records["ns"] += np.uint64(10**10)
    assert sizes[0] == sizes[1] == sizes[2]
