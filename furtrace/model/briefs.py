"""Events in brief: what statistics need of a record, without the two long members that make most of its size.

A record is ten cache lines, and a column of records costs one for each of them. So what is needed is copied together
once, and the records themselves are only looked at where a name or a result stands in them.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from furtrace.model.requests import BRINGERS, WRITERS, Places
from furtrace.trace.record import OPERATION_OFFSET, PAYLOAD_SIZE_OFFSET, RECORD, Flag, Kind, Records, no_records
from furtrace.wire.opcodes import Opcode

_LONG: Final = ("header", "extra")
_FRONT: Final = [(name, RECORD[name]) for name in RECORD.names or () if name not in _LONG]
BRIEF: Final = np.dtype([*_FRONT, ("answer", "<i8")])
"""An event: members of :data:`~furtrace.trace.record.RECORD`, and ``answer``.

``answer``: of COMMITTED of an operation that brings bytes, how many the server says; of ENDED of one that writes, how
many it wrote; -1: not known, or another event.
"""

Briefs_ = npt.NDArray[np.void]
"""Rows of :data:`BRIEF`."""

_SIZE: Final = np.dtype(_FRONT).itemsize
_WHOLE: Final = np.dtype(f"V{RECORD.itemsize}")


def _front_of(dtype: "np.dtype[np.void]") -> "np.dtype[np.void]":
    """The same type, seen as its front alone: numpy copies that as bytes, and not member by member."""
    return np.dtype({"names": ["front"], "formats": [f"V{_SIZE}"], "offsets": [0], "itemsize": dtype.itemsize})


_OF_RECORD, _OF_BRIEF = _front_of(RECORD), _front_of(BRIEF)


class Briefs:
    """Events that were read at once.

    Args:
        pieces: their records, in order; views of them are kept.
    """

    def __init__(self, pieces: Sequence[Records]) -> None:
        self._pieces: Sequence[Records] = pieces
        self._ends = np.cumsum([len(piece) for piece in pieces], dtype=np.intp)
        self.events: Briefs_ = np.empty(self._ends[-1] if len(pieces) else 0, BRIEF)
        """All of them."""
        fronts = self.events.view(_OF_BRIEF)["front"]
        for piece, end in zip(pieces, self._ends.tolist(), strict=True):
            fronts[end - len(piece) : end] = piece.view(_OF_RECORD)["front"]
        self._answers()
        self._kept: Records | None = None
        self._kept_at: Places = np.empty(0, np.intp)

    def keep(self, at: Places) -> None:
        """Copy the records at these places, which are in ascending order; all others can't be had any more."""
        self._kept, self._kept_at = self.whole(at), at
        self._pieces = []

    def whole(self, at: Places) -> Records:
        """A copy of the records at these places, which are in ascending order."""
        if self._kept is not None:
            kept: Records = self._kept.view(_WHOLE)[np.searchsorted(self._kept_at, at)].view(RECORD)
            return kept
        taken = [piece.view(_WHOLE)[mine] for piece, mine in self._spread(at)]
        return np.concatenate(taken).view(RECORD) if taken else no_records()

    def _spread(self, at: Places) -> list[tuple[Records, Places]]:
        """The places by piece, and within it."""
        cuts = np.searchsorted(at, self._ends).tolist()
        begins = [0, *self._ends.tolist()]
        return [
            (piece, at[cut:end] - begin)
            for piece, begin, cut, end in zip(self._pieces, begins, [0, *cuts], cuts, strict=False)
            if end > cut
        ]

    def _header(self, at: Places, offset: int, dtype: str) -> npt.NDArray[Any]:
        """The number at ``offset`` of ``header`` of the records at these places."""
        start = _SIZE + offset
        member = np.dtype({"names": ["n"], "formats": [dtype], "offsets": [start], "itemsize": RECORD.itemsize})
        found = [piece.view(member)["n"][mine] for piece, mine in self._spread(at)]
        return np.concatenate(found) if found else np.empty(0, dtype)

    def _answers(self) -> None:
        answers = self.events["answer"]
        answers[:] = -1
        kinds, opcodes = (np.ascontiguousarray(self.events[name]) for name in ("kind", "opcode"))
        about = _TELLING[np.minimum(opcodes, len(_TELLING) - 1)]
        at = np.flatnonzero((about == Kind.COMMITTED) & (kinds == Kind.COMMITTED))
        at = at[(self.events["flags"][at] & Flag.HEADER_FROM_SERVER) != 0]
        answers[at] = self._header(at, PAYLOAD_SIZE_OFFSET, "<u4")
        at = np.flatnonzero((about == Kind.ENDED) & (kinds == Kind.ENDED))
        sizes, wide = self.events["header_size"][at], opcodes[at] == Opcode.COPY_FILE_RANGE_64
        narrow = at[~wide & (sizes >= OPERATION_OFFSET + 4)]
        answers[narrow] = self._header(narrow, OPERATION_OFFSET, "<u4")
        wide = at[wide & (sizes >= OPERATION_OFFSET + 8)]
        answers[wide] = self._header(wide, OPERATION_OFFSET, "<i8")


def _telling() -> npt.NDArray[np.uint8]:
    """By opcode, the kind of event that tells how many bytes it moved; the last stands for all that are unknown."""
    kinds = np.zeros(max(Opcode) + 2, np.uint8)
    kinds[list(BRINGERS)] = Kind.COMMITTED
    kinds[[*WRITERS, Opcode.COPY_FILE_RANGE_64]] = Kind.ENDED
    return kinds


_TELLING: Final = _telling()
assert RECORD.fields is not None
assert RECORD.fields["header"][1] == _SIZE
