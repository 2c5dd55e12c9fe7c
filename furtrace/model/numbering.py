"""Dense numbers for things that have large ones, a batch at a time."""

from typing import Final

import numpy as np
import numpy.typing as npt

from furtrace.model.requests import Places

_U64 = npt.NDArray[np.uint64]
_SMALLEST: Final = 64
_SPARSE: Final = 4
"""Slots for each key at least, so that few have to be looked for twice."""
_MIX: Final = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: neighbours come far apart


class Numbering:
    """Gives keys the numbers 0, 1, 2, ... in the order in which they come first.

    A hash table with open addressing: as many keys as a batch has are looked up at once, at a few nanoseconds each.

    Args:
        width: how many numbers below 2**64 make a key.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._count = 0
        self._keys: _U64 = np.empty((width, _SMALLEST), np.uint64)
        self._rehash(_SMALLEST * _SPARSE)

    def __len__(self) -> int:
        return self._count

    @property
    def keys(self) -> _U64:
        """All keys, a row for each of their numbers, a column for each key."""
        return self._keys[:, : self._count]

    def of(self, *columns: npt.NDArray[np.unsignedinteger]) -> Places:
        """The number of each key; the first column has the first number of each, and so on."""
        wanted = [np.ascontiguousarray(column, np.uint64) for column in columns]
        numbers = self._find(wanted)
        fresh = np.flatnonzero(numbers < 0)
        if len(fresh):
            self._add([column[fresh] for column in wanted])
            numbers[fresh] = self._find([column[fresh] for column in wanted])
        return numbers

    def _find(self, wanted: list[_U64]) -> Places:
        """Numbers; -1: the key has none."""
        slots = self._slots(wanted)
        numbers = self._table[slots]
        # Where another key has the slot, the next one is looked at, until it is there or the slot is empty.
        left = np.flatnonzero((numbers >= 0) & ~self._same(wanted, numbers, slice(None)))
        while len(left):
            slots[left] = (slots[left] + 1) & self._mask
            numbers[left] = self._table[slots[left]]
            found = numbers[left]
            left = left[(found >= 0) & ~self._same(wanted, found, left)]
        return numbers

    def _same(self, wanted: list[_U64], numbers: Places, at: "Places | slice") -> npt.NDArray[np.bool_]:
        same: npt.NDArray[np.bool_] = self._keys[0][numbers] == wanted[0][at]
        for known, column in zip(self._keys[1:], wanted[1:], strict=True):
            same &= known[numbers] == column[at]
        return same

    def _slots(self, wanted: list[_U64]) -> Places:
        mixed = wanted[0] * _MULTIPLIER
        for column in wanted[1:]:
            mixed = (mixed ^ (mixed >> _HALF) ^ column) * _MULTIPLIER
        mixed ^= mixed >> _HALF
        return (mixed & np.uint64(self._mask)).view(np.int64)

    def _add(self, wanted: list[_U64]) -> None:
        """Give numbers to keys that have none; one may be there several times."""
        for key in dict.fromkeys(zip(*(column.tolist() for column in wanted), strict=True)):
            if self._count == self._keys.shape[1]:
                self._keys = np.concatenate([self._keys, np.empty_like(self._keys)], axis=1)
            self._keys[:, self._count] = key
            self._count += 1
        if self._count * _SPARSE > len(self._table):
            self._rehash(2 * _SPARSE << self._count.bit_length())
        else:
            self._put(self._entered)

    def _rehash(self, size: int) -> None:
        self._mask = size - 1
        self._table: Places = np.full(size, -1, np.intp)
        self._put(0)

    def _put(self, first: int) -> None:
        """Enter the keys from a number on into the table."""
        slots = self._slots(list(self._keys[:, first : self._count])).tolist()
        for number, start in enumerate(slots, first):
            slot = start
            while self._table[slot] >= 0:
                slot = (slot + 1) & self._mask
            self._table[slot] = number
        self._entered = self._count


_MULTIPLIER: Final = np.uint64(_MIX)
_HALF: Final = np.uint64(32)
