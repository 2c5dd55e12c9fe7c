"""Which requests of a recording are shown.

What a filter says of a request may be known only when it has ended, or never does, while its events come long before.
So a recording is gone over twice: :class:`Judge` says which requests are wanted, and then :class:`Playing` has a
conversation of everything, in which only these are shown and counted. What is said of a request does not depend on the
filter, since nothing is hidden from the model.

A request is named by its connection, its ``unique``, and which of the connections of that number it is of: a new INIT
begins the next.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from furtrace.model.conversation import Conversation
from furtrace.model.fields import Mask, Sample
from furtrace.model.filtering import DisplayFilter
from furtrace.model.paths import Paths
from furtrace.model.requests import Requests, Requests_
from furtrace.trace.record import (
    HINTS,
    NO_QUEUE,
    Kind,
    Records,
    Transport,
    among,
    events_only,
    is_event,
    is_lost,
    no_records,
    part,
)
from furtrace.wire.opcodes import Opcode

Generation = tuple[int, int]
"""A connection's number, and how many of that number had ended before it."""


@dataclass(frozen=True)
class Wanted:
    """What filters ask for; empty or None: no limit.

    ``connection``: its number. ``mounts``: paths at one of which a connection is mounted. ``server``: a process that
    serves it. ``client``: a process. ``opcodes``, ``queues``: numbers. ``display``: a filter in a language of its own.
    """

    connection: int | None = None
    mounts: frozenset[str] = frozenset()
    server: int | None = None
    client: int | None = None
    opcodes: frozenset[int] = frozenset()
    queues: frozenset[int] = frozenset()
    display: DisplayFilter | None = None

    @property
    def by_kind(self) -> bool:
        """Whether only some requests of a queue are wanted, so that no event is that is about no request."""
        return bool(self.client or self.opcodes or self.display)

    @property
    def by_request(self) -> bool:
        """Whether requests are asked one by one."""
        return self.by_kind or bool(self.queues)

    @property
    def by_connection(self) -> bool:
        """Whether connections are chosen by something that the recording tells only later."""
        return bool(self.mounts) or self.server is not None

    def of_place(self, batch: Records) -> Mask:
        """Which events happened on a queue that is wanted; one that happened on none does not where some are."""
        if not self.queues:
            return np.ones(len(batch), np.bool_)
        return np.isin(batch["queue"], list(self.queues))


def only_connections(batch: Records, numbers: "set[int] | None") -> Records:
    """The records of these connections, and losses, which may concern any; None: all."""
    if numbers is None:
        return batch
    mine = np.isin(batch["connection"], list(numbers)) | is_lost(batch)
    return batch if mine.all() else batch[mine]


def cut_at_beginnings(batch: Records) -> list[Records]:
    """A batch in parts, each request for an INIT the beginning of one."""
    begins = np.flatnonzero((batch["kind"] == Kind.QUEUED) & (batch["opcode"] == Opcode.INIT))
    return np.split(batch, begins[begins > 0]) if len(begins) else [batch]


class Generations:
    """Counts the connections that have had each number, while events go by."""

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}
        self._asked: set[int] = set()

    def begin(self, piece: Records) -> bool:
        """Take in what follows; True: a connection begins with its first event, which alone may do that."""
        if not len(piece) or piece["opcode"][0] != Opcode.INIT or piece["kind"][0] not in (Kind.QUEUED, Kind.INIT):
            return False
        connection = int(piece["connection"][0])
        if piece["kind"][0] == Kind.QUEUED:
            self._asked.add(connection)
        elif connection in self._asked:
            self._asked.discard(connection)
            return False
        self._begun[connection] = self._begun.get(connection, 0) + 1
        return True

    def of(self, connection: int) -> Generation:
        """The one that has this number now."""
        return connection, self._begun.get(connection, 0)

    def groups(self, connections: npt.NDArray[np.uint32]) -> Iterator[tuple[Generation, Mask]]:
        """Yield each connection, and where it is among these."""
        for connection in np.unique(connections).tolist():
            yield self.of(connection), connections == connection


