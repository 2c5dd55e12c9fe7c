"""Flow diagrams: the steps of a request, and at which times it took those of them that were seen.

Two columns, kernel and server, as in the document of FUSE over io_uring; at the left the time since the request was
first seen, and since the step before. A step that nothing has shown stands there dim and without a time.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from furtrace.model.flows import Flow, dry_selections, told_size, traits_of
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import Flag, Kind, Records
from furtrace.trace.record import Step as Function
from furtrace.views.fitting import drawn_width
from furtrace.views.flow_steps import ELSEWHERE, PRIOR, READY, SETUP_COMMANDS, Side, Step, setup_command, steps_of
from furtrace.views.live_table import Glyphs
from furtrace.views.ring_events import details, place_words, step_name
from furtrace.views.setup import describe_command
from furtrace.views.units import duration
from furtrace.views.wrapping import wrapped
from furtrace.wire.dialect import Dialect
from furtrace.wire.errnos import error_text
from furtrace.wire.opcodes import command_name, header_part_name

_TIME: Final = 7
_NARROW: Final = 100
"""Columns below which calls are indented by one, not by two."""


@dataclass(frozen=True)
class Row:
    """A line of a diagram. ``event``: what has shown the step; None: nothing. ``carried``: what that told."""

    step: Step
    event: np.void | None = None
    carried: str = ""

    @property
    def ns(self) -> int | None:
        """When it was seen."""
        return None if self.event is None else int(self.event["ns"])


@dataclass(frozen=True)
class Diagram:
    """A diagram.

    ``title``: which request it is of. ``begin_ns``: what times are since; 0: the first row that has one. ``notes``:
    what there is to say below it.
    """

    title: str
    rows: Sequence[Row]
    begin_ns: int = 0
    notes: Sequence[str] = ()


# ---- from events to rows ----


def sign_of(flow: Flow, event: np.void) -> str:
    """The name by which a step of :mod:`furtrace.views.flow_steps` asks for an event."""
    kind = Kind(event["kind"])
    if kind is Kind.STEP:
        return _sign_of_function(flow, event)
    if kind is Kind.SELECTED and event["error"]:
        return "DRY"
    if kind is Kind.COMMITTED and not flow.is_own(event):
        return "PRIOR_COMMITTED"
    return kind.name


def _sign_of_function(flow: Flow, event: np.void) -> str:
    number = int(event["step"])
    name = Function(number).name if number in set(Function) else str(number)
    if number == Function.COPY_HEADER_TO_RING:
        return f"{name}:{header_part_name(int(event['command_op']))}"
    if number == Function.CMD:
        return f"{name}:{command_name(int(event['command_op']))}"
    committed = int(flow.row["committed_ns"])
    if number == Function.GET_NEXT_FUSE_REQ and (not committed or int(event["ns"]) < committed):
        return f"PRIOR_{_NEXT}"
    return name


_NEXT: Final = Function.GET_NEXT_FUSE_REQ.name


def rows_of(flow: Flow, dialect: Dialect) -> list[Row]:
    """The steps that a request went through, each with the event that has shown it; what fits no step, by its time."""
    _, elsewhere, _ = dry_selections(flow)
    others = {event.tobytes() for event in elsewhere}
    waiting: dict[str, deque[np.void]] = defaultdict(deque)
    for event in flow.events:
        if event.tobytes() not in others:
            waiting[sign_of(flow, event)].append(event)
    rows = []
    for step in steps_of(traits_of(flow, dialect)):
        event = waiting[step.sign].popleft() if step.sign and waiting[step.sign] else None
        rows.append(Row(step, event, carried(event, flow) if event is not None else ""))
    _move_prior(rows)
    for event in elsewhere:
        _insert_elsewhere(rows, Row(ELSEWHERE[-1], event, carried(event, flow)))
    for event in sorted((event for events in waiting.values() for event in events), key=lambda event: int(event["ns"])):
        _insert(rows, Row(_unexpected(event), event, carried(event, flow)))
    return rows


def _move_prior(rows: list[Row]) -> None:
    """Put the commit at which the entry took the request before all that was seen after it."""
    at = next((at for at, row in enumerate(rows) if row.step.sign == PRIOR[-1].sign and row.ns is not None), None)
    if at is None:
        return
    start = at + 1 - len(PRIOR)
    block = rows[start : at + 1]
    place = _before_later(rows[:start], rows[at].ns or 0)
    del rows[start : at + 1]
    rows[place:place] = block


def _insert_elsewhere(rows: list[Row], row: Row) -> None:
    place = _before_later(rows, row.ns or 0)
    goes_on = place > 0 and rows[place - 1].step == row.step
    rows[place:place] = [row] if goes_on else [*map(Row, ELSEWHERE[:-1]), row]


def _before_later(rows: Sequence[Row], ns: int) -> int:
    """The place before the first row that was seen after this time, and before the unseen calls that it stands in."""
    place = next((place for place, row in enumerate(rows) if row.ns is not None and row.ns > ns), len(rows))
    while 0 < place < len(rows) and _leads_to(rows[place - 1], rows[place]):
        place -= 1
    return place


def _leads_to(row: Row, other: Row) -> bool:
    """Whether a step that was not seen is the call that another one stands in, or what the server did before it."""
    if row.event is not None or row.step.side is not other.step.side:
        return False
    return row.step.side is Side.SERVER or row.step.depth < other.step.depth


def _unexpected(event: np.void) -> Step:
    kind = Kind(event["kind"])
    if kind is Kind.STEP:
        return Step(Side.KERNEL, 0, f">{step_name(int(event['step']))}()")
    side = Side.SERVER if kind in (Kind.FIXED_IO, Kind.REFUSED) else Side.KERNEL
    return Step(side, 0, f"[{kind.name}]")


def _insert(rows: list[Row], row: Row) -> None:
    """Put a row behind the last one that is not later."""
    ns = row.ns or 0
    earlier = [at for at, other in enumerate(rows) if other.ns is not None and other.ns <= ns]
    rows.insert(earlier[-1] + 1 if earlier else 0, row)


def carried(event: np.void, flow: Flow) -> str:
    """What an event tells beside that it happened."""
    kind = Kind(event["kind"])
    if kind is Kind.COMMITTED and not flow.is_own(event):
        return f"commit_id={event['commit_id']}"
    if kind in (Kind.DELIVERED, Kind.COMMITTED):
        return " ".join(_message(event, kind))
    if kind is Kind.QUEUED:
        return f"unique={event['unique']}"
    if kind is Kind.ENDED:
        return f"error={error_text(int(event['error']))}"
    if kind in (Kind.REFUSED, Kind.STOPPED):
        return _refusal(event)
    return details(event, kind)


def _refusal(event: np.void) -> str:
    return f"{command_name(int(event['command_op']))} = {error_text(int(event['error']))}"


def _message(event: np.void, kind: Kind) -> Iterator[str]:
    """What stands in an entry's header, and where the payload is."""
    if event["commit_id"]:
        yield f"commit_id={event['commit_id']}"
    size = told_size(event)
    if size is not None:
        yield f"payload_sz={size}"
    if event["headers"]:
        yield f"headers={int(event['headers']):#x}"
    yield from place_words(event)
    if kind is Kind.COMMITTED and event["flags"] & Flag.HAS_ERROR:
        yield f"error={error_text(int(event['error']))}"


