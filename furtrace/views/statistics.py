"""What a recording came to, as text: its head, tables of requests, phases, queues, buffers, and trouble."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from furtrace.model.groups import PHASE_NAMES, Group
from furtrace.model.histograms import Distribution
from furtrace.model.statistics import PoolUse, QueueUse, Statistics, client_of
from furtrace.model.zerocopy import CopiedBecause
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import NO_QUEUE
from furtrace.views.copying import REASONS
from furtrace.views.distributions import axis, bars, counted, line, spread
from furtrace.views.fitting import Fit, needed, table
from furtrace.views.live_table import Glyphs
from furtrace.views.units import count, duration
from furtrace.wire.errnos import errno_name
from furtrace.wire.opcodes import command_name, opcode_name

SHARES: Final = (0.5, 0.9, 0.99, 0.999)
"""Which percentiles are told."""
_WIDEST: Final = 160

SORTS: Final[dict[str, Callable[[Group], float]]] = {
    "count": lambda group: group.count,
    "errors": lambda group: group.errors,
    "bytes": lambda group: group.moved,
    "p50": lambda group: group.latency["total"].percentile(0.5) or 0,
    "p99": lambda group: group.latency["total"].percentile(0.99) or 0,
    "max": lambda group: group.latency["total"].max_ns,
    "time": lambda group: group.latency["total"].sum_ns,
}
"""By what tables of requests are sorted, largest first: ``time`` is that of all requests of a group together."""


@dataclass(frozen=True)
class Shown:
    """What is asked for. ``by``: tables of requests. ``top``: rows of each. ``sort``: one of :data:`SORTS`.
    ``histogram``: the phase that is drawn in bars; None: a line for each.
    """  # noqa: D205 - one paragraph

    by: tuple[str, ...] = ("op", "queue")
    top: int = 20
    sort: str = "count"
    histogram: str | None = None


class StatisticsView:
    """Statistics, as wide as the terminal is.

    Args:
        info: of the recording.
        statistics: of it.
        shown: what is asked for.
        glyphs: what the terminal can show.
    """

    def __init__(self, info: TraceInfo, statistics: Statistics, shown: Shown, glyphs: Glyphs) -> None:
        self._info, self._statistics, self._shown, self._glyphs = info, statistics, shown, glyphs

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Give the lines."""
        for text in self.lines(options.max_width):
            yield Text(text, no_wrap=True, overflow="ignore")

    def lines(self, width: int) -> Iterator[str]:
        """Lines of so many columns at most; those of the head and of trouble may be longer."""
        yield from head(self._info, self._statistics)
        sections = [("Latency", self._latency(width)), *self._tables(width)]
        sections += [("Errors", self._errors(width)), ("Buffer pools", self._pools(width))]
        sections += [("Data", self._data()), ("Trouble", self._trouble())]
        for title, section in sections:
            found = list(section)
            if found:
                yield from ("", self._glyphs.rule * 2 + f" {title}", *found)

    # ---- phases ----

    def _latency(self, width: int) -> Iterator[str]:
        latency = self._statistics.overall().latency
        known = [phase for phase in PHASE_NAMES if latency[phase].count]
        if not known:
            return
        octaves = spread([latency[phase] for phase in known])
        columns = [Fit("phase", 0, text=True), Fit("requests", 5), Fit("mean", 4)]
        columns += [Fit(_named(share), 2 if share == SHARES[-1] else 1) for share in SHARES]
        columns.append(Fit("max", 1))
        rows = [_phase_cells(phase, latency[phase]) for phase in known]
        parts = 2 if width - needed(columns, rows) > 2 * (octaves[1] - octaves[0]) + 1 else 1
        columns.append(Fit(axis(octaves, parts), 3))
        rows = [
            [*row, line(latency[phase], octaves, parts, self._glyphs)] for phase, row in zip(known, rows, strict=True)
        ]
        yield from table(columns, rows, width, self._glyphs)
        drawn_phase = self._shown.histogram
        if drawn_phase is not None:
            times = latency[drawn_phase]
            yield ""
            yield f"{drawn_phase}: {counted(times.count, 'request')}"
            yield from bars(times, min(width, _WIDEST), self._glyphs)

    # ---- requests ----

    def _tables(self, width: int) -> Iterator[tuple[str, Iterator[str]]]:
        statistics = self._statistics
        for dimension in self._shown.by:
            if dimension == "queue":
                yield "Queues", self._queues(width)
                continue
            found = {
                "op": statistics.operations,
                "client": statistics.clients,
                "file": statistics.files,
                "connection": statistics.connections,
            }
            groups = found[dimension]() or []
            yield _TITLES[dimension], self._groups(dimension, groups, width)

    def _groups(self, dimension: str, groups: list[Group], width: int) -> Iterator[str]:
        chosen, left = self._sorted([group for group in groups if group.key is not None])
        rest = [group for group in groups if group.key is None]
        if not chosen:
            return
        name = Fit("operation" if dimension == "op" else dimension, 0, text=True)
        columns = [name, *_REQUEST_COLUMNS]
        rows = [[self._name(dimension, group), *self._cells(group)] for group in [*chosen, *rest]]
        yield from table(columns, rows, width, self._glyphs)
        if left:
            yield f"and {left} more"

    def _sorted(self, groups: list[Group]) -> tuple[list[Group], int]:
        """Those that are shown, and how many are not."""
        ordered = sorted(groups, key=lambda group: group.key or ())
        ordered.sort(key=SORTS[self._shown.sort], reverse=True)
        return ordered[: self._shown.top], max(0, len(ordered) - self._shown.top)

    def _name(self, dimension: str, group: Group) -> str:
        if group.key is None:
            return f"(others: {self._statistics.put_together(dimension)})"
        if dimension == "op":
            return opcode_name(group.key[0])
        if dimension == "client":
            pid, comm = client_of(group.key)
            return f"{self._glyphs.text(comm)}[{pid}]" if pid else "(not known)"
        if dimension == "file":
            return self._file(group.key)
        mount = self._info.mounts.get(group.key[0], "")
        return f"{group.key[0]} {self._glyphs.text(mount.encode(errors='surrogateescape'))}".rstrip()

    def _file(self, key: tuple[int, ...]) -> str:
        connection, path = self._statistics.path(key)
        where = f"{connection}:" if len(self._statistics.connections()) > 1 else ""
        marks = ("" if path.sure else "?") + (" (deleted)" if path.deleted else "")
        return where + self._glyphs.text(path.raw) + marks

    def _cells(self, group: Group) -> Sequence[str]:
        total = self._statistics.overall().count
        return (
            str(group.count),
            _share(group.count, total),
            str(group.errors or "-"),
            count(group.moved) if group.moved else "-",
            *(cell for phase in ("wait", "server") for cell in _percentiles(group.latency[phase], (0.5, 0.99))),
            *_percentiles(group.latency["total"], (0.5, 0.99)),
            duration(group.latency["total"].max_ns if group.latency["total"].count else None),
        )

    # ---- queues and pools ----

    def _queues(self, width: int) -> Iterator[str]:
        queues = self._statistics.queues()
        if not queues:
            return
        columns = [Fit("conn", 1), Fit("queue", 0), Fit("entries", 2), Fit("deepest", 3), *_REQUEST_COLUMNS]
        yield from table(columns, [self._queue(queue) for queue in queues], width, self._glyphs)

    def _queue(self, queue: QueueUse) -> Sequence[str]:
        connection, number = queue.place
        by_device = number == NO_QUEUE
        cells = self._cells(queue.requests) if queue.requests is not None else ["-"] * len(_REQUEST_COLUMNS)
        deepest = "-" if by_device else str(queue.deepest)
        return [str(connection), "none" if by_device else str(number), str(queue.entries or "-"), deepest, *cells]

    def _pools(self, width: int) -> Iterator[str]:
        pools = self._statistics.pools()
        if not pools:
            return
        waits = {queue.place: queue.requests for queue in self._statistics.queues()}
        columns = [Fit("conn", 1), Fit("queue", 0), Fit("buffers", 1), Fit("peak", 0), Fit("taken", 3), Fit("dry", 4)]
        columns += [Fit(f"held {_named(share)}", 2) for share in (0.5, 0.99)] + [Fit("held max", 4)]
        columns += [Fit("waited", 1), *(Fit(f"wait {_named(share)}", 2) for share in (0.5, 0.99)), Fit("wait max", 4)]
        rows = [_pool_cells(use, waits.get((use.pool.connection, use.pool.queue))) for use in pools]
        yield from table(columns, rows, width, self._glyphs)

    # ---- the rest ----

    def _errors(self, width: int) -> Iterator[str]:
        failures = self._statistics.failures
        if not failures:
            return
        by_error: dict[int, Counter[int]] = {}
        for (opcode, error), number in failures.items():
            by_error.setdefault(error, Counter())[opcode] += number
        ordered = sorted(by_error.items(), key=lambda one: -one[1].total())
        rows = [
            (
                errno_name(error),
                str(operations.total()),
                ", ".join(f"{opcode_name(opcode)} {number}" for opcode, number in operations.most_common()),
            )
            for error, operations in ordered[: self._shown.top]
        ]
        size = max(len(error) for error, _, _ in rows)
        number_size = max(len(total) for _, total, _ in rows)
        for name, total, operations in rows:
            text = f"{name:{size}}  {total:>{number_size}}  {operations}"
            yield text if len(text) <= width else text[: width - 1] + self._glyphs.cut
        if len(ordered) > len(rows):
            yield f"and {len(ordered) - len(rows)} more"

    def _data(self) -> Iterator[str]:
        overall, copying = self._statistics.overall(), self._statistics.copying
        if overall.moved:
            others = overall.moved - overall.read - overall.written
            by = {"READ": overall.read, "WRITE": overall.written, "others": others}
            shares = ", ".join(f"{count(moved)} by {who}" for who, moved in by.items() if moved)
            yield f"{count(overall.moved)} bytes moved: {shares}"
        done = CopiedBecause.ZERO_COPIED
        if copying.requests:
            zero_copied = copying.moved[done]
            yield (
                f"zero-copied: {counted(copying.requests[done], 'request')}, {count(zero_copied)} bytes; "
                f"copied: {count(overall.moved - zero_copied)} bytes"
            )
            for reason, words in REASONS.items():
                if copying.requests[reason]:
                    requests = counted(copying.requests[reason], "request")
                    yield f"copied, {words}: {requests}, {count(copying.moved[reason])} bytes"

    def _trouble(self) -> Iterator[str]:
        statistics, trouble = self._statistics, self._statistics.trouble
        for (command, error), number in trouble.refused.most_common():
            yield f"{counted(number, 'command')} refused: {command_name(command)} {errno_name(error)}"
        if trouble.overflows:
            yield f"{counted(trouble.overflows, 'CQE')} overflowed"
        uncertain = statistics.overall().uncertain
        if trouble.lost:
            places = [f"CPU {cpu}: {number}" for cpu, number in sorted(trouble.lost_by_cpu.items())]
            if trouble.passed_over:
                places.append(f"no probe run: {trouble.passed_over}")
            yield f"{counted(trouble.lost, 'event')} lost ({', '.join(places)})"
        if uncertain:
            were = "is" if uncertain == 1 else "are"
            yield f"{counted(uncertain, 'request')} {were} counted without times, since events of that time were lost"
        if statistics.forgotten:
            yield f"{counted(statistics.forgotten, 'request')} under way, too many to be remembered"