class Criteria:
    """Judges requests by all that is asked of them one by one.

    Args:
        wanted: what that is.
        mounts: gives mount points by connection, as they are known.

    """

    def __init__(self, wanted: Wanted, mounts: Callable[[], Mapping[int, str]]) -> None:
        self._wanted = wanted
        self._mounts = mounts
        self._began_ns: int | None = None
        self._threads: set[int] = set()
        needs_paths = wanted.display is not None and wanted.display.needs_paths
        # Paths that are asked for here can't be asked for again of the same ones.
        self._paths = Paths() if needs_paths else None

    def take(self, piece: Records, lost: bool) -> None:
        """Take in events, before what ended in them is judged."""
        if self._began_ns is None:
            self._began_ns = start_of(piece)
        if self._paths is not None:
            self._paths.feed(piece, lost)

    def ended(self, rows: Requests_) -> Mask:
        """Which of the requests that ended in the last events are wanted; they are given in their order."""
        return self._judge(rows, ended=True)

    def under_way(self, rows: Requests_) -> Mask:
        """Which of the requests that are under way would be, if they stayed so."""
        return self._judge(rows, ended=False)

    def _judge(self, rows: Requests_, *, ended: bool) -> Mask:
        wanted, fits = self._wanted, np.ones(len(rows), np.bool_)
        if wanted.opcodes:
            fits &= np.isin(rows["opcode"], list(wanted.opcodes))
        if wanted.queues:
            fits &= _on_queues(rows, wanted.queues)
        if wanted.client:
            fits &= self._of_client(rows, wanted.client)
        if wanted.display is not None and fits.any():
            fits[fits] = wanted.display.chosen(self._sample(rows[fits], ended=ended))
        return fits

    def _sample(self, rows: Requests_, *, ended: bool) -> Sample:
        paths = self._paths or Paths()
        return Sample(
            rows, lambda: (paths.subjects if ended else paths.present)(rows), self._mounts(), self._began_ns or 0
        )

    def _of_client(self, rows: Requests_, client: int) -> Mask:
        """The client's own, and what the kernel asks in the background for a thread that is known to be its."""
        own: Mask = rows["client_pid"] == client
        self._threads |= set(np.unique(rows["client_tid"][own]).tolist())
        asked_for: Mask = (rows["client_pid"] == 0) & np.isin(rows["client_tid"], list(self._threads))
        return own | asked_for


def start_of(records: Records) -> int | None:
    """When a recording that begins so begins: with its first event; of hints alone with the first; None: with none."""
    if not len(records):
        return None
    events = events_only(records)
    return int((events if len(events) else records)["ns"][0])


def _on_queues(rows: Requests_, queues: frozenset[int]) -> Mask:
    """As the kernel's filter does, it takes the client's CPU for the queue as long as that is not known."""
    numbers = np.where(rows["queue"] == NO_QUEUE, rows["expected_queue"], rows["queue"])
    found: Mask = np.isin(numbers, list(queues)) & (rows["transport"] != Transport.DEV)
    return found


class Taken(NamedTuple):
    """Which events of a batch are ``shown``, which are ``counted``, and of which queues and pools are to ``know``."""

    shown: Mask
    counted: Mask
    known: Mask


class Choice(Protocol):
    """Says of requests and events whether they are shown, while a conversation goes on."""

    def take(self, piece: Records, lost: bool) -> Taken:
        """Take in events, before the model does; a connection can only begin with the first."""

    def ended(self, rows: Requests_) -> Mask:
        """Which of the requests that ended in the last events are shown; they are given in their order."""

    def under_way(self, rows: Requests_) -> Mask:
        """Which of the requests that are under way now are shown."""

    def has(self, connection: int, queue: int) -> bool:
        """Whether a queue is shown."""


