"""``furtrace live``."""

import contextlib
import os
import sys
import time
from typing import Any

import click

from furtrace.cli.command import exit_status, has_ended, running
from furtrace.cli.errors import OutputError
from furtrace.cli.found import find
from furtrace.cli.keeping import kept
from furtrace.cli.options import What, check_seconds, filter_options, filters_text, probe_options, what
from furtrace.cli.outputs import EventOutput, JsonOutput, PlainOutput, ScreenOutput, summary
from furtrace.cli.stopping import Stopping
from furtrace.cli.tracing import Limits, TraceLoop
from furtrace.model.conversation import Conversation
from furtrace.model.requests import Requests
from furtrace.probe.filters import Filters
from furtrace.probe.live import LiveTrace, Target
from furtrace.probe.vantage import Vantage
from furtrace.views.terminal import Terminal


@click.command("live", short_help="Trace as it happens.")
@filter_options
@probe_options
@click.option("--plain", is_flag=True, help="A line a request, also on a terminal.")
@click.option("--events", is_flag=True, help="A line an event instead of a line a request.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines; the last one is the summary.")
@click.option("--duration", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True), help="End after so long.")
@click.option("--count", metavar="N", type=click.IntRange(min=1), help="End after N lines.")
@click.option("--record", metavar="FILE", help="Also write it to a recording, as furtrace record does.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def command(plain: bool, events: bool, as_json: bool, **options: Any) -> None:
    """Show what FUSE servers and the kernel say to each other, as it happens.

    On a terminal a full-screen view: requests in flight, operations, queues; `?` shows its keys. Elsewhere, or with
    --plain, a line a request; `?` in a line stands for what is not known. Ctrl-C ends with a summary.

    With COMMAND (after --), trace as long as it runs; its output goes to standard error, and its exit status is
    furtrace's.

    \b
    Examples:
      furtrace live --mount /mnt
      furtrace live --plain --op READ,WRITE --client 4242
      furtrace live --json --mount /mnt -- fio job.fio > trace.jsonl
    """  # noqa: D301 - click wants the control character itself
    wanted = what(options)
    check_seconds(options, "duration")
    lines = plain or events or as_json or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb"
    if options["steps"] == "kernel" and options["vantage"] == "tracepoint":
        raise click.UsageError("--steps kernel needs the kernel's functions; leave out --vantage tracepoint.")
    if options["count"] and not lines:
        raise click.UsageError("--count counts lines; give --plain, --events or --json with it.")
    sys.exit(_Live(wanted, options, lines=lines, events=events, as_json=as_json).run())


class _Live:
    """One run of the command."""

    def __init__(self, wanted: What, options: dict[str, Any], *, lines: bool, events: bool, as_json: bool) -> None:
        self._target = Target(wanted.connection, wanted.mount, wanted.pid)
        self._filters = Filters(wanted.client, wanted.opcodes, wanted.queues, wanted.forgets)
        self._filters_text = filters_text(wanted)
        self._options = options
        self._lines, self._events, self._json = lines, events, as_json
        # With these filters an entry's other requests are not seen, so nothing follows from the last that was.
        self._conversation = Conversation(Requests(whole=not (wanted.client or wanted.opcodes)))

    def run(self) -> int:
        """Trace, and return the exit status."""
        stack = contextlib.ExitStack()
        with stack:
            stopping = stack.enter_context(Stopping())
            vantage, kernel_steps = Vantage(self._options["vantage"]), self._options["steps"] == "kernel"
            trace = stack.enter_context(LiveTrace(self._target, self._filters, vantage, kernel_steps, finds=True))
            trace.info.filters = self._filters_text
            find(trace, self._conversation)
            self._announce(trace)
            keeper = stack.enter_context(kept(self._options["record"], trace.info))
            limits = Limits(self._options["duration"])
            process = None
            if self._options["command"]:
                process = stack.enter_context(running(self._options["command"], quiet=not self._lines))
                limits.done = has_ended(process)
            loop = TraceLoop(trace, self._conversation, limits, keeper)
            reason = self._show(trace, loop, stopping)
            ended_by_itself = process is not None and process.poll() is not None
        for line in ([reason] if reason else []) + self._summary(loop):
            click.echo(line, err=True)
        return exit_status(process) if process is not None and ended_by_itself else 0

    def _announce(self, trace: LiveTrace) -> None:
        if not self._lines:
            return
        if trace.waiting_for is not None:
            click.echo(f"Waiting for a FUSE mount on {trace.waiting_for}; Ctrl-C ends.", err=True)
        else:
            info = trace.info
            click.echo(
                f"Tracing on Linux {info.kernel} ({info.dialect} dialect, by {info.vantage}); Ctrl-C ends.", err=True
            )

    def _show(self, trace: LiveTrace, loop: TraceLoop, stopping: Stopping) -> str | None:
        try:
            if not self._lines:
                with Terminal() as terminal:
                    return loop.run(ScreenOutput(trace.info, self._conversation, terminal), stopping)
            output = self._output(trace)
            reason = loop.run(output, stopping)
            output.end(loop.elapsed_ns(), time.monotonic_ns())
        except OSError as error:
            raise OutputError(error) from None
        return reason

    def _summary(self, loop: TraceLoop) -> list[str]:
        return [] if self._json else summary(self._conversation, loop.elapsed_ns())

    def _output(self, trace: LiveTrace) -> PlainOutput | EventOutput | JsonOutput:
        most = self._options["count"]
        if self._json:
            return JsonOutput(self._conversation, most, events=self._events)
        if self._events:
            return EventOutput(trace.info, self._conversation, most)
        return PlainOutput(trace.info, self._conversation, most)