def request_diagram(flow: Flow, info: TraceInfo, line: str) -> Diagram:
    """The diagram of a request.

    Args:
        flow: its events.
        info: of the trace.
        line: the request as a log has it.
    """
    rows = rows_of(flow, Dialect(info.dialect))
    return Diagram(line, rows, begin_ns=flow.begin_ns, notes=list(_notes(flow, info, rows)))


def _notes(flow: Flow, info: TraceInfo, rows: Sequence[Row]) -> Iterator[str]:
    seen = [row for row in rows if row.event is not None]
    yield f"{len(seen)} of {len(rows)} steps were seen" + (_span(seen) if len(seen) > 1 else "") + "."
    missing = [row.step for row in rows if row.event is None and row.step.sign]
    if missing:
        yield _why_missing(missing, info)
    if any(row.event is None and not row.step.sign for row in rows):
        yield "Other dim steps happen inside kernel or server, where furtrace does not watch."
    if any(row.step.sign == "DELIVERED" and row.step.text == "[CQE received]" for row in seen):
        yield "[CQE received] has the time at which the kernel posted the CQE."
    if flow.doubtful:
        yield "Events were lost meanwhile, so steps may be missing."


def _span(seen: Sequence[Row]) -> str:
    times = [row.ns for row in seen if row.ns is not None]
    return f", within {duration(max(times) - min(times))}"


