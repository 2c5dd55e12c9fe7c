"""Lines for a log: one a request as strace would, or one an event.

A line is made for each of tens of thousands of requests a second, so columns are taken out of the arrays as lists once
a batch, and what most requests do not have costs them nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import numpy as np

from furtrace.model.operations import phase_ns
from furtrace.model.paths import OF_TWO, Paths, Subject
from furtrace.model.requests import Requests, Requests_, first_seen, state
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import NO_CPU, NO_QUEUE, OPERATION_OFFSET, Flag, Kind, Records, Transport, events_only
from furtrace.views.arguments import NAMED_BESIDES, arguments, error_text, results
from furtrace.views.copying import copying
from furtrace.views.names import comm, quoted_names
from furtrace.views.ring_events import RING_EVENTS, place_words, ring_event
from furtrace.views.setup import describe_command, describe_init
from furtrace.views.units import Clock
from furtrace.wire.dialect import Dialect
from furtrace.wire.opcodes import Opcode, command_name, opcode_name

_COMMANDS: Final = (Kind.REGISTER, Kind.ADD_QUEUE, Kind.ADD_BUFPOOL)
_NOTED: Final = (Kind.INIT, *_COMMANDS, Kind.READY, Kind.REFUSED, Kind.STOPPED, Kind.LOST)


def place(connection: int, queue: int, entry: int | None, transport: int) -> str:
    """Where a request or command is: ``39:1.3`` is connection 39, queue 1, entry 3; ``39:dev`` is /dev/fuse."""
    if transport == Transport.DEV:
        return f"{connection}:dev"
    at = "?" if queue == NO_QUEUE else str(queue)
    return f"{connection}:{at}" + (f".{entry}" if entry is not None and entry >= 0 else "")


def _subjects(rows: Requests_, subjects: list[Subject]) -> list[str]:
    """The path of each request, with what else it names: ``/old to=/new``, ``/file "user.attribute"``."""
    texts = [subject.path.shown for subject in subjects]
    for at in np.flatnonzero(np.isin(rows["opcode"], _OF_TWO)).tolist():
        other = subjects[at].other
        if other is not None:
            texts[at] += f" {_label(rows['opcode'][at])}={other.shown}"
    for at in np.flatnonzero((rows["name_size"] != 0) & np.isin(rows["opcode"], NAMED_BESIDES)).tolist():
        row = rows[at]
        cut = bool(row["flags"] & Flag.NAME_CUT)
        found = quoted_names(row["name"].tobytes(), int(row["name_size"]), int(row["second"]), cut=cut)
        texts[at] += " " + found[-1]
    return texts


_OF_TWO: Final = tuple(map(int, OF_TWO))


def _label(opcode: int) -> str:
    """What the other path of a request is: LINK gives an inode a name, the others go from one to another."""
    return "from" if opcode == Opcode.LINK else "to"


class _Remembered(dict[Any, str]):
    """Texts by what they are made of; few are different, and each is made once."""

    def __init__(self, make: Callable[..., str]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, parts: Any) -> str:
        if len(self) >= _MOST_REMEMBERED:
            self.clear()
        text = self[parts] = self._make(*parts)
        return text

    def of_columns(self, rows: Requests_, names: tuple[str, ...]) -> list[str]:
        """The text of each row, made of these columns."""
        return list(map(self.__getitem__, zip(*(rows[name].tolist() for name in names), strict=True)))


def _client(name: bytes, pid: int, tid: int) -> str:
    return f"{comm(name) or '?'}[{pid or tid or '?'}]"


_MOST_REMEMBERED: Final = 10_000
_CLIENT: Final = ("client_comm", "client_pid", "client_tid")
_PLACE: Final = ("connection", "queue", "entry_index", "transport")


def _operations(rows: Requests_) -> list[str]:
    opcodes, at = np.unique(rows["opcode"], return_inverse=True)
    names: list[str] = np.array([*map(opcode_name, opcodes.tolist())], object)[at].tolist()
    return names


def _results(rows: Requests_) -> list[str]:
    """What came of each request, and how its data went where that is not always the same."""
    texts = results(rows)
    for at, text in copying(rows):
        texts[at] += f" {text}"
    return texts


_PHASES: Final = ("total", "wait", "server", "commit")


def _phases(rows: Requests_) -> list[str]:
    """Durations in microseconds, as in ``45.1us: wait 3.8, server 39.7, commit 1.6``."""
    durations = np.stack([phase_ns(rows, phase) for phase in _PHASES])
    columns = zip(*(durations / 1000).tolist(), strict=True)
    texts = ["%.1fus: wait %.1f, server %.1f, commit %.1f" % row for row in columns]  # noqa: UP031 - the fastest way
    for at in np.flatnonzero((durations < 0).any(axis=0)).tolist():
        texts[at] = _known_phases(durations[:, at].tolist())
    return texts


def _known_phases(durations: list[int]) -> str:
    """Durations of a request of which not all is known: ``?`` for those; the phases left out where none is known."""
    total, *phases = ("?" if ns < 0 else f"{ns / 1000:.1f}" for ns in durations)
    text = total if total == "?" else f"{total}us"
    if all(phase == "?" for phase in phases):
        return text
    return f"{text}: wait {phases[0]}, server {phases[1]}, commit {phases[2]}"


class RequestLines:
    """One line a request: time it began, place, client, operation, result, and how long each phase took.

    Durations are in microseconds. ``?`` stands for what is not known.

    Args:
        info: of the trace.
        paths: of the conversation that the requests are of.
        ascii_only: no arrow of Unicode.
    """

    def __init__(self, info: TraceInfo, paths: Paths, *, ascii_only: bool = False) -> None:
        self._clock = Clock(info.realtime_offset_ns)
        self._dialect = Dialect(info.dialect)
        self._paths = paths
        self._clients, self._places = _Remembered(_client), _Remembered(place)
        self._format = "%s %s %s %s %s%s " + ("->" if ascii_only else "\N{RIGHTWARDS ARROW}") + " %s <%s>"

    def ended(self, rows: Requests_) -> Iterable[str]:
        """Lines of the requests that ended in the last batch, in the order in which they did."""
        columns = (
            self._clock.all(first_seen(rows)),
            self._places.of_columns(rows, _PLACE),
            self._clients.of_columns(rows, _CLIENT),
            _operations(rows),
            _subjects(rows, self._paths.subjects(rows)),
            arguments(rows["opcode"], rows["operation_size"], rows["operation"]),
            _results(rows),
            _phases(rows),
        )
        return map(self._format.__mod__, zip(*columns, strict=True))

    def unfinished(self, rows: Requests_, now_ns: int) -> Iterator[str]:
        """Lines of requests that are still under way at ``now_ns``."""
        columns = zip(
            first_seen(rows).tolist(),
            self._places.of_columns(rows, _PLACE),
            self._clients.of_columns(rows, _CLIENT),
            rows["opcode"].tolist(),
            _subjects(rows, self._paths.present(rows)),
            arguments(rows["opcode"], rows["operation_size"], rows["operation"]),
            strict=True,
        )
        went = dict(copying(rows))
        for at, (begun, where, client, opcode, subject, asked) in enumerate(columns):
            how = f" {went[at]}" if at in went else ""
            age = f"{(now_ns - begun) / 1000:.1f}us"
            yield (
                f"{self._clock(begun)} {where} {client} {opcode_name(opcode)} {subject}{asked}{how} "
                f"<unfinished: {state(rows[at])}, {age}>"
            )

    def noted(self, batch: Records) -> Iterator[str]:
        """Lines of the events that belong to no request: set-up, commands that the kernel refused, losses."""
        for event in batch[np.isin(batch["kind"], _NOTED)]:
            yield event_line(event, self._clock, self._dialect, None)


def ended_before(finished: Requests_, batch: Records) -> list[int]:
    """How many of the requests that ended in a batch did so before each event that :meth:`RequestLines.noted` tells."""
    times = batch["ns"][np.isin(batch["kind"], _NOTED)]
    ended = np.maximum.accumulate(finished["ended_ns"])
    places: list[int] = np.searchsorted(ended, np.maximum.accumulate(times), side="right").tolist()
    return places


def event_line(event: np.void, clock: Clock, dialect: Dialect, entry: int | None, subject: str = "") -> str:
    """One line for one event: time, place, its name, and what it carried.

    ``subject``: the path and more of the request, for an event of one.
    """
    kind = Kind(event["kind"])
    if kind is Kind.LOST:
        return _loss_line(event, clock)
    where = place(int(event["connection"]), int(event["queue"]), entry, int(event["transport"]))
    words = [clock(int(event["ns"])), where, kind.name]
    if kind is Kind.INIT:
        words.append(describe_init(event["extra"].tobytes()[: int(event["extra_size"])], int(event["error"])))
    elif kind in _COMMANDS:
        words.append(describe_command(event, dialect))
    elif kind in (Kind.REFUSED, Kind.STOPPED):
        command = command_name(int(event["command_op"]))
        about = f" commit_id={event['commit_id']}" if event["commit_id"] else ""
        words.append(f"{command}{about} = {error_text(int(event['error']))}")
    elif kind in RING_EVENTS:
        words.append(ring_event(event, kind, _about(event, subject) if event["unique"] else ""))
    else:
        words.append(_request_event(event, kind, subject))
    words.append(f"{comm(event['comm'].tobytes()) or '?'}[{event['tid']}]")
    if event["flags"] & Flag.CQE_OVERFLOW:
        words.append("(the completion queue overflowed)")
    return " ".join(words)


def _loss_line(event: np.void, clock: Clock) -> str:
    count, cpu = int(event["length"]), int(event["cpu"])
    why = "as the kernel ran no probe" if cpu == NO_CPU else f"on CPU {cpu}"
    until = clock(int(event["user_data"]))
    return f"{clock(int(event['ns']))} LOST {count} event{'' if count == 1 else 's'} until {until}, {why}"


def _about(event: np.void, subject: str) -> str:
    opcode = opcode_name(int(event["opcode"])) if event["opcode"] else "?"
    return f"unique={event['unique']} {opcode}" + (f" {subject}" if subject else "")


def _request_event(event: np.void, kind: Kind, subject: str) -> str:
    text = _about(event, subject)
    if kind is Kind.QUEUED:
        text += _event_arguments(event)
    if kind in (Kind.DELIVERED, Kind.COMMITTED) and event["transport"] == Transport.URING:
        text += f" commit_id={event['commit_id']}"
        if event["header_size"]:
            text += f" payload_sz={int.from_bytes(event['header'].tobytes()[272:276], 'little')}"
        text = " ".join([text, *place_words(event)])
    if kind in (Kind.COMMITTED, Kind.ENDED) and event["flags"] & Flag.HAS_ERROR:
        text += f" error={error_text(int(event['error']))}"
    return text


def _event_arguments(event: np.void) -> str:
    """The operation's structure as QUEUED brings it, and names that are no part of the path."""
    head = event["header"].tobytes()[OPERATION_OFFSET:]
    size = max(0, int(event["header_size"]) - OPERATION_OFFSET)
    found = arguments(np.array([event["opcode"]]), np.array([size], np.uint16), np.frombuffer(head[:128], "V128"))
    if event["opcode"] not in NAMED_BESIDES:
        return found[0]
    cut = bool(event["flags"] & Flag.NAME_CUT)
    given = quoted_names(event["extra"].tobytes(), int(event["extra_size"]), int(event["second"]), cut=cut)
    return "".join(f" {name}" for name in given[-1:]) + found[0]


class EventLines:
    """One line an event."""

    def __init__(self, info: TraceInfo, requests: Requests, paths: Paths) -> None:
        self._clock = Clock(info.realtime_offset_ns)
        self._dialect = Dialect(info.dialect)
        self._requests = requests
        self._paths = paths

    def lines(self, batch: Records) -> Iterator[str]:
        """Lines of a batch that the model has taken in already."""
        for event in events_only(batch):
            # The batch may end with the entry's first request: before that its number was not known, however it is cut.
            place_ = int(event["connection"]), int(event["queue"]), int(event["entry"]), int(event["ns"])
            subject = self._subject(event) if event["unique"] else ""
            yield event_line(event, self._clock, self._dialect, self._requests.entry_index(*place_), subject)

    def _subject(self, event: np.void) -> str:
        subject = self._paths.of_event(event)
        if subject.other is None:
            return subject.path.shown
        return f"{subject.path.shown} {_label(event['opcode'])}={subject.other.shown}"
