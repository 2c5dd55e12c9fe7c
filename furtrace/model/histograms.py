"""Durations of many groups in bins of constant relative width, whose size does not grow with what they count."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from furtrace.model.requests import Places

_OCTAVES: Final = 44
"""Up to 2**44 ns, almost five hours; longer ones count as that."""
_MANTISSA: Final = 52  # bits of a double's
_BIAS: Final = 1023  # of its exponent
_FIRST: Final = 16
"""Groups that there is room for at first."""

_I64 = npt.NDArray[np.int64]


def bins_of(durations: _I64, bits: int) -> Places:
    """The bin of each duration in nanoseconds: 2**``bits`` of equal width from a power of two to the next."""
    # As a double its exponent says which power of two, and its mantissa's first bits where behind that.
    bins = durations.astype(np.float64).view(np.int64) >> (_MANTISSA - bits)
    bins -= _BIAS << bits
    return np.clip(bins, 0, (_OCTAVES << bits) - 1, out=bins)  # 0 ns stands with 1 ns


def bin_start(number: "int | Places", bits: int) -> npt.NDArray[np.float64]:
    """Where a bin begins, in nanoseconds."""
    octave, part = np.divmod(number, 1 << bits)
    start: npt.NDArray[np.float64] = np.exp2(octave) * (1 + part / (1 << bits))
    return start


@dataclass(frozen=True)
class Distribution:
    """Durations, counted.

    ``counts``: how many are in each bin, see :func:`bins_of`. ``bits``: how fine they are: a percentile is off by
    2**-(bits+1) at most. ``sum_ns``, ``max_ns``: exact, of those alone that were counted.
    """

    counts: npt.NDArray[np.uint32]
    bits: int
    sum_ns: int
    max_ns: int

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.counts.sum(dtype=np.int64))

    @property
    def mean_ns(self) -> float | None:
        """Their mean; None if there are none."""
        return self.sum_ns / self.count if self.count else None

    def percentile(self, share: float) -> float | None:
        """What ``share`` (0 to 1) of them do not exceed, in nanoseconds; None if there are none."""
        sums = np.cumsum(self.counts, dtype=np.int64)
        if not sums[-1]:
            return None
        at = int(np.searchsorted(sums, share * sums[-1]))
        at = min(at, int(np.flatnonzero(self.counts)[-1]))
        if not at:
            return 0.0  # less than the clock can tell
        middle = float(bin_start(at, self.bits) + bin_start(at + 1, self.bits)) / 2
        return min(middle, float(self.max_ns))

    def bins(self) -> Iterator[tuple[float, float, int]]:
        """From and to in nanoseconds, and how many, of each bin that has some."""
        for at in np.flatnonzero(self.counts).tolist():
            yield float(bin_start(at, self.bits)), float(bin_start(at + 1, self.bits)), int(self.counts[at])


def merged(distributions: Sequence[Distribution]) -> Distribution:
    """Several that are as fine as each other, as one."""
    counts: npt.NDArray[np.uint32] = np.sum([each.counts for each in distributions], axis=0, dtype=np.uint32)
    total = sum(each.sum_ns for each in distributions)
    return Distribution(counts, distributions[0].bits, total, max(each.max_ns for each in distributions))


class Histograms:
    """Distributions of several kinds of durations, for each of so many groups as come.

    Args:
        kinds: how many kinds there are.
        bits: see :class:`Distribution`.
    """

    def __init__(self, kinds: int, bits: int) -> None:
        self.bits = bits
        self._kinds, self._bins = kinds, _OCTAVES << bits
        self._counts: npt.NDArray[np.uint32] = np.zeros((0, kinds, self._bins), np.uint32)
        self.sums: _I64 = np.zeros((0, kinds), np.int64)
        """Sums in nanoseconds, by group and kind."""
        self._most: _I64 = np.zeros((0, kinds), np.int64)

    def add(self, groups: Places, kinds: Places, durations: _I64, bins: Places) -> None:
        """Count durations in nanoseconds; ``bins``: as :func:`bins_of` has them."""
        if not len(groups):
            return
        self.grow(int(groups.max()) + 1)
        numbers = groups * self._kinds + kinds
        np.add.at(self._counts.reshape(-1), numbers * self._bins + bins, _ONE)
        np.add.at(self.sums.reshape(-1), numbers, durations)
        np.maximum.at(self._most.reshape(-1), numbers, durations)

    def of(self, group: int) -> list[Distribution]:
        """The distribution of each kind of a group."""
        self.grow(group + 1)
        return self._distributions(self._counts[group], self.sums[group], self._most[group])

    def all(self) -> list[Distribution]:
        """The distribution of each kind, of all groups together."""
        most = self._most.max(axis=0, initial=0)
        return self._distributions(self._counts.sum(axis=0, dtype=np.uint32), self.sums.sum(axis=0), most)

    def _distributions(self, counts: npt.NDArray[np.uint32], sums: _I64, most: _I64) -> list[Distribution]:
        columns = zip(counts, sums.tolist(), most.tolist(), strict=True)
        return [Distribution(each, self.bits, total, largest) for each, total, largest in columns]

    def keep(self, kept: Places) -> None:
        """Keep these groups, which become 1, 2, ...; all others, the first among them, are put together as 0."""
        others = np.ones(len(self.sums), np.bool_)
        others[kept] = False
        left = np.flatnonzero(others)
        counts, sums, most = self._counts, self.sums, self._most
        self._counts = np.concatenate([counts[left].sum(axis=0, dtype=np.uint32, keepdims=True), counts[kept]])
        self.sums = np.concatenate([sums[left].sum(axis=0, keepdims=True), sums[kept]])
        self._most = np.concatenate([most[left].max(axis=0, keepdims=True), most[kept]])

    def grow(self, groups: int) -> None:
        """Make room for so many groups."""
        missing = groups - len(self.sums)
        if missing > 0:
            missing = max(missing, len(self.sums), _FIRST)
            self._counts = np.concatenate([self._counts, np.zeros((missing, *self._counts.shape[1:]), np.uint32)])
            self.sums = np.concatenate([self.sums, np.zeros((missing, self._kinds), np.int64)])
            self._most = np.concatenate([self._most, np.zeros((missing, self._kinds), np.int64)])


_ONE: Final = np.uint32(1)
