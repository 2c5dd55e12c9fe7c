"""Counts and latencies by operation, over the requests that ended."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from furtrace.model.requests import Requests_

PHASES: Final = {
    "queue": ("queued_ns", "assigned_ns"),
    "delivery": ("assigned_ns", "delivered_ns"),
    "wait": ("queued_ns", "delivered_ns"),
    "server": ("delivered_ns", "committed_ns"),
    "commit": ("committed_ns", "ended_ns"),
    "total": ("queued_ns", "ended_ns"),
}
"""The phases of a request, each from one of its times to another: ``queue``, until an entry took it; ``delivery``,
from there to its CQE; ``wait``, both together; ``server``, until the server's commit; ``commit``, until its end."""

_STEPS: Final = 16  # bins an octave: a percentile is exact to 1/16 of an octave, 4.4 percent
_BINS: Final = 40 * _STEPS  # up to 2**40 ns, 18 minutes; longer ones count as that


def phase_ns(rows: Requests_, phase: str) -> npt.NDArray[np.int64]:
    """Duration of a phase of each request in nanoseconds; -1 where one of its two ends is not known."""
    begin, end = PHASES[phase]
    known = (rows[begin] != 0) & (rows[end] != 0)
    duration: npt.NDArray[np.int64] = np.where(known, rows[end].astype(np.int64) - rows[begin].astype(np.int64), -1)
    return duration


class Histogram:
    """Durations in logarithmic bins of constant relative width; its size does not grow with what it counts."""

    def __init__(self) -> None:
        self.counts = np.zeros(_BINS, np.int64)

    def add(self, durations: npt.NDArray[np.int64]) -> None:
        """Count ``durations`` in nanoseconds; negative ones are not known and are left out."""
        self.counts += np.bincount(_bins(durations[durations >= 0]), minlength=_BINS)

    @property
    def total(self) -> int:
        """How many durations were counted."""
        return int(self.counts.sum())

    def percentile(self, share: float) -> float | None:
        """The duration in nanoseconds that ``share`` (0 to 1) of all do not exceed; None if none was counted."""
        total = self.total
        if not total:
            return None
        at = min(int(np.searchsorted(np.cumsum(self.counts), share * total)), _BINS - 1)
        return float(2 ** ((at + 0.5) / _STEPS)) if at else 0.0  # the first bin: less than the clock can tell


def _bins(durations: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The bin of each."""
    bins = (np.log2(np.maximum(durations, 1)) * _STEPS).astype(np.int64)
    return np.minimum(bins, _BINS - 1)


@dataclass(frozen=True)
class Operation:
    """What one operation has come to so far. ``latency`` has a histogram for each of :data:`PHASES`."""

    opcode: int
    count: int
    errors: int
    latency: dict[str, Histogram]


class Operations:
    """Counts, errors and latencies by opcode."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._errors: dict[int, int] = {}
        self._latency: dict[int, dict[str, Histogram]] = {}

    def add(self, finished: Requests_) -> None:
        """Count requests that ended."""
        opcodes, at = np.unique(finished["opcode"], return_inverse=True)
        codes = opcodes.tolist()
        counts = np.bincount(at, minlength=len(codes)).tolist()
        errors = np.bincount(at[finished["error"] != 0], minlength=len(codes)).tolist()
        for opcode, count, failed in zip(codes, counts, errors, strict=True):
            self._counts[opcode] = self._counts.get(opcode, 0) + count
            self._errors[opcode] = self._errors.get(opcode, 0) + failed
            if opcode not in self._latency:
                self._latency[opcode] = {phase: Histogram() for phase in PHASES}
        for phase in PHASES:
            durations = phase_ns(finished, phase)
            known = durations >= 0
            # One count for the bins of all operations: there are many of them and few requests of each.
            bins = np.bincount(at[known] * _BINS + _bins(durations[known]), minlength=len(codes) * _BINS)
            for opcode, mine in zip(codes, bins.reshape(len(codes), _BINS), strict=True):
                self._latency[opcode][phase].counts += mine

    def table(self) -> list[Operation]:
        """All operations seen, by opcode."""
        return [
            Operation(opcode, count, self._errors[opcode], self._latency[opcode])
            for opcode, count in sorted(self._counts.items())
        ]