def _why_missing(missing: Sequence[Step], info: TraceInfo) -> str:
    inner = [step for step in missing if step.sign in _INNER or step.sign.split(":")[0] in _FUNCTIONS]
    count = "1 dim step" if len(missing) == 1 else f"{len(missing)} dim steps"
    if inner and info.steps != "kernel":
        return (
            f"Of {count}, {len(inner)} would show in a trace with --steps kernel, where the kernel lets its functions "
            "be watched."
        )
    names = ", ".join(dict.fromkeys(step.text.lstrip("<>[").rstrip("]") for step in missing))
    return f"{count}: not seen by this trace on this kernel: {names}."


_INNER: Final = {"COPIED", "RETURNED", "PAGES_RELEASED"}
"""Events of --steps kernel that are no STEP."""
_FUNCTIONS: Final = {function.name for function in Function} | {f"PRIOR_{_NEXT}"}


def example_diagram(title: str, steps: Iterable[Step]) -> Diagram:
    """A diagram of no request: the way that a kind of them goes."""
    return Diagram(title, [Row(step) for step in steps])


def setup_diagram(events: Records, info: TraceInfo, title: str) -> Diagram:
    """How a queue was set up.

    Args:
        events: its ADD_QUEUE, ADD_BUFPOOL and REGISTER, REFUSED and READY, and the returns of these commands.
        info: of the trace.
        title: which queue it is.
    """
    rows: list[Row] = []
    returns: dict[str, deque[np.void]] = defaultdict(deque)
    for event in events[events["kind"] == Kind.STEP]:
        returns[f"CMD:{command_name(int(event['command_op']))}"].append(event)
    for event in events[events["kind"] != Kind.STEP]:
        kind = Kind(event["kind"])
        if kind is Kind.READY:
            rows.append(Row(READY, event))
        elif kind is Kind.REFUSED:
            rows.append(Row(Step(Side.SERVER, 0, "[CQE received]", "REFUSED"), event, _refusal(event)))
        else:
            rows += _command_rows(event, kind, returns, Dialect(info.dialect))
    if all(row.step is not READY for row in rows):
        rows.append(Row(replace(READY, text="[not every queue has an entry yet, or READY was not seen]")))
    seen = sum(row.event is not None for row in rows)
    return Diagram(title, rows, notes=[f"{seen} of {len(rows)} steps were seen."])


def _command_rows(event: np.void, kind: Kind, returns: Mapping[str, deque[np.void]], dialect: Dialect) -> Iterator[Row]:
    for step in setup_command(kind.name):
        if step.sign == kind.name:
            yield Row(step, event, describe_command(event, dialect))
        elif step.sign and returns[step.sign] and returns[step.sign][0]["ns"] >= event["ns"]:
            returned = returns[step.sign].popleft()
            yield Row(step, returned, details(returned, Kind.STEP))
        else:
            yield Row(step)


assert set(SETUP_COMMANDS) <= set(Kind.__members__)


# ---- from rows to lines ----


