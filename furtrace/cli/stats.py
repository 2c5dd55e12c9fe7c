"""``furtrace stats``."""

import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from furtrace.cli.ahead import Ahead
from furtrace.cli.moments import Moment, MomentType
from furtrace.cli.options import recorded_filter_options, what
from furtrace.cli.recordings import complaints, opened, pieces
from furtrace.cli.reel import Reel, Window, is_pipe
from furtrace.cli.replay import check_pipes, wanted_of
from furtrace.cli.showing import ascii_only, show
from furtrace.cli.stopping import Stopping
from furtrace.export.statistics import statistics_object
from furtrace.model.briefs import Briefs
from furtrace.model.choosing import Wanted
from furtrace.model.groups import PHASE_NAMES
from furtrace.model.statistics import DIMENSIONS, ByChoice, ByWholeRequests, Statistics
from furtrace.trace.info import TraceInfo
from furtrace.trace.tape import split
from furtrace.views.live_table import ASCII, UNICODE
from furtrace.views.statistics import SORTS, Shown, StatisticsView


@click.command("stats", short_help="Count and measure what is in a recording.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--by", "by", type=click.Choice(DIMENSIONS), multiple=True, help="Tables of requests by this; may be "
              "given several times.  [default: op, queue]")  # fmt: skip
@click.option("--histogram", metavar="PHASE", type=click.Choice(PHASE_NAMES), help="Draw the times of a phase in bars.")
@click.option("--top", metavar="N", type=click.IntRange(min=1), default=20, show_default=True, help="Rows of a table.")
@click.option("--sort", metavar="COLUMN", type=click.Choice(list(SORTS)), default="count", show_default=True,
              help="By what tables are sorted.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One object of JSON.")
@recorded_filter_options
@click.option("-Y", "--display-filter", "display", metavar="FILTER", help="Only requests for which this holds.")
@click.option("--from", "begin", metavar="TIME", type=MomentType(), help="What happened from then on.")
@click.option("--until", "end", metavar="TIME", type=MomentType(), help="What happened until then.")
def command(
    files: tuple[str, ...], begin: Moment | None, end: Moment | None, by: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Count and measure what is in a recording, or in several together.

    Operations, errors, how long each phase of a request took, how even the queues are, buffers, and what went wrong.
    TIME and FILTER are as in furtrace replay; FILE may be - for standard input.

    \b
    Examples:
      furtrace stats trace.pcapng
      furtrace stats trace.pcapng --histogram server --op READ
      furtrace stats trace.pcapng --by client --by file --sort bytes
      furtrace stats trace.pcapng --json | jq '.requests.latency.server.p99_ns'
    """  # noqa: D301 - click wants the control character itself
    wanted = wanted_of(what(options), options["display"])
    if any(map(is_pipe, files)):
        check_pipes(files, wanted, of_events=False)
    shown = Shown(tuple(dict.fromkeys(by)) or Shown.by, options["top"], options["sort"], options["histogram"])
    with Stopping() as stopping:
        if wanted == Wanted() and begin is None and end is None:
            came_to = _all(files, shown, stopping)
        else:
            came_to = _chosen(Reel(files, wanted, Window(begin, end)), shown, stopping)
    if stopping.signal is not None:
        click.echo(f"Ended by {stopping.signal.name}.", err=True)
        sys.exit(128 + stopping.signal)
    if as_json:
        show(statistics_object(came_to.read.info, came_to.statistics))
    else:
        show(StatisticsView(came_to.read.info, came_to.statistics, shown, ASCII if ascii_only() else UNICODE))
    for line in came_to.read.complaints:
        click.echo(line, err=True)
    sys.exit(1 if came_to.read.damaged else 0)


@dataclass(frozen=True)
class _Read:
    """What there is to say of recordings that were read."""

    info: TraceInfo
    complaints: Sequence[str] = ()
    damaged: bool = False


@dataclass(frozen=True)
class _CameTo:
    """Statistics, and what they are of."""

    statistics: Statistics
    read: _Read


def _all(files: tuple[str, ...], shown: Shown, stopping: Stopping) -> _CameTo:
    """Statistics of all that was recorded: the next records are read while these are counted."""
    with opened(files) as recordings:
        statistics = Statistics(shown.by, whole=all(info.whole for info in recordings.infos))

        def read() -> Generator[Briefs, None, _Read]:
            for records in pieces(recordings, files):
                yield statistics.brief(records)
            return _Read(recordings.info, complaints(recordings), bool(recordings.damages))

        with Ahead(read, lambda: stopping.signal is not None) as reading:
            for briefs in reading:
                statistics.feed(briefs)
                if stopping.signal is not None:
                    break
        return _CameTo(statistics, reading.result or _Read(recordings.info))


def _chosen(reel: Reel, shown: Shown, stopping: Stopping) -> _CameTo:
    """Statistics of what was asked for."""
    reel.judge(stopping)
    with reel.opened() as run:
        choice, chooser = reel.choice(run), None
        if choice is not None:
            chooser = ByChoice(choice) if reel.rereadable else ByWholeRequests(choice, whole=run.whole)
        statistics = Statistics(shown.by, whole=run.whole, chooser=chooser)
        begun = run.first_ns <= run.start_ns
        for batch in run.batches():
            early, late = (batch[:0], batch) if begun else split(batch, run.first_ns)
            if len(early):
                statistics.feed(statistics.brief([early]))
            if len(late):
                if not begun:
                    statistics.count_anew()
                begun = True
                statistics.feed(statistics.brief([late]))
            if stopping.signal is not None:
                break
        if not begun:
            statistics.count_anew()
        return _CameTo(statistics, _Read(run.info, run.complaints, run.damaged))
