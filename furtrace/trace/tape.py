"""A recording as it is played: records up to a time, or up to the next event."""

from collections.abc import Iterator

import numpy as np

from furtrace.trace.record import Records, is_event, no_records


class Tape:
    """Gives out records in their order, as many at a time as are asked for.

    Args:
        batches: of the recording; each is used up before the next is asked for.

    Attributes:
        position_ns: the latest time of a record that was given out; 0: none was.
        ended: there are no more.

    """

    def __init__(self, batches: Iterator[Records]) -> None:
        self._batches = batches
        self._rest = no_records()
        self.position_ns = 0
        self.ended = False

    def until(self, ns: int | None = None, most: int | None = None) -> Records:
        """The next records, up to one that is later than a time; of one batch at most.

        Empty: the next one is later, or there is none (:attr:`ended`).

        Args:
            ns: that time; None: none is too late.
            most: so many at most.
        """
        if not self._fill():
            return no_records()
        next_ones = self._rest[:most]
        if ns is None:
            return self._take(len(next_ones))
        later = np.flatnonzero(next_ones["ns"] > ns)
        return self._take(int(later[0]) if len(later) else len(next_ones))

    def event(self) -> Records:
        """The next event, behind the hints that come before it; of one batch at most."""
        if not self._fill():
            return no_records()
        events = np.flatnonzero(is_event(self._rest))
        return self._take(int(events[0]) + 1 if len(events) else len(self._rest))

    def _fill(self) -> bool:
        """Read on if nothing is left of a batch; False: there is nothing more."""
        while not len(self._rest) and not self.ended:
            batch = next(self._batches, None)
            if batch is None:
                self.ended = True
            else:
                self._rest = batch
        return not self.ended

    def _take(self, count: int) -> Records:
        taken, self._rest = self._rest[:count], self._rest[count:]
        if count:
            self.position_ns = max(self.position_ns, int(taken["ns"].max()))
        return taken


def not_later(batch: Records, ns: int) -> Records:
    """The records that are not later than a time."""
    early = batch["ns"] <= ns
    return batch if early.all() else batch[early]


def split(batch: Records, ns: int) -> tuple[Records, Records]:
    """The records before a time, and those from then on."""
    early = batch["ns"] < ns
    return batch[early], batch[~early]