class Chosen:
    """Shows the requests that a :class:`Judge` has found; good for one pass."""

    def __init__(
        self,
        wanted: Wanted,
        connections: "set[Generation] | None",
        uniques: "Mapping[Generation, npt.NDArray[np.uint64]] | None",
    ) -> None:
        self._wanted = wanted
        self._connections = connections
        self._uniques = uniques
        self._generations = Generations()

    def take(self, piece: Records, lost: bool) -> Taken:  # noqa: ARG002
        """As :meth:`Choice.take`."""
        self._generations.begin(piece)
        here, alone = self._here(piece) & self._wanted.of_place(piece), piece["unique"] == 0
        shown = np.where(alone, here & (not self._wanted.by_kind), self._find(piece))
        shown |= _ALWAYS[piece["kind"]]
        return Taken(shown, shown, shown | (alone & here) | (piece["kind"] == Kind.INIT))

    def ended(self, rows: Requests_) -> Mask:
        """As :meth:`Choice.ended`."""
        return self._find(rows)

    def under_way(self, rows: Requests_) -> Mask:
        """As :meth:`Choice.under_way`."""
        return self._find(rows)

    def has(self, connection: int, queue: int) -> bool:
        """As :meth:`Choice.has`."""
        here = self._connections is None or self._generations.of(connection) in self._connections
        return here and (not self._wanted.queues or queue in self._wanted.queues)

    def _here(self, items: "Records | Requests_") -> Mask:
        """Which are of a connection that is shown."""
        found = np.ones(len(items), np.bool_)
        if self._connections is not None:
            for generation, mine in self._generations.groups(items["connection"]):
                found[mine] = generation in self._connections
        return found

    def _find(self, items: "Records | Requests_") -> Mask:
        """Which are of a request that is shown."""
        found = self._here(items)
        if self._uniques is not None:
            for generation, mine in self._generations.groups(items["connection"]):
                wanted = self._uniques.get(generation, _NONE)
                found[mine] &= _is_in(items["unique"][mine], wanted)
        return found


_NONE: Final = np.empty(0, np.uint64)
_ALWAYS: Final = among((*HINTS, Kind.LOST))
"""Kinds of records that concern whatever is shown."""


def _is_in(numbers: npt.NDArray[np.uint64], ordered: npt.NDArray[np.uint64]) -> Mask:
    if not len(ordered):
        return np.zeros(len(numbers), np.bool_)
    at = np.searchsorted(ordered, numbers).clip(max=len(ordered) - 1)
    found: Mask = ordered[at] == numbers
    return found


class AtOnce:
    """Shows requests as they end, where there can be no second pass; none of their events."""

    def __init__(self, wanted: Wanted, mounts: Mapping[int, str]) -> None:
        self._wanted = wanted
        self._criteria = Criteria(wanted, lambda: mounts)

    def take(self, piece: Records, lost: bool) -> Taken:
        """As :meth:`Choice.take`; it is not known which events are of requests that will be shown, so all count."""
        self._criteria.take(piece, lost)
        here = self._wanted.of_place(piece)
        alone = (piece["unique"] == 0) & here & (not self._wanted.by_kind)
        every = here | (piece["kind"] == Kind.INIT)
        return Taken(alone | _ALWAYS[piece["kind"]], every, every)

    def ended(self, rows: Requests_) -> Mask:
        """As :meth:`Choice.ended`."""
        return self._criteria.ended(rows)

    def under_way(self, rows: Requests_) -> Mask:
        """As :meth:`Choice.under_way`."""
        return self._criteria.under_way(rows)

    def has(self, connection: int, queue: int) -> bool:  # noqa: ARG002
        """As :meth:`Choice.has`."""
        return not self._wanted.queues or queue in self._wanted.queues


