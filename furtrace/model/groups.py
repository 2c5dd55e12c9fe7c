"""What requests come to, by group: by operation, by queue, by client, by file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from furtrace.model.histograms import Distribution, Histograms, bins_of, merged
from furtrace.model.numbering import Numbering
from furtrace.model.pairing import Rows
from furtrace.model.requests import Places
from furtrace.wire.opcodes import Opcode

PHASES: Final = {
    "queue": ("queued_ns", ("assigned_ns",)),
    "buffer": ("dry_ns", ("selected_ns", "assigned_ns", "delivered_ns")),
    "delivery": ("assigned_ns", ("delivered_ns",)),
    "wait": ("queued_ns", ("delivered_ns",)),
    "server": ("delivered_ns", ("committed_ns",)),
    "commit": ("committed_ns", ("ended_ns",)),
    "total": ("queued_ns", ("ended_ns",)),
}
"""The phases of :data:`furtrace.model.operations.PHASES`, and ``buffer``: from when none was free for a request until
it had one. Each begins at one time of a request, and ends at the first of several that is known: an entry that kept the
buffer of the request before takes none.
"""
PHASE_NAMES: Final = tuple(PHASES)
FINE, COARSE = 6, 4
"""Bits of the bins (:class:`~furtrace.model.histograms.Distribution`) where groups are few, and where they may be many:
percentiles are exact to 0.8 percent, or to 3.2.
"""
MOST_GROUPS: Final = 4096
"""Groups that are told apart, where there may be many; of more, those that matter least are put together."""

_I64 = npt.NDArray[np.int64]


class Facts:
    """What is counted of some requests that ended: made once, for all groups.

    ``failed``: which have an error. ``uncertain``: of which not all is sure; they have no durations.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.failed = np.flatnonzero(rows["error"])
        self.uncertain = np.flatnonzero(rows["uncertain"])
        moved = rows["moved"]
        self.moving = np.flatnonzero(moved > 0)
        self.moved: _I64 = moved[self.moving]
        opcodes = rows["opcode"][self.moving]
        self.reads, self.writes = opcodes == Opcode.READ, opcodes == Opcode.WRITE
        self._phases = {phase: self._durations(phase) for phase in PHASES}
        self._binned: dict[tuple[str, int], Places] = {}
        self._gathered: dict[tuple[tuple[str, ...], int], tuple[Places, ...]] = {}

    def _durations(self, phase: str) -> tuple[Places, _I64]:
        """Which requests have a duration of the phase that is known, and these in nanoseconds."""
        begin, ends = PHASES[phase]
        begins, ended = self.rows[begin], self.rows[ends[0]]
        for end in ends[1:]:
            unknown = np.flatnonzero((ended == 0) & (begins != 0))
            ended[unknown] = self.rows[end][unknown]
        known = (begins != 0) & (ended >= begins)
        known[self.uncertain] = False
        at = np.flatnonzero(known)
        return at, (ended[at] - begins[at]).astype(np.int64)

    def durations(self, phases: Sequence[str], bits: int) -> tuple[Places, ...]:
        """Durations of several phases in a row: of which request, of which phase (by place), how long, in which bin."""
        key = tuple(phases), bits
        if key not in self._gathered:
            found = [self._phases[phase] for phase in phases]
            at = np.concatenate([rows for rows, _ in found])
            durations = np.concatenate([durations for _, durations in found])
            bins = np.concatenate([self._bins(phase, bits) for phase in phases])
            which = np.repeat(np.arange(len(found)), [len(rows) for rows, _ in found])
            self._gathered[key] = at, which, durations, bins
        return self._gathered[key]

    def _bins(self, phase: str, bits: int) -> Places:
        if (phase, bits) not in self._binned:
            self._binned[phase, bits] = bins_of(self._phases[phase][1], bits)
        return self._binned[phase, bits]


@dataclass(frozen=True)
class Group:
    """What the requests of a group have come to.

    ``key``: what they have in common; None: those of all groups that were put together. ``moved``: bytes, see
    :data:`furtrace.model.requests.MOVERS`; ``read``, ``written``: those of READ and of WRITE. ``latency``: of each
    phase that is measured here, without the ``uncertain`` requests.
    """

    key: tuple[int, ...] | None
    count: int
    errors: int
    uncertain: int
    moved: int
    read: int
    written: int
    latency: dict[str, Distribution]


