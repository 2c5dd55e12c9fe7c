"""Counters over time: requests in flight, requests that wait in a queue, buffers in use.

The model tells how many there are at the end of a batch. Within it, what began and what was over gives every step.
Where the two differ, since events were lost, the model is right.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from furtrace.model.conversation import Conversation
from furtrace.model.pools import Pool
from furtrace.model.requests import Requests_, first_seen
from furtrace.trace.record import NOT_COUNTED, Kind, Records

_U64 = npt.NDArray[np.uint64]
_I64 = npt.NDArray[np.int64]


class Sample(NamedTuple):
    """A counter's value from a time on, in nanoseconds."""

    ns: int
    value: int


class Span(NamedTuple):
    """From the end of the batch before to that of this one."""

    begin: int
    end: int


class Counter(NamedTuple):
    """Steps of one counter of a connection."""

    connection: int
    name: str
    unit: str
    samples: list[Sample]


class Counters:
    """All counters of a trace."""

    def __init__(self) -> None:
        self._connections: dict[int, int] = {}
        self._in_flight, self._backlog, self._held = _Level(), _Level(), _Level()
        self._in_use: dict[int, int] = {}

    def update(self, batch: Records, finished: Requests_, conversation: Conversation, span: Span) -> Iterator[Counter]:
        """Yield the counters that changed within a batch.

        Args:
            batch: its events.
            finished: all requests that ended in it.
            conversation: has taken it in.
            span: of it.
        """
        under_way = conversation.requests.under_way
        rows = _Rows(finished, under_way, self._keys(finished), self._keys(under_way))
        connections, counts = np.unique(under_way["connection"], return_counts=True)
        in_flight = dict.fromkeys(np.unique(finished["connection"]).tolist(), 0)
        in_flight |= zip(connections.tolist(), counts.tolist(), strict=True)
        moves = self._in_flight.update(rows, rows.first_seen, rows["ended_ns"], rows["connection"])
        for connection, samples in self._in_flight.samples(moves, in_flight, span):
            yield Counter(connection, "requests in flight", "requests", samples)
        backlog = {_group(queue.connection, queue.queue): queue.backlog for queue in conversation.queues.table()}
        queued = np.where(rows["uncertain"] != 0, 0, rows["queued_ns"])
        moves = self._backlog.update(rows, queued, rows.first_of(_TAKES), rows.places("expected_queue"))
        for group, samples in self._backlog.samples(moves, backlog, span):
            yield Counter(group >> 32, f"queue {group & _QUEUE} backlog", "requests", samples)
        for group, samples in self._buffers(batch, rows, conversation.pools.table(), span):
            yield Counter(group >> 32, f"queue {group & _QUEUE} buffers in use", "buffers", samples)

    def _keys(self, rows: Requests_) -> _U64:
        """One number a request: its unique, and above it (from bit 48) the connection's running number."""
        connections, places = np.unique(rows["connection"], return_inverse=True)
        known = [self._connections.setdefault(one, len(self._connections)) for one in connections.tolist()]
        numbers = np.array(known, np.uint64)[places]
        return (rows["unique"] & np.uint64((1 << 48) - 1)) | (numbers << np.uint64(48))

    def _buffers(
        self, batch: Records, rows: "_Rows", pools: list[Pool], span: Span
    ) -> Iterator[tuple[int, list[Sample]]]:
        """Where the kernel's count is seen, it tells; else who holds a buffer while the server has the request."""
        pools = [pool for pool in pools if pool.pooled]
        counted = [pool for pool in pools if pool.buffers is not None]
        if counted:
            yield from self._counted(batch, counted, span)
        held = {_group(pool.connection, pool.queue): pool.in_use for pool in pools if pool.buffers is None}
        begins = np.where(rows["buffer_id"].astype(np.int64) >= 0, rows["delivered_ns"], 0)
        moves = self._held.update(rows, begins, rows["ended_ns"], rows.places("queue"))
        yield from self._held.samples(moves, held, span)

    def _counted(self, batch: Records, pools: list[Pool], span: Span) -> Iterator[tuple[int, list[Sample]]]:
        """By the events that tell how many buffers are free."""
        events = batch[np.isin(batch["kind"], (Kind.SELECTED, Kind.RECYCLED))]
        dry = (events["kind"] == Kind.SELECTED) & (events["error"] != 0)
        free = np.where(dry, 0, events["buffers_free"])
        groups = np.where(free == NOT_COUNTED, _NO_GROUP, _groups(events["connection"], events["queue"]))
        for pool in pools:
            group = _group(pool.connection, pool.queue)
            mine = np.flatnonzero(groups == group)
            before, buffers = self._in_use.get(group), pool.buffers or 0
            times = events["ns"][mine].astype(np.int64).clip(span.begin, span.end)
            told = pool.in_use if pool.counted else None
            samples = _ending(_steps(times, buffers - free[mine].astype(np.int64), before), before, told, span)
            if samples:
                self._in_use[group] = samples[-1].value
                yield group, samples