@dataclass(frozen=True)
class _Columns:
    """Where things stand.

    ``kernel``, ``server``: cells of these columns. ``indent``: of a call within another. ``gap``: blanks beside bars.
    ``timed``: there is a gutter of times.
    """

    kernel: int
    server: int
    indent: int
    gap: str
    timed: bool

    @classmethod
    def of(cls, rows: Sequence[Row], width: int) -> "_Columns":
        """Columns of a diagram; the server's has what its words need, as far as there is room."""
        timed = any(row.event is not None for row in rows)
        indent, gap = (1, "") if width < _NARROW else (2, " ")
        room = width - (2 * (_TIME + 1) if timed else 0) - len(f"|{gap} |{gap}")
        needed = {side: _needed(rows, side, indent) for side in Side}
        server = max(_LEAST_SERVER, min(needed[Side.SERVER], room - needed[Side.KERNEL]), room * 2 // 5)
        server = min(server, max(_LEAST_SERVER, room - _needed_by_calls(rows, indent)))
        return cls(room - server, server, indent, gap, timed)


_LEAST_SERVER: Final = 16


def _needed(rows: Sequence[Row], side: Side, indent: int) -> int:
    return max((_cells(row, indent) for row in rows if row.step.side is side), default=0)


def _cells(row: Row, indent: int) -> int:
    carried = f"  {row.carried}" if row.carried else ""
    return row.step.depth * indent + cell_len(row.step.text + carried)


def _needed_by_calls(rows: Sequence[Row], indent: int) -> int:
    """What the kernel's column needs at least: names of functions are not broken."""
    calls = (row.step for row in rows if row.step.side is Side.KERNEL and row.step.text[0] in "<>")
    return max((step.depth * indent + cell_len(step.text) for step in calls), default=0)


class FlowView:
    """Draws a diagram.

    Args:
        diagram: what.
        glyphs: characters that may be shown.
    """

    def __init__(self, diagram: Diagram, glyphs: Glyphs) -> None:
        self._diagram = diagram
        self._glyphs = glyphs
        self._bar = "|" if glyphs.ascii_only else "\N{BOX DRAWINGS LIGHT VERTICAL}"

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines(drawn_width(options.max_width)):
            line.no_wrap, line.overflow = True, "ignore"
            yield line

    def lines(self, width: int) -> Iterator[Text]:
        """The diagram's lines, of at most so many columns."""
        diagram = self._diagram
        for text in wrapped(self._glyphs.plain(diagram.title), width, 2):
            yield Text(text, "bold")
        yield Text("")
        columns = _Columns.of(diagram.rows, width)
        yield self._line(("", ""), "Kernel", "FUSE server", columns, "bold", "bold")
        last: int | None = None
        begin = diagram.begin_ns
        for row in diagram.rows:
            begin = begin or row.ns or 0
            yield from self._row(row, begin, last, columns)
            last = row.ns if row.ns is not None else last
        yield Text("")
        for note in diagram.notes:
            pieces = wrapped(self._glyphs.plain(note), width, 2)
            for at, piece in enumerate(pieces):
                yield Text(("  " if at else "") + piece, "dim")

    def _row(self, row: Row, begin: int, last: int | None, columns: _Columns) -> Iterator[Text]:
        width = columns.kernel if row.step.side is Side.KERNEL else columns.server
        style = "" if row.event is not None or not columns.timed else "dim"
        times = ("", "")
        if row.ns is not None:
            times = _time(row.ns - begin), _time(row.ns - last) if last is not None else ""
        for piece, piece_style in self._pieces(row, width, columns.indent, style):
            kernel, server = (piece, "") if row.step.side is Side.KERNEL else ("", piece)
            yield self._line(times, kernel, server, columns, "", piece_style)
            times = ("", "")

    def _pieces(self, row: Row, width: int, indent: int, style: str) -> Iterator[tuple[str, str]]:
        """What stands in the column: the step's words, and beside or below them what it carried."""
        margin = min(row.step.depth * indent, max(0, width - _LEAST_SERVER))
        room = width - margin
        text, carried = self._glyphs.plain(row.step.text), self._glyphs.plain(row.carried)
        if carried and cell_len(text) + 2 + cell_len(carried) <= room:
            yield " " * margin + f"{text}  {carried}", style
            return
        for at, piece in enumerate(wrapped(text, room, 1)):
            yield " " * (margin + bool(at)) + piece.rstrip(), style
        if carried:
            for piece in wrapped(carried, room - 2):
                yield " " * (margin + 2) + piece.rstrip(), "cyan"

    def _line(self, times: tuple[str, str], kernel: str, server: str, columns: _Columns, head: str, style: str) -> Text:
        line = Text(style=head)
        for time in times if columns.timed else ():
            _append(line, f"{time:>{_TIME}} ")
        _append(line, self._bar + columns.gap)
        _append(line, kernel, style)
        _append(line, " " * (columns.kernel - cell_len(kernel)) + f" {self._bar}{columns.gap}")
        _append(line, server, style)
        line.rstrip()
        return line


def _append(line: Text, text: str, style: str = "") -> None:
    """Append a text, its blanks at the left as a piece of its own.

    In an SVG each piece has a place, and there are programs that leave such blanks out.
    """
    words = text.lstrip(" ")
    line.append(" " * (len(text) - len(words)))
    line.append(words, style or "none")


def _time(ns: int) -> str:
    """A time within the diagram; steps of two CPUs may be told the wrong way round."""
    return f"+{duration(ns)}" if ns >= 0 else f"-{duration(-ns)}"


# ---- as an object ----


def diagram_object(diagram: Diagram) -> dict[str, Any]:
    """A diagram as JSON has it: times in nanoseconds, null where a step was not seen."""
    times = [row.ns for row in diagram.rows if row.ns is not None]
    begin = diagram.begin_ns or (times[0] if times else 0)
    return {
        "title": diagram.title,
        "steps": [
            {
                "side": "kernel" if row.step.side is Side.KERNEL else "server",
                "depth": row.step.depth,
                "step": row.step.text,
                "event": row.step.sign or None,
                "ns": row.ns,
                "since_ns": None if row.ns is None else row.ns - begin,
                "carried": row.carried or None,
            }
            for row in diagram.rows
        ],
        "notes": list(diagram.notes),
    }