def head(info: TraceInfo, statistics: Statistics) -> Iterator[str]:
    """What was recorded, and how much it is."""
    yield f"Linux {info.kernel}  {info.dialect} dialect  by {info.vantage}"
    if info.filters:
        yield f"recorded with {info.filters}"
    seconds = statistics.duration_ns / 1e9
    begun = time.localtime((statistics.first_ns + info.realtime_offset_ns) / 1e9)
    if statistics.first_ns:
        yield f"begins {time.strftime('%Y-%m-%d %H:%M:%S', begun)}, lasts {duration(statistics.duration_ns)}"
    overall = statistics.overall()
    yield (
        f"{counted(overall.count, 'request')} ({overall.errors} with an error), {statistics.unfinished} unfinished, "
        f"{counted(statistics.total_events, 'event')}, {statistics.trouble.lost} lost"
    )
    if seconds:
        rate, events = overall.count / seconds, statistics.total_events / seconds
        yield f"{count(rate)} requests/s  {count(events)} events/s  {count(overall.moved / seconds)} bytes/s"


def _phase_cells(phase: str, times: Distribution) -> list[str]:
    return [
        phase,
        str(times.count),
        duration(times.mean_ns),
        *_percentiles(times, SHARES),
        duration(times.max_ns if times.count else None),
    ]


