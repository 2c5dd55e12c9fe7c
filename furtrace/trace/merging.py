"""Several recordings read as one, by time."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Final, Self

import numpy as np

from furtrace.trace.errors import RecordingError
from furtrace.trace.info import TraceInfo
from furtrace.trace.reading import Boots, Noted, Origin, Recording
from furtrace.trace.record import Records, no_records

_FOREVER: Final = 1 << 64


class _Source:
    """A recording and what is next in it."""

    def __init__(self, recording: Recording) -> None:
        self._batches = recording.batches()
        self.records = no_records()
        self.fill()

    def fill(self) -> None:
        """Read on if there is nothing left of the last batch."""
        while not len(self.records):
            batch = next(self._batches, None)
            if batch is None:
                return
            self.records = batch

    @property
    def known_until(self) -> int:
        """Up to which time hardly anything more can come; those of several CPUs are not quite in order."""
        return int(self.records["ns"].max()) if len(self.records) else _FOREVER

    def take(self, until: int) -> Records:
        """What there is up to a time; the order within a recording stays as it is."""
        later = np.flatnonzero(self.records["ns"] > until)
        count = int(later[0]) if len(later) else len(self.records)
        taken, self.records = self.records[:count].copy(), self.records[count:]
        return taken


class Recordings:
    """One or more recordings; a context manager. As :class:`~furtrace.trace.reading.Recording`, read once.

    Args:
        paths: their files.

    Attributes:
        info: of the first of them; ``mounts`` are those of all.

    Raises:
        RecordingError: on entering, if one of them is none; ``args`` are its path and why.
        OSError: one can't be read.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._boots = Boots()
        self._recordings = [Recording(path, self._boots) for path in paths]

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for recording in self._recordings:
                try:
                    stack.enter_context(recording)
                except RecordingError as problem:
                    raise RecordingError(recording.path, str(problem)) from None
            self._stack = stack.pop_all()
        self.info = self._recordings[0].info
        for recording in self._recordings:
            recording.info.mounts = self.info.mounts
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    @property
    def damages(self) -> dict[str, str]:
        """By path, why nothing more could be read of a recording although it was not its end."""
        return {one.path: one.damage for one in self._recordings if one.damage is not None}

    @property
    def infos(self) -> list[TraceInfo]:
        """Of each of them."""
        return [recording.info for recording in self._recordings]

    @property
    def origins(self) -> list[Origin]:
        """The boots that records are of so far: those of connection N are of number N // FOREIGN_CONNECTIONS."""
        return self._boots.origins

    @property
    def noted(self) -> Noted:
        """What was come across in all of them."""
        all_noted = [one.noted for one in self._recordings]
        return Noted(
            foreign=sum(one.foreign for one in all_noted),
            short=sum(one.short for one in all_noted),
            dropped=sum(one.dropped for one in all_noted),
        )

    def pieces(self) -> Iterator[list[Records]]:
        """Yield the same in pieces, see :meth:`~furtrace.trace.reading.Recording.pieces`."""
        if len(self._recordings) == 1:
            yield from self._recordings[0].pieces()
        else:
            yield from ([batch] for batch in self.batches())

    def batches(self) -> Iterator[Records]:
        """Yield the records of all, by time; a batch is good until the next one is asked for."""
        if len(self._recordings) == 1:
            yield from self._recordings[0].batches()
            return
        sources = [_Source(recording) for recording in self._recordings]
        while True:
            sources = [source for source in sources if len(source.records)]
            if not sources:
                return
            until = min(source.known_until for source in sources)
            taken = np.concatenate([source.take(until) for source in sources])
            for source in sources:
                source.fill()
            yield taken[np.argsort(taken["ns"], kind="stable")]
