"""``furtrace check``."""

import contextlib
import sys
import time
from typing import Any, Final

import click
from rich.console import Group

from furtrace.checks.checker import RULES, Checker
from furtrace.checks.findings import Rule, Severity
from furtrace.checks.seen import Limits
from furtrace.cli.checking import Form, Report, form_of
from furtrace.cli.command import has_ended, running
from furtrace.cli.errors import OutputError
from furtrace.cli.found import find
from furtrace.cli.illustrating import Illustrated
from furtrace.cli.moments import MomentType
from furtrace.cli.options import What, check_seconds
from furtrace.cli.reel import Pass, Reel, Window, is_pipe
from furtrace.cli.replay import check_pipes, wanted_of
from furtrace.cli.showing import show
from furtrace.cli.stopping import Stopping
from furtrace.cli.tracing import Limits as TraceLimits
from furtrace.cli.tracing import TraceLoop
from furtrace.model.conversation import Conversation
from furtrace.model.requests import Requests, Requests_
from furtrace.probe.filters import Filters
from furtrace.probe.live import LiveTrace, Target
from furtrace.probe.threads import is_alive
from furtrace.trace.record import Records
from furtrace.views.findings import explanation, rule_lines

FOUND: Final = 3
"""Exit status where something of the chosen severity was found."""
_SEVERITY = click.Choice([severity.word for severity in reversed(Severity)])
_SECONDS = click.FloatRange(min=0, min_open=True)
_INTERVAL: Final = 0.1
_COLUMNS: Final = 80


