"""How long buffers of pools were held, over a whole trace."""

from typing import Final

import numpy as np
import numpy.typing as npt

from furtrace.model.briefs import Briefs_
from furtrace.model.groups import FINE
from furtrace.model.histograms import Distribution, Histograms, bins_of
from furtrace.model.numbering import Numbering
from furtrace.model.requests import Places
from furtrace.trace.record import Kind


class Holdings:
    """From SELECTED, which takes a buffer out of its pool, to RECYCLED, which gives it back; where both are seen."""

    def __init__(self) -> None:
        self._buffers = Numbering(2)  # place, number
        self._since = np.zeros(0, np.uint64)
        self._pools = Numbering(1)
        self._held = Histograms(1, FINE)

    def held(self) -> dict[tuple[int, int], Distribution]:
        """How long buffers were held, by connection and queue."""
        places = self._pools.keys[0].tolist()
        return {divmod(place, 1 << 32): self._held.of(number)[0] for number, place in enumerate(places)}

    def count_anew(self) -> None:
        """Count from here on; since when buffers are held is known."""
        self._held = Histograms(1, FINE)

    def update(self, events: Briefs_, lost: bool = False) -> None:
        """Take in a part of a batch; an INIT among them is the first."""
        kinds = np.ascontiguousarray(events["kind"])
        there = np.bincount(kinds, minlength=_KINDS)
        if lost:
            self._since[:] = 0  # who has what is not known any more
        elif there[Kind.INIT]:
            # What the connection of that number before had is never given back.
            self._since[self._buffers.keys[0] >> _QUEUE_BITS == events["connection"][0]] = 0
        if lost or not there[_MOVES].any():
            return
        at = np.flatnonzero(((kinds == Kind.SELECTED) | (kinds == Kind.RECYCLED)) & (events["error"] == 0))
        places = events["connection"][at].astype(np.uint64) << _QUEUE_BITS | events["queue"][at]
        buffers = self._buffers.of(places, events["buffer_id"][at])
        self._since = np.concatenate([self._since, np.zeros(len(self._buffers) - len(self._since), np.uint64)])
        order = np.argsort(buffers, kind="stable")
        self._pair(buffers[order], places[order], events["ns"][at[order]], kinds[at[order]] == Kind.SELECTED)

    def _pair(
        self,
        buffers: Places,
        places: npt.NDArray[np.uint64],
        times: npt.NDArray[np.uint64],
        taken: npt.NDArray[np.bool_],
    ) -> None:
        """Events of the same buffer stand together: one that gives it back ends what the one before has begun."""
        if not len(buffers):
            return
        is_first = np.concatenate([[True], buffers[1:] != buffers[:-1]])
        begins = np.roll(np.where(taken, times, 0), 1)
        begins[is_first] = self._since[buffers[is_first]]
        given = np.flatnonzero(~taken & (begins != 0) & (times >= begins))
        durations = (times[given] - begins[given]).astype(np.int64)
        pools = self._pools.of(places[given])
        self._held.add(pools, np.zeros(len(pools), np.intp), durations, bins_of(durations, FINE))
        is_last = np.concatenate([is_first[1:], [True]])
        self._since[buffers[is_last]] = np.where(taken, times, 0)[is_last]


_QUEUE_BITS: Final = np.uint64(32)
_KINDS: Final = len(Kind) + 1
_MOVES: Final = [Kind.SELECTED, Kind.RECYCLED]