@dataclass
class _Unmoved(Conversation):
    """Only its requests go on: nothing else of it is looked at."""

    def _take_in(self, batch: Records, finished: Requests_, lost: bool) -> None:
        """Nothing."""

    def _note_events(self, batch: Records) -> None:
        """Nothing."""

    def _count(self, finished: Requests_) -> None:
        """Nothing."""


class _NoPaths(Paths):
    def feed(self, batch: Records, lost: bool = False) -> None:
        """Nothing."""


class Judge:
    """Goes over a recording from its start, and says at its end which requests are wanted.

    Args:
        wanted: what is asked for; its connection alone is fed.
        whole: as of :class:`~furtrace.model.requests.Requests`.
        mounts: as the attribute, where another one has gone over the recording before; None: as far as it has come.

    Attributes:
        mounts: at which paths each connection was mounted.

    """

    def __init__(self, wanted: Wanted, *, whole: bool, mounts: "Mapping[Generation, set[str]] | None" = None) -> None:
        self._wanted = wanted
        self._criteria = Criteria(wanted, lambda: self._mounts_now(self.mounts if mounts is None else mounts))
        self._model = _Unmoved(Requests(whole=whole), paths=_NoPaths())
        self._generations = Generations()
        self._found: dict[Generation, list[npt.NDArray[np.uint64]]] = {}
        self._served: set[Generation] = set()
        self._seen: set[Generation] = set()
        self.mounts: dict[Generation, set[str]] = {}
        self._next_mount: dict[int, str] = {}

    def feed(self, batch: Records) -> None:
        """Take in a batch."""
        for whole, lost in self._model.parts(batch):
            for piece in cut_at_beginnings(whole):
                self._feed(piece, lost)

    def _feed(self, piece: Records, lost: bool) -> None:
        if self._generations.begin(piece):
            self._begin(int(piece["connection"][0]))
        events = piece["connection"][is_event(piece)]
        self._seen |= {generation for generation, _ in self._generations.groups(events)}
        self._note_mounts(piece)
        self._note_servers(piece)
        self._criteria.take(piece, lost)
        finished = self._model.requests.feed(piece, lost)
        self._note(finished, self._criteria.ended(finished))

    def _begin(self, connection: int) -> None:
        """The number of a connection is used anew: what it had under way never ends."""
        now, before = self._generations.of(connection), (connection, self._generations.of(connection)[1] - 1)
        rows = self._model.requests.under_way
        rows = rows[rows["connection"] == connection]
        self._note(rows, self._criteria.under_way(rows), before)
        mount = self._next_mount.pop(connection, None)
        self.mounts[now] = {mount} if mount is not None else set(self.mounts.get(before, ()))

    def _note_mounts(self, piece: Records) -> None:
        """Where a connection is mounted is said before its INIT, once for all that follow at the same place."""
        for record in piece[piece["kind"] == Kind.MOUNTED]:
            generation = self._generations.of(int(record["connection"]))
            path, known = part(record).decode(errors="surrogateescape"), self.mounts.setdefault(generation, set())
            if known and path not in known:
                self._next_mount[generation[0]] = path
            else:
                known.add(path)

    def _mounts_now(self, mounts: "Mapping[Generation, set[str]]") -> dict[int, str]:
        """Mount points by number, of the connections that have these numbers now."""
        return {
            generation[0]: min(paths)
            for generation, paths in mounts.items()
            if paths and self._generations.of(generation[0]) == generation
        }

    def _note_servers(self, piece: Records) -> None:
        """Set-up is the server's doing."""
        if self._wanted.server is None:
            return
        setups = piece[_IS_SETUP[piece["kind"]] & (piece["pid"] == self._wanted.server)]
        self._served |= {generation for generation, _ in self._generations.groups(setups["connection"])}

    def _note(self, rows: Requests_, fits: Mask, generation: Generation | None = None) -> None:
        """Keep which requests are wanted; ``generation``: their connection, if it is not the present one."""
        groups = (
            [(generation, np.ones(len(rows), np.bool_))] if generation else self._generations.groups(rows["connection"])
        )
        for connection, mine in groups:
            self._found.setdefault(connection, []).append(rows["unique"][mine & fits])
            if self._wanted.server is not None and (rows["server_pid"][mine] == self._wanted.server).any():
                self._served.add(connection)

    def connections(self) -> "set[Generation] | None":
        """Which connections are wanted; None: all."""
        wanted, chosen = self._wanted, set(self._seen)
        if not wanted.by_connection:
            return None
        for connection, path in self._next_mount.items():
            self.mounts.setdefault(self._generations.of(connection), set()).add(path)
        if wanted.mounts:
            chosen &= {generation for generation, paths in self.mounts.items() if paths & wanted.mounts}
        return chosen & self._served if wanted.server is not None else chosen

    def judge_the_rest(self) -> None:
        """The recording has ended: what is under way will not end."""
        rows = self._model.requests.under_way
        self._note(rows, self._criteria.under_way(rows))

    def choice(self) -> Chosen:
        """What shows what was found; a new one for each pass."""
        uniques = None
        if self._wanted.by_request:
            uniques = {generation: np.unique(np.concatenate(parts)) for generation, parts in self._found.items()}
            self._found = {generation: [found] for generation, found in uniques.items()}
        return Chosen(self._wanted, self.connections(), uniques)


