"""The requests that diagrams are wanted of, found while a recording goes by."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from furtrace.model.choosing import Playing
from furtrace.model.requests import Requests_, first_seen


class Lines(Protocol):
    """Makes a line of each request, as a log has it."""

    def ended(self, rows: Requests_) -> Iterable[str]:
        """Of requests that ended in the last batch."""

    def unfinished(self, rows: Requests_, now_ns: int) -> Iterable[str]:
        """Of requests that are under way."""


ENDLESS: Final = 1 << 62


@dataclass(frozen=True)
class Asked:
    """Which requests are wanted: those of these numbers, or the first or the slowest so many."""

    uniques: frozenset[int] = frozenset()
    slowest: bool = False
    most: int = 1

    @property
    def room(self) -> int:
        """How many there can be."""
        return ENDLESS if self.uniques else self.most

    def fitting(self, rows: Requests_) -> npt.NDArray[np.bool_]:
        """Which of some requests have the numbers that are asked for."""
        if not self.uniques:
            return np.ones(len(rows), np.bool_)
        return np.isin(rows["unique"], np.array(sorted(self.uniques), np.uint64))


@dataclass(frozen=True)
class Candidate:
    """A request that may be drawn. ``line``: as a log has it; ``taken_ns``: from its first event to its end."""

    row: np.void
    line: str
    taken_ns: int


class Finder:
    """Finds the requests that are wanted.

    Args:
        asked: which.
        conversation: that they are of.
        lines: makes lines of them.
        begin_ns: from when on they have to have begun.
    """

    def __init__(self, asked: Asked, conversation: Playing, lines: Lines, begin_ns: int) -> None:
        self._asked, self._conversation, self._lines, self._begin_ns = asked, conversation, lines, begin_ns
        self.found: list[Candidate] = []

    def feed(self, finished: Requests_) -> bool:
        """Take in requests that ended; False: no others can be wanted."""
        rows = self._wanted(finished)
        if len(rows):
            self._add(rows, self._lines.ended(rows))
        return self._asked.slowest or len(self.found) < self._asked.room

    def end(self, now_ns: int) -> None:
        """The recording ends: those that are under way may be wanted too, if they are asked for by number."""
        if self._asked.uniques:
            rows = self._wanted(self._conversation.requests.under_way)
            self._add(rows, self._lines.unfinished(rows, now_ns))

    def _wanted(self, rows: Requests_) -> Requests_:
        rows = rows[self._asked.fitting(rows)]
        rows = rows[first_seen(rows) >= self._begin_ns]
        if not self._asked.slowest:
            return rows[: self._asked.room - len(self.found)]
        least = self.found[-1].taken_ns if len(self.found) >= self._asked.most else -1
        return rows[_taken(rows) > least]

    def _add(self, rows: Requests_, lines: Iterable[str]) -> None:
        made = zip(rows, lines, _taken(rows).tolist(), strict=True)
        self.found += [Candidate(row.copy(), line, taken) for row, line, taken in made]
        if self._asked.slowest:
            self.found.sort(key=lambda one: -one.taken_ns)
            del self.found[self._asked.most :]


def _taken(rows: Requests_) -> npt.NDArray[np.int64]:
    return rows["ended_ns"].astype(np.int64) - first_seen(rows).astype(np.int64)