def _rule(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Rule | None:
    if value is not None and value not in RULES:
        raise click.BadParameter(f"{value!r} is no rule; furtrace check --list names them all.")
    return None if value is None else RULES[value]


def _severity(_context: click.Context, _parameter: click.Parameter, value: str) -> Severity:
    return Severity[value.upper()]


class _Command(click.Command):
    """Keeps what follows ``--`` apart from the files: it is a command to be run."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[_RUN] = tuple(args[at + 1 :])
        return super().parse_args(ctx, args[:at])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


_RUN: Final = "furtrace.cli.check.command"


@click.command("check", cls=_Command, short_help="Say what is wrong between a server and the kernel.")
@click.argument("files", metavar="[FILE...]", nargs=-1)
@click.option("--connection", metavar="N", type=click.IntRange(min=1), help="Only the connection of this number.")
@click.option("--mount", metavar="DIR", type=str, help="Only the connection mounted on DIR; live, wait for it.")
@click.option("--pid", metavar="PID", type=click.IntRange(min=1), help="Only connections that this process serves.")
@click.option("--from", "begin", metavar="TIME", type=MomentType(), help="Of a recording: what is found from then on.")
@click.option("--until", "end", metavar="TIME", type=MomentType(), help="Of a recording: what happened until then.")
@click.option("--duration", metavar="SECONDS", type=_SECONDS, help="Live: end after so long.")
@click.option("--forgets", is_flag=True, help="Live: watch INTERRUPT too; this slows every system call.")
@click.option("--unanswered", metavar="SECONDS", type=_SECONDS, default=5.0, show_default=True,
              help="From when on a request that waits is worth a word.")  # fmt: skip
@click.option("--slow", metavar="SECONDS", type=_SECONDS, default=1.0, show_default=True,
              help="From when on the server's time for a request is.")  # fmt: skip
@click.option("--least", type=_SEVERITY, default="note", show_default=True, callback=_severity,
              help="Show what is at least so bad.")  # fmt: skip
@click.option("--fail-on", type=_SEVERITY, default="warning", show_default=True, callback=_severity,
              help="Exit with status 3 where something at least so bad is found.")  # fmt: skip
@click.option("--flow", is_flag=True, help="Of a recording: with the diagram of each request that is at fault.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON a finding; the last one is the summary.")
@click.option("--sarif", "as_sarif", is_flag=True, help="One object in the form SARIF 2.1.0, for CI.")
@click.option("--list", "lists", is_flag=True, help="Name all rules.")
@click.option("--explain", metavar="RULE", callback=_rule, help="Tell what a rule means, and what to do.")
def command(files: tuple[str, ...], lists: bool, explain: Rule | None, **options: Any) -> None:
    """Say what is wrong between FUSE servers and the kernel.

    With FILE, of what was recorded; without, of what happens from now on, until Ctrl-C, or as long as COMMAND (after
    --) runs. A finding comes with the request and the events that prove it. Exit status 3: something was found.

    \b
    Examples:
      furtrace check --mount /mnt --duration 10 -- stat /mnt/file
      furtrace check trace.pcapng
      furtrace check trace.pcapng --fail-on error --sarif > furtrace.sarif
      furtrace check --explain ring-not-ready
    """  # noqa: D301 - click wants the control character itself
    if lists or explain is not None:
        show(Group(*(rule_lines(RULES.values()) if explain is None else explanation(explain, _COLUMNS))))
        return
    options["command"] = click.get_current_context().meta[_RUN]
    _check_usage(files, options)
    run = _Recorded(files, options) if files else _Live(options)
    with Stopping() as stopping:
        try:
            report = run.run(stopping)
        except BrokenPipeError:
            raise  # click ends quietly
        except OSError as error:
            raise OutputError(error) from None
    if files and stopping.signal is not None:
        click.echo(f"Ended by {stopping.signal.name}.", err=True)
        sys.exit(128 + stopping.signal)
    sys.exit(1 if run.damaged else FOUND if report.worst() >= options["fail_on"] else 0)


def _check_usage(files: tuple[str, ...], options: dict[str, Any]) -> None:
    """Check what goes together.

    Raises:
        click.UsageError: something does not.
    """
    check_seconds(options, "duration", "unanswered", "slow")
    if options["as_json"] and options["as_sarif"]:
        raise click.UsageError("Give --json or --sarif, not both.")
    if files and (options["duration"] is not None or options["forgets"] or options["command"]):
        raise click.UsageError("--duration, --forgets and COMMAND are for what happens from now on; leave out FILE.")
    if options["flow"] and (not files or options["as_sarif"] or any(map(is_pipe, files))):
        raise click.UsageError("--flow takes two looks at a recording: give files, no pipe, and not --sarif.")
    if not files and (options["begin"] is not None or options["end"] is not None):
        raise click.UsageError("--from and --until are for recordings; give FILE.")


def _limits(options: dict[str, Any]) -> Limits:
    return Limits(unanswered=int(options["unanswered"] * 1e9), slow=int(options["slow"] * 1e9))


def _what(options: dict[str, Any]) -> What:
    nothing = frozenset[int]()
    return What(options["connection"], options["mount"], options["pid"], None, nothing, nothing, options["forgets"])


class _Recorded:
    """A check of recordings."""

    damaged = False

    def __init__(self, files: tuple[str, ...], options: dict[str, Any]) -> None:
        self._files, self._options = files, options
        self._wanted = wanted_of(_what(options), None)
        if any(map(is_pipe, files)):
            check_pipes(files, self._wanted, of_events=False)

    def run(self, stopping: Stopping) -> Report:
        """Read and judge all of it."""
        reel = Reel(self._files, self._wanted, Window(self._options["begin"], self._options["end"]))
        reel.judge(stopping)
        with reel.opened() as played:
            conversation = Conversation(Requests(whole=played.whole))
            form = form_of(played.info, conversation, self._options, self._files[0])
            illustrated = Illustrated(form) if self._options["flow"] else None
            report = self._judged(played, conversation, illustrated or form, stopping)
        if illustrated is not None:
            illustrated.finish(reel, played.info, stopping)
        for line in played.complaints:
            click.echo(line, err=True)
        self.damaged = played.damaged
        return report

    def _judged(self, played: Pass, conversation: Conversation, form: Form, stopping: Stopping) -> Report:
        report = Report(form, self._options["least"], played.first_ns)
        checker = Checker(played.info, conversation, _limits(self._options))
        for batch in played.batches():
            report.add(checker.feed(batch))
            if stopping.signal is not None:
                return report
        report.add(checker.end())
        form.end(report.found, max(0, checker.now_ns - played.start_ns))
        return report


class _Live:
    """A check of what happens from now on."""

    damaged = False

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._conversation = Conversation()

    def run(self, stopping: Stopping) -> Report:
        """Trace and judge until the end."""
        options, wanted = self._options, _what(self._options)
        target = Target(wanted.connection, wanted.mount, wanted.pid)
        with contextlib.ExitStack() as stack:
            trace = stack.enter_context(LiveTrace(target, Filters(forgets=wanted.forgets), finds=True))
            find(trace, self._conversation)
            self._announce(trace)
            limits = TraceLimits(options["duration"])
            if options["command"]:
                limits.done = has_ended(stack.enter_context(running(options["command"])))
            form = form_of(trace.info, self._conversation, options)
            report = Report(form, options["least"])
            output = _Judging(Checker(trace.info, self._conversation, _limits(options), is_alive), report)
            loop = TraceLoop(trace, self._conversation, limits)
            reason = loop.run(output, stopping)
            output.end()
            form.end(report.found, loop.elapsed_ns())
        if reason is not None:
            click.echo(reason, err=True)
        return report

    def _announce(self, trace: LiveTrace) -> None:
        if trace.waiting_for is not None:
            click.echo(f"Waiting for a FUSE mount on {trace.waiting_for}; Ctrl-C ends.", err=True)
        else:
            click.echo(f"Checking on Linux {trace.info.kernel} (by {trace.info.vantage}); Ctrl-C ends.", err=True)


class _Judging:
    """Judges a live trace, and the time as it passes."""

    interval = _INTERVAL

    def __init__(self, checker: Checker, report: Report) -> None:
        self._checker, self._report = checker, report

    def batch(self, batch: Records, finished: Requests_) -> bool:
        """Judge a part."""
        self._report.add(self._checker.took(batch, finished))
        return True

    def wait(self, seconds: float, stopping: Stopping) -> bool:
        """Let time pass, and see what waits."""
        stopping.wait(seconds)
        self._report.add(self._checker.tick(time.monotonic_ns()))
        return True

    def end(self) -> None:
        """See what waits at the end."""
        self._checker.now_ns = time.monotonic_ns()
        self._report.add(self._checker.end())
