"""Lines for a log, one an event: columns are told for a whole batch, as of requests."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from furtrace.model.paths import Paths, Subject
from furtrace.model.requests import Places, Requests
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import (
    HEADER_SIZE,
    NO_CPU,
    NO_QUEUE,
    OPERATION_OFFSET,
    PAYLOAD_SIZE_OFFSET,
    Flag,
    Kind,
    Records,
    Transport,
    events_only,
)
from furtrace.views.arguments import NAMED_BESIDES, arguments
from furtrace.views.names import comm, quoted_names
from furtrace.views.ring_events import RING_EVENTS, place_words, ring_event
from furtrace.views.setup import describe_command, describe_init
from furtrace.views.units import Clock
from furtrace.wire.dialect import Dialect
from furtrace.wire.errnos import error_text
from furtrace.wire.opcodes import Opcode, command_name, opcode_name

COMMANDS: Final = (Kind.REGISTER, Kind.ADD_QUEUE, Kind.ADD_BUFPOOL)
_MOST_REMEMBERED: Final = 10_000


def place(connection: int, queue: int, entry: int | None, transport: int) -> str:
    """Where a request or command is: ``39:1.3`` is connection 39, queue 1, entry 3; ``39:dev`` is /dev/fuse."""
    if transport == Transport.DEV:
        return f"{connection}:dev"
    at = "?" if queue == NO_QUEUE else str(queue)
    return f"{connection}:{at}" + (f".{entry}" if entry is not None and entry >= 0 else "")


def label(opcode: int) -> str:
    """What the other path of a request is: LINK gives an inode a name, the others go from one to another."""
    return "from" if opcode == Opcode.LINK else "to"


class Remembered(dict[Any, str]):
    """Texts by what they are made of; few are different, and each is made once."""

    def __init__(self, make: Callable[..., str]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, parts: Any) -> str:
        if len(self) >= _MOST_REMEMBERED:
            self.clear()
        text = self[parts] = self._make(*parts)
        return text

    def of_columns(self, rows: npt.NDArray[np.void], names: tuple[str, ...]) -> list[str]:
        """The text of each row, made of these columns."""
        return list(map(self.__getitem__, zip(*(rows[name].tolist() for name in names), strict=True)))


class EventFormat:
    """Makes lines of events: time, place, the event's name, what it carries, and the task that it happened in."""

    def __init__(self, info: TraceInfo) -> None:
        self._clock = Clock(info.realtime_offset_ns)
        self._dialect = Dialect(info.dialect)
        self._places, self._tasks = Remembered(place), Remembered(_task)

    def lines(self, events: Records, entries: Sequence[int | None], subjects: Sequence[str]) -> list[str]:
        """A line for each.

        Args:
            events: no hints.
            entries: the number of each one's entry within its queue, as far as it is known.
            subjects: path and more of the request that each is about; empty: of none.
        """
        numbers = (events[name].tolist() for name in ("connection", "queue"))
        where = zip(*numbers, entries, events["transport"].tolist(), strict=True)
        kinds = events["kind"].tolist()
        columns = (
            self._clock.all(events["ns"]),
            map(self._places.__getitem__, where),
            map(_KIND_NAMES.__getitem__, kinds),
            self._bodies(events, subjects),
            self._tasks.of_columns(events, ("comm", "tid")),
        )
        lines = list(map("%s %s %s %s %s".__mod__, zip(*columns, strict=True)))
        for at in np.flatnonzero(events["flags"] & _CQE_OVERFLOW).tolist():
            lines[at] += " (the completion queue overflowed)"
        for at in np.flatnonzero(events["kind"] == Kind.LOST).tolist():
            lines[at] = _loss_line(events[at], self._clock)
        return lines

    def _bodies(self, events: Records, subjects: Sequence[str]) -> list[str]:
        """What stands between the event's name and its task."""
        bodies = _abouts(events, subjects)
        kinds = events["kind"]
        for kind, add in _ADDITIONS:
            at = np.flatnonzero(kinds == kind)
            if len(at):
                add(bodies, events, at)
        others = np.flatnonzero(~np.isin(kinds, _FATES))
        uniques = events["unique"][others].tolist()
        for index, unique in zip(others.tolist(), uniques, strict=True):
            bodies[index] = _other_body(events[index], self._dialect, bodies[index] if unique else "")
        return bodies


_KIND_NAMES: Final = {int(kind): kind.name for kind in Kind}
_CQE_OVERFLOW: Final = np.uint16(Flag.CQE_OVERFLOW)
_FATES: Final = (Kind.QUEUED, Kind.DELIVERED, Kind.COMMITTED, Kind.ENDED)


def _task(name: bytes, tid: int) -> str:
    return f"{comm(name) or '?'}[{tid}]"


def _loss_line(event: np.void, clock: Clock) -> str:
    count, cpu = int(event["length"]), int(event["cpu"])
    why = "as the kernel ran no probe" if cpu == NO_CPU else f"on CPU {cpu}"
    until = clock(int(event["user_data"]))
    return f"{clock(int(event['ns']))} LOST {count} event{'' if count == 1 else 's'} until {until}, {why}"


def _abouts(events: Records, subjects: Sequence[str]) -> list[str]:
    """Which request each event is about: ``unique=84 WRITE /dir/f``."""
    names = texts_of(events["opcode"], lambda opcode: opcode_name(opcode) if opcode else "?")
    columns = zip(events["unique"].tolist(), names, subjects, strict=True)
    return ["unique=%d %s %s" % each if each[2] else "unique=%d %s" % each[:2] for each in columns]  # noqa: UP031


