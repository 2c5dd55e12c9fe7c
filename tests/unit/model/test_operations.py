"""Counts and latencies by operation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from furtrace.model.operations import PHASES, Histogram, Operations, phase_ns
from furtrace.model.requests import Requests, new_requests
from furtrace.wire.opcodes import Opcode
from tests.unit.events import batch, whole

EXACT = 0.0222
"""Half a sixteenth of an octave: what the bins cost."""


def _histogram(*durations: int) -> Histogram:
    histogram = Histogram()
    histogram.add(np.array(durations, np.int64))
    return histogram


@given(st.lists(st.integers(2, 1 << 39), min_size=1, max_size=200), st.sampled_from([0.01, 0.25, 0.5, 0.9, 0.99, 1.0]))
def test_percentiles_are_close(durations: list[int], share: float) -> None:
    exact = float(np.percentile(durations, share * 100, method="inverted_cdf"))
    assert _histogram(*durations).percentile(share) == pytest.approx(exact, rel=EXACT)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99, 0.999])
def test_percentiles_of_a_usual_distribution(share: float) -> None:
    durations = np.random.default_rng(1).lognormal(11, 1.5, 100_000).astype(np.int64)
    histogram = Histogram()
    for part in np.split(durations, 10):
        histogram.add(part)
    assert histogram.total == 100_000
    assert histogram.percentile(share) == pytest.approx(np.quantile(durations, share), rel=EXACT)


def test_nothing_has_no_percentile() -> None:
    assert Histogram().percentile(0.5) is None
    assert _histogram(-1, -1).percentile(0.5) is None


def test_what_is_not_known_is_not_counted() -> None:
    histogram = _histogram(-1, 100, -1, 100)
    assert histogram.total == 2
    assert histogram.percentile(0.01) == pytest.approx(100, rel=EXACT)


def test_extremes() -> None:
    assert _histogram(0, 1).percentile(1) == 0
    assert _histogram(1 << 62).percentile(1) == pytest.approx(1 << 40, rel=EXACT)
    assert _histogram(1 << 62, 0).total == 2


def test_phases() -> None:
    rows = new_requests(1)
    names = ("queued_ns", "assigned_ns", "delivered_ns", "committed_ns", "ended_ns")
    for name, ns in zip(names, (100, 130, 200, 1200, 1250), strict=True):
        rows[name] = ns
    durations = {phase: int(phase_ns(rows, phase)[0]) for phase in PHASES}
    assert durations == {"queue": 30, "delivery": 70, "wait": 100, "server": 1000, "commit": 50, "total": 1150}


@pytest.mark.parametrize("missing", ["queued_ns", "delivered_ns"])
def test_a_phase_without_an_end_is_not_known(missing: str) -> None:
    rows = new_requests(1)
    rows["queued_ns"], rows["delivered_ns"] = 100, 200
    assert phase_ns(rows, "wait").tolist() == [100]
    rows[missing] = 0
    assert phase_ns(rows, "wait").tolist() == [-1]


def test_by_operation() -> None:
    operations = Operations()
    model = Requests()
    for n, opcode, error in ((1, Opcode.WRITE, 0), (2, Opcode.READ, -5), (3, Opcode.READ, 0)):
        operations.add(model.feed(batch(*whole(2 * n, 1000 * n, opcode, error=error))))
    operations.add(model.feed(batch(*whole(8, 9000, Opcode.READ)[1:])))
    reads, writes = operations.table()
    assert (reads.opcode, reads.count, reads.errors) == (Opcode.READ, 3, 1)
    assert (writes.opcode, writes.count, writes.errors) == (Opcode.WRITE, 1, 0)
    totals = {phase: histogram.total for phase, histogram in reads.latency.items()}
    # Of the last one QUEUED was not seen; the entry's first request is not known to have been assigned.
    assert totals == {"queue": 2, "delivery": 2, "wait": 2, "server": 3, "commit": 3, "total": 2}
    assert reads.latency["server"].percentile(0.5) == pytest.approx(100, rel=EXACT)


def test_no_operations() -> None:
    operations = Operations()
    operations.add(new_requests(0))
    assert operations.table() == []
