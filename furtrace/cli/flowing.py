"""The requests that diagrams are drawn of: found in a recording, then gathered from it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from furtrace.cli.reel import Pass, Reel
from furtrace.cli.stopping import Stopping
from furtrace.model.choosing import Playing, playing
from furtrace.model.flows import Flow, Gathering, together
from furtrace.model.memory import Memory, QueueMemory
from furtrace.model.requests import Requests_, first_seen
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import RECORD, Kind, Records, Step
from furtrace.views.lines import RequestLines
from furtrace.wire.dialect import Dialect
from furtrace.wire.opcodes import UringCommand

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

    def __init__(self, asked: Asked, conversation: Playing, lines: RequestLines, begin_ns: int) -> None:
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


@dataclass(frozen=True)
class Drawn:
    """What was found. ``flows``: the requests with their events, and ``lines`` of them."""

    info: TraceInfo
    flows: list[Flow]
    lines: list[str]
    complaints: list[str]
    damaged: bool


def drawn(reel: Reel, asked: Asked, stopping: Stopping, *, ascii_only: bool) -> Drawn:
    """Find the requests, then gather their events: two passes over the recordings.

    Raises:
        InputError: they can't be read.
    """
    reel.judge(stopping)
    with reel.opened() as run:
        found = _found(reel, run, asked, stopping, ascii_only=ascii_only)
        info, complaints, damaged = run.info, run.complaints, run.damaged
    gathering = Gathering(together(one.row for one in found))
    with reel.opened() as run:
        for batch in run.batches():
            if stopping.signal is not None or gathering.is_past(batch):
                break
            gathering.feed(batch)
    return Drawn(info, gathering.flows(), [one.line for one in found], complaints, damaged)


def _found(reel: Reel, run: Pass, asked: Asked, stopping: Stopping, *, ascii_only: bool) -> list[Candidate]:
    conversation = reel.conversation(run)
    lines = RequestLines(run.info, conversation.paths, ascii_only=ascii_only)
    finder = Finder(asked, conversation, lines, run.first_ns)
    last_ns = 0
    for batch in run.batches():
        last_ns = max(last_ns, int(batch["ns"].max()) if len(batch) else 0)
        wanted = [finder.feed(conversation.feed(part)) for part in conversation.cut(batch)]
        if not all(wanted) or stopping.signal is not None:
            return finder.found
    finder.end(last_ns)
    return finder.found


def setup_events(reel: Reel, stopping: Stopping) -> tuple[TraceInfo, dict[tuple[int, int], Records]]:
    """The events of setting up each queue, by connection and queue; READY, which is the connection's, in each."""
    parts: list[Records] = []
    with reel.opened() as run:
        for batch in run.batches():
            if stopping.signal is not None:
                break
            wanted = np.isin(batch["kind"], (*_COMMANDS, Kind.READY))
            wanted |= (batch["kind"] == Kind.STEP) & (batch["step"] == Step.CMD)
            parts.append(batch[wanted & (batch["command_op"] != UringCommand.COMMIT_AND_FETCH)].copy())
        info = run.info
    return info, _by_queue(np.concatenate([np.empty(0, RECORD), *parts]))


_COMMANDS: Final = (Kind.ADD_QUEUE, Kind.ADD_BUFPOOL, Kind.REGISTER, Kind.REFUSED)


def _by_queue(events: Records) -> dict[tuple[int, int], Records]:
    commands = events[np.isin(events["kind"], _COMMANDS)]
    made = {}
    places = zip(commands["connection"].tolist(), commands["queue"].tolist(), strict=True)
    for connection, queue in sorted(set(places)):
        mine = commands[(commands["connection"] == connection) & (commands["queue"] == queue)]
        others = (events["kind"] == Kind.STEP) & np.isin(events["tid"], mine["tid"]) | (events["kind"] == Kind.READY)
        others &= (events["connection"] == connection) & (events["ns"] >= mine["ns"].min())
        whole = np.concatenate([mine, events[others]])
        made[connection, queue] = whole[np.argsort(whole["ns"], kind="stable")]
    return made


# ---- memory ----


@dataclass(frozen=True)
class Memories:
    """The memory of queues at a time."""

    queues: list[QueueMemory]
    now_ns: int
    complaints: list[str]
    damaged: bool


def memories(reel: Reel, stopping: Stopping) -> Memories:
    """The memory of all queues at the end of recordings, or of the window.

    Raises:
        InputError: they can't be read.
    """
    reel.judge(stopping)
    with reel.opened() as run:
        memory, conversation, now_ns = Memory(Dialect(run.info.dialect)), playing(None, whole=run.whole), 0
        for batch in run.batches():
            if stopping.signal is not None:
                break
            for part in conversation.cut(batch):
                conversation.feed(part)
            memory.feed(batch)
            now_ns = max(now_ns, int(batch["ns"].max()) if len(batch) else 0)
        queues = memory.queues(conversation.requests, conversation.pools.table())
        return Memories(queues, run.last_ns or now_ns, run.complaints, run.damaged)
