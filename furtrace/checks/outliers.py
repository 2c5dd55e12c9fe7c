"""Requests that took far longer than others of their kind."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from furtrace.checks.findings import Finding, Rule, Severity, about, request_name
from furtrace.checks.seen import Check, Limits, Seen
from furtrace.model.histograms import Distribution, Histograms, bins_of
from furtrace.model.requests import MAY_WAIT
from furtrace.wire.opcodes import opcode_name

SLOW_FOR_KIND: Final = Rule(
    "slow-for-its-kind",
    Severity.NOTE,
    "the server took far longer for a request than for others of its kind",
    "The time from delivery to commit, which is the server's alone: more than 20 times what 99 of 100 requests of the "
    "same operation on that connection took before, and at least 100 ms. Those that are slow by themselves are told of "
    "by the rule slow.",
    "See what the server did at that time: a lock, a disk, a thread that had no CPU. furtrace flow shows the request's "
    "way, furtrace stats --by op --histogram server how they are distributed.",
)

_ENOUGH: Final = 1000
"""Requests of a kind that have to be known."""
_SHARE: Final = 0.99
_TIMES: Final = 20
_LEAST: Final = 100_000_000
_BITS: Final = 2
_TOGETHER: Final = 1_000_000_000
"""Nanoseconds within which slow requests of a kind are one event: the first is told."""


class _Connection:
    """Durations of a connection's operations. ``told``: when the newest finding about each was."""

    def __init__(self) -> None:
        self.told: dict[int, int] = {}
        self._groups: dict[int, int] = {}
        self._times = Histograms(1, _BITS)

    def usual(self, opcode: int) -> Distribution | None:
        """Those of an operation until now, if there are enough."""
        group = self._groups.get(opcode)
        times = None if group is None else self._times.of(group)[0]
        return times if times is not None and times.count >= _ENOUGH else None

    def add(self, opcodes: npt.NDArray[np.uint32], times: npt.NDArray[np.int64]) -> None:
        """Count requests."""
        kinds, which = np.unique(opcodes, return_inverse=True)
        groups = np.array([self._groups.setdefault(kind, len(self._groups)) for kind in kinds.tolist()], np.intp)
        self._times.add(groups[which], np.zeros(len(times), np.intp), times, bins_of(times, _BITS))


class Outliers(Check):
    """Compares the server's times of each operation on each connection.

    Args:
        limits: from when on a request is slow by itself.
    """

    rules = (SLOW_FOR_KIND,)

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._connections: dict[int, _Connection] = {}

    def begun(self, connection: int) -> None:
        """Forget its times: it may have another server."""
        self._connections.pop(connection, None)

    def feed(self, seen: Seen) -> Iterator[Finding]:
        """Judge the requests that ended by those before, then count them."""
        rows = seen.finished
        server = rows["committed_ns"].astype(np.int64) - rows["delivered_ns"].astype(np.int64)
        known = (rows["delivered_ns"] != 0) & (rows["committed_ns"] != 0) & (server >= 0) & ~rows["uncertain"]
        known &= ~np.isin(rows["opcode"], MAY_WAIT)
        at = np.flatnonzero(known)
        for one in at[(server[at] > _LEAST) & (server[at] <= self._limits.slow)].tolist():
            yield from self._judged(rows[one], int(server[one]))
        connections = rows["connection"][at]
        for number in np.unique(connections).tolist():
            mine = at[connections == number]
            self._of(number).add(rows["opcode"][mine], server[mine])

    def _of(self, number: int) -> _Connection:
        return self._connections.setdefault(number, _Connection())

    def _judged(self, row: np.void, took: int) -> Iterator[Finding]:
        opcode, end = int(row["opcode"]), int(row["committed_ns"])
        connection = self._of(int(row["connection"]))
        before = connection.usual(opcode)
        usual = None if before is None else before.percentile(_SHARE)
        if before is None or usual is None or took < _TIMES * usual:
            return
        if end - connection.told.get(opcode, -_TOGETHER) < _TOGETHER:
            return
        connection.told[opcode] = end
        sentence = (
            f"{request_name(row)}, was in the server's hands for {took / 1e6:.0f} ms; 99 of 100 of the {before.count} "
            f"{opcode_name(opcode)} requests before it took {_time_text(usual)} at most."
        )
        yield about(SLOW_FOR_KIND, sentence, end, row)


def _time_text(ns: float) -> str:
    return f"{ns / 1e6:.1f} ms" if ns >= 1e6 else f"{ns / 1e3:.0f} us"
