"""Lines for a log: one a request as strace would, or one an event.

A line is made for each of tens of thousands of requests a second, so columns are taken out of the arrays as lists once
a batch, and what most requests do not have costs them nothing.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from furtrace.model.operations import phase_ns
from furtrace.model.paths import OF_TWO, Paths, Subject
from furtrace.model.requests import Requests_, first_seen, state
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import Flag, Kind, Records, among
from furtrace.views.arguments import NAMED_BESIDES, arguments, results
from furtrace.views.copying import copying
from furtrace.views.event_lines import COMMANDS, EventFormat, Remembered, label, place, texts_of
from furtrace.views.names import comm, quoted_names
from furtrace.views.units import Clock
from furtrace.wire.opcodes import opcode_name

_IS_NOTED: Final = among((Kind.INIT, *COMMANDS, Kind.READY, Kind.REFUSED, Kind.STOPPED, Kind.LOST))


def _subjects(rows: Requests_, subjects: list[Subject]) -> list[str]:
    """The path of each request, with what else it names: ``/old to=/new``, ``/file "user.attribute"``."""
    texts = [subject.path.shown for subject in subjects]
    for at in np.flatnonzero(np.isin(rows["opcode"], _OF_TWO)).tolist():
        other = subjects[at].other
        if other is not None:
            texts[at] += f" {label(rows['opcode'][at])}={other.shown}"
    named = np.flatnonzero((rows["name_size"] != 0) & np.isin(rows["opcode"], NAMED_BESIDES))
    columns = (rows[name][named].tolist() for name in ("name", "name_size", "second", "flags"))
    for at, name, size, second, flags in zip(named.tolist(), *columns, strict=True):
        texts[at] += " " + quoted_names(name, size, second, cut=bool(flags & _NAME_CUT))[-1]
    return texts


_NAME_CUT: Final = int(Flag.NAME_CUT)
_OF_TWO: Final = tuple(map(int, OF_TWO))


def _client(name: bytes, pid: int, tid: int) -> str:
    return f"{comm(name) or '?'}[{pid or tid or '?'}]"


_CLIENT: Final = ("client_comm", "client_pid", "client_tid")
_PLACE: Final = ("connection", "queue", "entry_index", "transport")


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
        texts[at] = _known_phases(durations[:, at].tolist(), rows[at])
    return texts


def _known_phases(durations: list[int], row: np.void) -> str:
    """Durations of a request of which not all is known: ``?`` for those; the phases left out where none is known.

    One that was there before the trace has its whole duration to a tick of the kernel's clock.
    """
    total, *phases = ("?" if ns < 0 else f"{ns / 1000:.1f}" for ns in durations)
    text = total if total == "?" else f"{total}us"
    if total == "?" and row["made_ns"] and row["ended_ns"] > row["made_ns"]:
        text = f"~{(row['ended_ns'] - row['made_ns']) / 1000:.0f}us"
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
        self._events = EventFormat(info)
        self._paths = paths
        self._clients, self._places = Remembered(_client), Remembered(place)
        self._format = "%s %s %s %s %s%s " + ("->" if ascii_only else "\N{RIGHTWARDS ARROW}") + " %s <%s>"

    def ended(self, rows: Requests_) -> Iterable[str]:
        """Lines of the requests that ended in the last batch, in the order in which they did."""
        columns = (
            self._clock.all(first_seen(rows)),
            self._places.of_columns(rows, _PLACE),
            self._clients.of_columns(rows, _CLIENT),
            texts_of(rows["opcode"], opcode_name),
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

    def noted(self, batch: Records) -> list[str]:
        """Lines of the events that belong to no request: set-up, commands that the kernel refused, losses."""
        events = batch[_IS_NOTED[batch["kind"]]]
        return self._events.lines(events, [None] * len(events), [""] * len(events)) if len(events) else []


def ended_before(finished: Requests_, batch: Records) -> list[int]:
    """How many of the requests that ended in a batch did so before each event that :meth:`RequestLines.noted` tells."""
    times = batch["ns"][_IS_NOTED[batch["kind"]]]
    ended = np.maximum.accumulate(finished["ended_ns"])
    places: list[int] = np.searchsorted(ended, np.maximum.accumulate(times), side="right").tolist()
    return places