def texts_of(values: npt.NDArray[Any], say: Callable[[Any], str]) -> list[str]:
    """The text of each value; few are different, and each is made once."""
    distinct, at = np.unique(values, return_inverse=True)
    texts: list[str] = np.array([*map(say, distinct.tolist())], object)[at].tolist()
    return texts


def _add_arguments(bodies: list[str], events: Records, at: Places) -> None:
    """The operation's structure as QUEUED brings it, and names that are no part of the path."""
    opcodes, sizes = events["opcode"][at], events["header_size"][at].astype(np.int32) - OPERATION_OFFSET
    heads = _part(events, at, OPERATION_OFFSET, 128).view("V128")[:, 0]
    asked = arguments(opcodes, np.maximum(sizes, 0).astype(np.uint16), heads)
    named = np.isin(opcodes, NAMED_BESIDES).tolist()
    for place_, text, has_name in zip(at.tolist(), asked, named, strict=True):
        bodies[place_] += _quoted_name(events[place_]) + text if has_name else text


def _quoted_name(event: np.void) -> str:
    cut = bool(event["flags"] & Flag.NAME_CUT)
    given = quoted_names(event["extra"].tobytes(), int(event["extra_size"]), int(event["second"]), cut=cut)
    return "".join(f" {name}" for name in given[-1:])


def _part(events: Records, at: Places, offset: int, size: int) -> npt.NDArray[np.uint8]:
    """Bytes of the headers of some events."""
    headers = np.ascontiguousarray(events["header"][at])
    return np.ascontiguousarray(headers.view(np.uint8).reshape(len(at), HEADER_SIZE)[:, offset : offset + size])


def _add_message(bodies: list[str], events: Records, at: Places) -> None:
    """What server and kernel tell each other in an entry, and where its data is."""
    at = at[events["transport"][at] == Transport.URING]
    payload_sizes = _part(events, at, PAYLOAD_SIZE_OFFSET, 4).view("<u4")[:, 0]
    columns = (events["commit_id"][at], payload_sizes, events["header_size"][at], events["flags"][at] & _IN_PLACE)
    for place_, commit, payload, has_header, is_placed in zip(
        at.tolist(), *(each.tolist() for each in columns), strict=True
    ):
        text = f" commit_id={commit}" + (f" payload_sz={payload}" if has_header else "")
        bodies[place_] += " ".join([text, *place_words(events[place_])]) if is_placed else text


_IN_PLACE: Final = np.uint16(Flag.HAS_BUFFER | Flag.HAS_SLOT)


def _add_error(bodies: list[str], events: Records, at: Places) -> None:
    at = at[(events["flags"][at] & _HAS_ERROR) != 0]
    for place_, text in zip(at.tolist(), texts_of(events["error"][at], error_text), strict=True):
        bodies[place_] += f" error={text}"


_HAS_ERROR: Final = np.uint16(Flag.HAS_ERROR)
_ADDITIONS: Final = (
    (Kind.QUEUED, _add_arguments),
    (Kind.DELIVERED, _add_message),
    (Kind.COMMITTED, _add_message),
    (Kind.COMMITTED, _add_error),
    (Kind.ENDED, _add_error),
)
"""What an event of each kind says beside which request it is about."""


def _other_body(event: np.void, dialect: Dialect, about: str) -> str:
    """What an event says that is none of those that every request has; ``about``: its request, if it has one."""
    kind = Kind(event["kind"])
    if kind is Kind.INIT:
        return describe_init(event["extra"].tobytes()[: int(event["extra_size"])], int(event["error"]))
    if kind in COMMANDS:
        return describe_command(event, dialect)
    if kind in (Kind.REFUSED, Kind.STOPPED):
        commit = f" commit_id={event['commit_id']}" if event["commit_id"] else ""
        return f"{command_name(int(event['command_op']))}{commit} = {error_text(int(event['error']))}"
    return ring_event(event, kind, about) if kind in RING_EVENTS else about


class EventLines:
    """One line an event."""

    def __init__(self, info: TraceInfo, requests: Requests, paths: Paths) -> None:
        self._format = EventFormat(info)
        self._requests = requests
        self._paths = paths

    def lines(self, batch: Records) -> list[str]:
        """Lines of a batch that the model has taken in already."""
        events = events_only(batch)
        opcodes = events["opcode"].tolist()
        found = zip(self._paths.of_events(events), opcodes, strict=True)
        subjects = [_shown(subject, opcode) if subject is not None else "" for subject, opcode in found]
        return self._format.lines(events, self._entries(events), subjects)

    def _entries(self, events: Records) -> list[int | None]:
        """The number of each event's entry.

        The batch may end with the entry's first request: before that its number was not known, however it is cut.
        """
        known: dict[tuple[int, int, int], tuple[int | None, int]] = {}
        numbers = []
        columns = (events[name].tolist() for name in ("connection", "queue", "entry"))
        for where, ns in zip(zip(*columns, strict=True), events["ns"].tolist(), strict=True):
            entry = known.get(where)
            if entry is None:
                connection, _, address = where
                since = self._requests.entry_since(connection, address)
                entry = known[where] = self._requests.entry_index(*where), since
            numbers.append(entry[0] if ns >= entry[1] else None)
        return numbers


def _shown(subject: Subject, opcode: int) -> str:
    if subject.other is None:
        return subject.path.shown
    return f"{subject.path.shown} {label(opcode)}={subject.other.shown}"