def _named(share: float) -> str:
    return f"p{share * 100:g}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"


def _percentiles(times: Distribution, shares: Sequence[float]) -> list[str]:
    return [duration(times.percentile(share)) for share in shares]


def _pool_cells(use: PoolUse, requests: Group | None) -> Sequence[str]:
    pool, held = use.pool, use.held
    waited = requests.latency["buffer"] if requests is not None else None
    watched = pool.watched
    return [
        str(pool.connection),
        str(pool.queue),
        "?" if pool.buffers is None else str(pool.buffers),
        f"{pool.peak}" if watched else f"{pool.peak}+",
        count(pool.selected) if watched else "?",
        count(pool.dry) if watched else "?",
        *(_percentiles(held, (0.5, 0.99)) if held else ["-", "-"]),
        duration(held.max_ns if held else None),
        str(waited.count) if waited and watched else "-" if watched else "?",
        *(_percentiles(waited, (0.5, 0.99)) if waited else ["-", "-"]),
        duration(waited.max_ns if waited and waited.count else None),
    ]


_TITLES: Final = {"op": "Operations", "client": "Clients", "file": "Files", "connection": "Connections"}
_REQUEST_COLUMNS: Final = (
    *(Fit("requests", 0), Fit("share", 8), Fit("errors", 5), Fit("bytes", 6)),
    *(Fit("wait p50", 4), Fit("p99", 9), Fit("server p50", 3), Fit("p99", 10)),
    *(Fit("total p50", 1), Fit("p99", 2), Fit("max", 7)),
)