_IS_SETUP: Final = among((Kind.INIT, Kind.REGISTER, Kind.ADD_QUEUE, Kind.ADD_BUFPOOL))


class _Shown(Requests):
    """Requests, all of them; of those that ended or are under way those that are chosen are told of."""

    def __init__(self, choice: Choice, *, whole: bool) -> None:
        super().__init__(whole=whole)
        self._choice = choice

    @property
    def under_way(self) -> Requests_:
        """Those that have not ended and are shown."""
        rows = super().under_way
        return rows[self._choice.under_way(rows)]

    def feed(self, batch: Records, lost: bool = False) -> Requests_:
        """As of all, but those that are not shown are left out."""
        finished = super().feed(batch, lost)
        return finished[self._choice.ended(finished)]

    def entries(self) -> dict[tuple[int, int], int]:
        """Of queues that are shown."""
        return {place: number for place, number in super().entries().items() if self._choice.has(*place)}


@dataclass
class Playing(Conversation):
    """A conversation of a recording, of which only what is chosen is shown and counted.

    ``shown``: what is of the last batch.
    """

    choice: Choice | None = None
    shown: Records = field(default_factory=no_records)

    def feed(self, batch: Records) -> Requests_:
        """As of any conversation; what ended and is chosen is returned."""
        self.shown = batch if self.choice is None else no_records()
        return super().feed(batch)

    def _feed(self, batch: Records, lost: bool) -> Requests_:
        if self.choice is None:
            return super()._feed(batch, lost)
        fed = [self._feed_chosen(piece, lost, self.choice) for piece in cut_at_beginnings(batch)]
        return fed[0] if len(fed) == 1 else np.concatenate(fed)

    def _feed_chosen(self, piece: Records, lost: bool, choice: Choice) -> Requests_:
        taken = choice.take(piece, lost)
        finished = self.requests.feed(piece, lost)
        self._take_in(_only(piece, taken.known), finished, lost)
        self._note_events(_only(piece, taken.counted))
        shown = _only(piece, taken.shown)
        self.shown = np.concatenate([self.shown, shown]) if len(self.shown) else shown
        return finished


def _only(records: Records, chosen: Mask) -> Records:
    return records if chosen.all() else records[chosen]


def playing(choice: Choice | None, *, whole: bool) -> Playing:
    """A conversation from the start on; ``whole``: as of :class:`~furtrace.model.requests.Requests`."""
    return Playing(Requests(whole=whole) if choice is None else _Shown(choice, whole=whole), choice=choice)
