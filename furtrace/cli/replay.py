"""``furtrace replay``."""

import math
import os
import sys
from typing import Any

import click
from rich.cells import cell_len

from furtrace.cli.errors import OutputError
from furtrace.cli.moments import Moment, MomentType, Speed
from furtrace.cli.options import What, recorded_filter_options, what
from furtrace.cli.outputs import EventOutput, JsonOutput, PlainOutput, summary
from furtrace.cli.reel import Pass, Reel, Window, is_pipe
from furtrace.cli.replaying import Outcome, play_lines, play_screen
from furtrace.cli.stopping import Stopping
from furtrace.model.choosing import Playing, Wanted
from furtrace.model.filter_values import FilterError
from furtrace.model.filtering import DisplayFilter
from furtrace.trace.reading import STDIN
from furtrace.wire.text import printable


@click.command("replay", short_help="Show a recording as if it happened now.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@recorded_filter_options
@click.option("-Y", "--display-filter", "display", metavar="FILTER", help="Only requests for which this holds.")
@click.option("--from", "begin", metavar="TIME", type=MomentType(), help="Show what happened from then on.")
@click.option("--to", "end", metavar="TIME", type=MomentType(), help="Show what happened until then.")
@click.option("--speed", metavar="N", type=Speed(), help="So many times as fast as it was recorded, or max.")
@click.option("--plain", is_flag=True, help="A line a request, also on a terminal.")
@click.option("--events", is_flag=True, help="A line an event instead of a line a request.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines; the last one is the summary.")
@click.option("--count", metavar="N", type=click.IntRange(min=1), help="End after N lines.")
def command(files: tuple[str, ...], begin: Moment | None, end: Moment | None, **options: Any) -> None:
    """Show a recording, or several merged by time, as furtrace live would have shown it.

    On a terminal a full-screen view, as fast as it was recorded: space holds it, the arrows move it back and forth,
    `?` shows its keys. Elsewhere, or with --plain, a line a request, as fast as it can be. FILE may be - for standard
    input.

    A TIME is seconds since the start, 1.5 or 200ms, or a time of the clock, 14:55:01.25 or 2026-11-25T14:55. A FILTER
    compares what a request has; furtrace-replay(1) lists it.

    \b
    Examples:
      furtrace replay trace.pcapng
      furtrace replay trace.pcapng --plain --op READ,WRITE --from 14:55 --to 14:56
      furtrace replay trace.pcapng -Y 'op == WRITE and latency > 5ms and queue == 1'
      furtrace replay a.pcapng b.pcapng.zst --json > both.jsonl
    """  # noqa: D301 - click wants the control character itself
    wanted = wanted_of(what(options), options["display"])
    to_lines = options["plain"] or options["events"] or options["as_json"]
    lines = to_lines or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb"
    if options["count"] and not lines:
        raise click.UsageError("--count counts lines; give --plain, --events or --json with it.")
    if any(map(is_pipe, files)):
        check_pipes(files, wanted, of_events=options["events"] or not lines)
    sys.exit(_replay(Reel(files, wanted, Window(begin, end)), options, lines=lines))


def wanted_of(given: What, display: str | None) -> Wanted:
    """The filters, as the model has them.

    Raises:
        click.UsageError: the display filter is wrong.
    """
    mounts = frozenset[str]()
    if given.mount is not None:
        mounts = frozenset({given.mount, os.path.abspath(given.mount)})  # noqa: PTH100 - looks at nothing
    try:
        made = None if display is None else DisplayFilter(display)
    except FilterError as problem:
        raise click.UsageError(_pointed_out(display or "", problem)) from None
    return Wanted(given.connection, mounts, given.pid, given.client, given.opcodes, given.queues, made)


def _pointed_out(text: str, problem: FilterError) -> str:
    """A sentence about a filter, and below it the filter with the place marked."""
    before, after = (printable(os.fsencode(part)) for part in (text[: problem.at], text[problem.at :]))
    where = f"The filter is wrong at column {problem.at + 1}: {problem}."
    return f"{where}\n\n  {before}{after}\n  {' ' * cell_len(before)}^"


def check_pipes(files: tuple[str, ...], wanted: Wanted, *, of_events: bool) -> None:
    """Standard input, or another pipe, can be read once.

    Raises:
        click.UsageError: more is asked for.
    """
    if files.count(STDIN) > 1:
        raise click.UsageError("Standard input is one recording; give - once.")
    if wanted.by_connection:
        raise click.UsageError("--mount and --pid take two looks at a recording, so they need a file.")
    if wanted.by_request and of_events:
        raise click.UsageError(
            "To show events of some requests, or to show them on the full screen, takes two looks at a recording, "
            "so it needs a file; lines of requests, and --json of them, can be had from a pipe."
        )


def _replay(reel: Reel, options: dict[str, Any], *, lines: bool) -> int:
    """Replay, and return the exit status."""
    speed, count = options["speed"], options["count"]

    def output(run: Pass, conversation: Playing) -> PlainOutput | EventOutput | JsonOutput:
        if options["as_json"]:
            return JsonOutput(conversation, count, events=options["events"])
        if options["events"]:
            return EventOutput(run.info, conversation, count)
        return PlainOutput(run.info, conversation, count)

    with Stopping() as stopping:
        reel.judge(stopping)
        try:
            if lines:
                outcome = play_lines(reel, output, stopping, speed=speed or math.inf, counted=count is not None)
            else:
                outcome = play_screen(reel, 1.0 if speed is None else speed, stopping)
        except OSError as error:
            raise OutputError(error, tracing=False) from None
    for line in _said(outcome, summed_up=not options["as_json"]):
        click.echo(line, err=True)
    return 1 if outcome.damaged else 0


def _said(outcome: Outcome, *, summed_up: bool) -> list[str]:
    return (summary(outcome.conversation, outcome.elapsed_ns) if summed_up else []) + outcome.complaints