_TAKES: Final = ("selected_ns", "registered_ns", "delivered_ns", "committed_ns", "ended_ns")
"""With the first of these a request waits no more."""
_QUEUE: Final = 0xFFFFFFFF
_NO_GROUP: Final = np.uint64(0xFFFFFFFFFFFFFFFF)


def _group(connection: int, queue: int) -> int:
    return connection << 32 | queue


def _groups(connections: npt.NDArray[np.uint32], queues: npt.NDArray[np.uint32]) -> _U64:
    both: _U64 = connections.astype(np.uint64) << np.uint64(32) | queues
    return both


class _Rows:
    """The requests that ended in a batch, and behind them those that are under way after it."""

    def __init__(self, finished: Requests_, under_way: Requests_, *keys: _U64) -> None:
        self._both = finished, under_way
        self.keys = np.concatenate(keys)
        self.under_way = np.arange(len(self.keys)) >= len(finished)
        self.first_seen = np.concatenate([first_seen(rows) for rows in self._both])

    def __getitem__(self, column: str) -> _U64:
        return np.concatenate([rows[column] for rows in self._both]).astype(np.uint64)

    def first_of(self, columns: tuple[str, ...]) -> _U64:
        """The first of these columns that is not 0."""
        first = self[columns[0]]
        for column in columns[1:]:
            first = np.where(first == 0, self[column], first)
        return first

    def places(self, queue: str) -> _U64:
        """Connection and queue of each, in one number."""
        return self["connection"] << np.uint64(32) | self[queue]


class _Moves(NamedTuple):
    """When counters go up or down by one, and whose."""

    times: _I64
    groups: _U64
    steps: _I64


@dataclass
class _Level:
    """Counters of one kind. Each request counts from its begin until its end."""

    _inside: _U64 = field(default_factory=lambda: np.empty(0, np.uint64))
    _past: _U64 = field(default_factory=lambda: np.empty(0, np.uint64))
    _values: dict[int, int] = field(default_factory=dict)

    def update(self, rows: _Rows, begins: _U64, ends: _U64, groups: _U64) -> _Moves:
        """Take in the requests of a batch.

        Args:
            rows: they.
            begins: when each began to count; 0: it has not.
            ends: when it ceased to; 0: it has not.
            groups: to whose counter.
        """
        begun, over = begins != 0, ends != 0
        was_inside, was_past = np.isin(rows.keys, self._inside), np.isin(rows.keys, self._past)
        came = np.flatnonzero(begun & ~was_inside & ~was_past)
        went = np.flatnonzero(begun & over & ~was_past)
        self._inside = rows.keys[rows.under_way & begun & ~over]
        self._past = rows.keys[rows.under_way & begun & over]
        return _Moves(
            np.concatenate([begins[came], ends[went]]).astype(np.int64),
            np.concatenate([groups[came], groups[went]]),
            np.repeat(np.array([1, -1], np.int64), [len(came), len(went)]),
        )

    def samples(self, moves: _Moves, truth: Mapping[int, int], span: Span) -> Iterator[tuple[int, list[Sample]]]:
        """The steps of each counter that changed within a batch.

        Args:
            moves: as :meth:`update` returned them.
            truth: by group, the value at the end of the batch; what is not there is 0, and is over.
            span: of the batch.
        """
        for group in sorted(truth.keys() | self._values.keys()):
            mine = np.flatnonzero(moves.groups == group)
            before = self._values.get(group)
            order = mine[np.argsort(moves.times[mine], kind="stable")]
            values = (before or 0) + np.cumsum(moves.steps[order])
            steps = _steps(moves.times[order].clip(span.begin, span.end), values, before)
            samples = _ending(steps, before, truth.get(group, 0), span)
            if samples:
                yield group, samples
        self._values = dict(truth)


def _steps(times: _I64, values: _I64, before: int | None) -> list[Sample]:
    """Values in the order of their times, but of one time only the last, and none that is what it was before."""
    last = np.flatnonzero(np.r_[times[1:] != times[:-1], np.ones(min(len(times), 1), bool)])
    samples = []
    for sample in map(Sample, times[last].tolist(), values[last].tolist()):
        if sample.value != before:
            samples.append(sample)
        before = sample.value
    return samples


def _ending(samples: list[Sample], before: int | None, truth: int | None, span: Span) -> list[Sample]:
    """The steps, and at the end of the batch what is true then, if that is known and something else."""
    if truth is None or truth == (samples[-1].value if samples else before):
        return samples
    return [*(sample for sample in samples if sample.ns < span.end), Sample(span.end, truth)]