def together(groups: Sequence[Group], key: tuple[int, ...] | None) -> Group:
    """Several groups as one."""
    phases = groups[0].latency
    sums = {name: sum(getattr(group, name) for group in groups) for name in _COUNTS}
    return Group(key, latency={phase: merged([group.latency[phase] for group in groups]) for phase in phases}, **sums)


_COUNTS: Final = ("count", "errors", "uncertain", "moved", "read", "written")


class Groups:
    """Counts requests by group.

    Args:
        width: numbers that make a key.
        phases: which are measured.
        bits: how finely.
        most: groups that are told apart; None: as many as there are.
    """

    def __init__(self, width: int, phases: Sequence[str], bits: int, most: int | None = None) -> None:
        self.phases = tuple(phases)
        self._width, self._most = width, most
        self._numbers = Numbering(width)
        self._sums: _I64 = np.zeros((_SUMS, 1), np.int64)  # column 0 is of all that were put together
        self._histograms = Histograms(len(self.phases), bits)
        self.put_together = 0
        """How many groups are not told apart any more; one of which there is more later counts again."""

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, facts: Facts, *columns: npt.NDArray[np.unsignedinteger]) -> None:
        """Count requests; ``columns``: the numbers of each one's key."""
        numbers = self._numbers.of(*columns) + 1
        missing = len(self) + 1 - self._sums.shape[1]
        self._sums = np.concatenate([self._sums, np.zeros((_SUMS, missing), np.int64)], axis=1)
        count, errors, uncertain, moved, read, written = self._sums
        np.add.at(count, numbers, 1)
        np.add.at(errors, numbers[facts.failed], 1)
        np.add.at(uncertain, numbers[facts.uncertain], 1)
        moving = numbers[facts.moving]
        np.add.at(moved, moving, facts.moved)
        np.add.at(read, moving[facts.reads], facts.moved[facts.reads])
        np.add.at(written, moving[facts.writes], facts.moved[facts.writes])
        at, which, durations, bins = facts.durations(self.phases, self._histograms.bits)
        self._histograms.add(numbers[at], which, durations, bins)
        if self._most is not None and len(self) > self._most:
            self._put_together(len(self) - self._most // 2)

    def table(self) -> list[Group]:
        """All groups, in the order in which they came; then, if there is one, that of those that were put together."""
        keys = self._numbers.keys.T.tolist()
        told = [self._group(tuple(key), number) for number, key in enumerate(keys, 1)]
        return [*told, self._group(None, 0)] if self.put_together else told

    def all(self) -> Group:
        """All groups together."""
        return self._made(None, self._sums.sum(axis=1), self._histograms.all())

    def _group(self, key: tuple[int, ...] | None, number: int) -> Group:
        return self._made(key, self._sums[:, number], self._histograms.of(number))

    def _made(self, key: tuple[int, ...] | None, sums: _I64, latency: list[Distribution]) -> Group:
        count, errors, uncertain, moved, read, written = sums.tolist()
        by_phase = dict(zip(self.phases, latency, strict=True))
        return Group(key, count, errors, uncertain, moved, read, written, by_phase)

    def _put_together(self, count: int) -> None:
        """Put the groups together that matter least: by their share of requests, of bytes and of time."""
        groups = len(self) + 1
        self._histograms.grow(groups)
        spent = self._histograms.sums[:groups].sum(axis=1)
        shares = sum(each / max(int(each.sum()), 1) for each in (self._sums[_COUNT], self._sums[_MOVED], spent))
        kept = np.sort(1 + np.argsort(shares[1:], kind="stable")[count:])
        others = np.ones(groups, np.bool_)
        others[kept] = False
        sums = self._sums[:, others].sum(axis=1, keepdims=True)
        keys = self._numbers.keys[:, kept - 1]
        self._sums = np.concatenate([sums, self._sums[:, kept]], axis=1)
        self._numbers = Numbering(self._width)
        self._numbers.of(*keys)
        self._histograms.keep(kept)
        self.put_together += count


_SUMS: Final = 6
_COUNT, _MOVED = 0, 3  # of these
