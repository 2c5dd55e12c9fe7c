"""``furtrace flow``."""

import sys
from dataclasses import replace
from typing import Any, Final

import click

from furtrace.cli.errors import InputError
from furtrace.cli.flow_trace import Choice, traced
from furtrace.cli.flowing import Drawn, Memories, SetUp, drawn, memories, setup_events
from furtrace.cli.moments import MomentType
from furtrace.cli.options import OpcodeList, check_seconds, recorded_filter_options, what
from furtrace.cli.pictures import Picture, Places, put
from furtrace.cli.reel import Reel, Window, is_pipe
from furtrace.cli.replay import wanted_of
from furtrace.cli.showing import ascii_only
from furtrace.cli.stopping import Stopping
from furtrace.model.choosing import Wanted
from furtrace.model.finding import Asked
from furtrace.model.memory import QueueMemory
from furtrace.probe.live import Target
from furtrace.probe.vantage import Vantage
from furtrace.views.flow import (
    Diagram,
    FlowView,
    diagram_object,
    example_diagram,
    request_diagram,
    setup_diagram,
)
from furtrace.views.flow_kinds import KINDS, NAMES, Kind, example_steps, kind_of
from furtrace.views.flow_memory import MemoryView, memory_object
from furtrace.wire.dialect import Dialect


class _Command(click.Command):
    """Takes what follows ``--`` as the command to run, not as more requests."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[_COMMAND] = args[at + 1 :]
        return super().parse_args(ctx, args[:at])


_COMMAND: Final = "furtrace.command"


@click.command("flow", cls=_Command, short_help="Draw the way of a request through kernel and server.")
@click.argument("uniques", metavar="[UNIQUE]...", nargs=-1, type=click.IntRange(min=1))
@click.option("-r", "--read", "files", metavar="FILE", multiple=True, help="Draw requests of a recording; may be given "
              "several times.")  # fmt: skip
@recorded_filter_options
@click.option("--next", "next_of", metavar="OP,...", type=OpcodeList(), help="The next of these operations.")
@click.option("--slowest", is_flag=True, help="Those that take longest; of a running system with --duration, or a "
              "command.")  # fmt: skip
@click.option("--count", "most", metavar="N", type=click.IntRange(min=1), default=1, show_default=True,
              help="How many, where they are not given by number.")  # fmt: skip
@click.option("-Y", "--display-filter", "display", metavar="FILTER", help="Only requests for which this holds.")
@click.option("--from", "begin", metavar="TIME", type=MomentType(), help="Of a recording: that began from then on.")
@click.option("--to", "end", metavar="TIME", type=MomentType(), help="Of a recording: what happened until then.")
@click.option("--duration", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True), help="End after so long.")
@click.option("--vantage", type=click.Choice(["auto", "function", "tracepoint"]), default="auto", show_default=True,
              help="Where the kernel is watched.")  # fmt: skip
@click.option("--setup", is_flag=True, help="How the queues of a recording were set up.")
@click.option("--memory", is_flag=True, help="Header slots and payload buffers of each queue, and who has them, at the "
              "end of the recording (or --to), or after --duration.")  # fmt: skip
@click.option("--example", is_flag=True, help="Draw how requests go, without a trace.")
@click.option("--kind", metavar="KIND", type=click.Choice(NAMES), help="Of --example: this kind alone.")
@click.option("--dialect", type=click.Choice([str(one) for one in Dialect]), help="Of --example: the form of the "
              "protocol.")  # fmt: skip
@click.option("--list", "listed", is_flag=True, help="Of --example: the kinds, a line each.")
@click.option("--svg", metavar="FILE", help="Also a picture for a report.")
@click.option("--html", metavar="FILE", help="Also a page for a report.")
@click.option("--force", is_flag=True, help="Replace files that are there already.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines, one a diagram.")
@click.pass_context
def command(context: click.Context, /, uniques: tuple[int, ...], files: tuple[str, ...], **options: Any) -> None:
    """Draw the way of a request through kernel and server, step by step, with the times.

    Two columns, as the kernel's document of FUSE over io_uring has them. What was not seen is dim, without a time.
    UNIQUE is a request's number, as furtrace live --events has it. Without one, the first request to end is drawn, or
    --slowest. With COMMAND (after --), trace as long as it runs, or until the requests have been seen.

    \b
    Examples:
      furtrace flow --mount /mnt --next WRITE
      furtrace flow --mount /mnt --slowest -- dd if=/mnt/file of=/dev/null bs=1M
      furtrace flow -r trace.pcapng 4711
      furtrace flow -r trace.pcapng --slowest --count 3 -Y 'op == READ' --svg slow.svg
      furtrace flow --example --kind zero-copy-write
    """  # noqa: D301 - click wants the control character itself
    options["command"] = context.meta[_COMMAND]
    _check(uniques, files, options)
    if options["listed"]:
        for kind in KINDS:
            click.echo(f"{kind.name:18} {kind.title}")
        return
    if options["example"]:
        _put(_examples(options["kind"], options["dialect"]), options)
        return
    opcodes = options.pop("next_of") or frozenset()
    given = what(options)
    wanted = wanted_of(given, options["display"])
    wanted = replace(wanted, opcodes=opcodes) if opcodes else wanted
    asked = Asked(frozenset(uniques), options["slowest"], options["most"])
    with Stopping() as stopping:
        if files:
            status = _of_files(Reel(files, wanted, Window(options["begin"], options["end"])), asked, options, stopping)
        else:
            target = Target(given.connection, given.mount, given.pid)
            status = _of_system(wanted, target, asked, options, stopping)
    sys.exit(status)


def _check(uniques: tuple[int, ...], files: tuple[str, ...], options: dict[str, Any]) -> None:
    """Check what goes together.

    Raises:
        click.UsageError: something does not.
    """
    example, live, ends = options["example"], not files, options["duration"] or options["command"]
    of_examples = options["kind"] or options["dialect"] or options["listed"]
    of_recordings = options["begin"] or options["end"] or options["setup"]
    wrong = {
        "--kind, --dialect and --list belong to --example.": of_examples and not example,
        "--example draws no request of yours; leave out what names one.": example and (uniques or files or ends),
        "Give numbers of requests, or --next, or --slowest.": uniques and (options["slowest"] or options["next_of"]),
        "--next says the operations; leave out --op.": options["next_of"] and options["opcodes"],
        "A recording has its commands and its time; leave out --duration and COMMAND.": files and ends,
        "--from, --to and --setup are for recordings; give one with --read.": live and not example and of_recordings,
        "--memory is of queues; leave out what names requests.": options["memory"]
            and (uniques or options["slowest"] or options["next_of"] or options["setup"] or example),
        "Memory is drawn at an end: give --duration, or a command.": live and options["memory"] and not ends,
        "Which is the slowest is known at an end: give --duration, or a command.":
            live and options["slowest"] and not ends,
        "To draw takes two looks at a recording, so it needs a file.": any(map(is_pipe, files)),
    }  # fmt: skip
    for sentence, is_so in wrong.items():
        if is_so:
            raise click.UsageError(sentence)
    check_seconds(options, "duration")


def _examples(name: str | None, dialect: str | None) -> list[Diagram]:
    form = Dialect(dialect) if dialect else None
    kinds = [kind_of(name)] if name else [kind for kind in KINDS if form is None or form in kind.dialects]
    return [_example(kind, form or kind.dialects[0]) for kind in kinds]


def _example(kind: Kind, dialect: Dialect) -> Diagram:
    if dialect not in kind.dialects:
        raise click.UsageError(f"{kind.name} is a way of {' and '.join(kind.dialects)}, not of {dialect}.")
    return example_diagram(f"{kind.title} ({kind.name}, {dialect})", example_steps(kind, dialect))


# ---- of recordings ----


def _of_files(reel: Reel, asked: Asked, options: dict[str, Any], stopping: Stopping) -> int:
    """Draw requests of recordings, and return the exit status."""
    if options["setup"]:
        return _setups(reel, options, stopping)
    if options["memory"]:
        return _memories(reel, options, stopping)
    found = drawn(reel, asked, stopping, ascii_only=ascii_only())
    if stopping.signal is not None:
        click.echo(f"Ended by {stopping.signal.name}.", err=True)
        return 128 + stopping.signal
    status = _draw(found, asked, options, "the recording has")
    return _complained(found) or status


def _complained(found: Drawn | SetUp | Memories) -> int:
    """Say what there is to say of recordings; 1: they are damaged."""
    for line in found.complaints:
        click.echo(line, err=True)
    return int(found.damaged)


def _draw(found: Drawn, asked: Asked, options: dict[str, Any], where: str) -> int:
    made = [request_diagram(flow, found.info, line) for flow, line in zip(found.flows, found.lines, strict=True)]
    _put(made, options)
    missing = sorted(asked.uniques - {flow.unique for flow in found.flows})
    if missing:
        numbers = ", ".join(map(str, missing))
        click.echo(f"furtrace: There is no request {numbers} among those that {where}.", err=True)
    elif not made:
        click.echo(f"furtrace: There is no such request that ended among those that {where}.", err=True)
    return 1 if missing or not made else 0


def _setups(reel: Reel, options: dict[str, Any], stopping: Stopping) -> int:
    found = setup_events(reel, stopping)
    if not found.queues:
        raise InputError("The recording has no command that sets up a queue; it has to be begun before the server is.")
    made = [
        setup_diagram(events, found.info, f"How queue {queue} of connection {connection} was set up")
        for (connection, queue), events in found.queues.items()
    ]
    _put(made, options)
    return _complained(found)


# ---- of a running system ----


def _of_system(wanted: Wanted, target: Target, asked: Asked, options: dict[str, Any], stopping: Stopping) -> int:
    """Trace until the requests have been seen, draw them, and return the exit status."""
    # Which connection, the kernel has seen to.
    wanted = replace(wanted, connection=None, mounts=frozenset(), server=None)
    choice = Choice(wanted, None if options["memory"] else asked)
    limits = (options["duration"], options["command"])
    with traced(choice, target, Vantage(options["vantage"]), limits, stopping) as (path, ended):
        # A signal has ended the trace; what was seen until then is drawn.
        reel, unhurried = Reel([path], wanted, Window()), Stopping()
        if options["memory"]:
            return _memories(reel, options, unhurried) or ended
        found = drawn(reel, asked, unhurried, ascii_only=ascii_only())
    return _draw(found, asked, options, "were seen") or ended


def _memories(reel: Reel, options: dict[str, Any], stopping: Stopping) -> int:
    """Draw the memory of queues, and return the exit status."""
    found = memories(reel, stopping)
    if not found.queues:
        raise InputError("Nothing was seen of a queue of the ring: no set-up, and no request.")
    put([_memory_picture(queue, found.now_ns) for queue in found.queues], _places(options))
    return _complained(found)


def _memory_picture(queue: QueueMemory, now_ns: int) -> Picture:
    return Picture(lambda glyphs: MemoryView(queue, now_ns, glyphs), lambda: memory_object(queue, now_ns))


# ---- where to ----


def _put(diagrams: list[Diagram], options: dict[str, Any]) -> None:
    put([_picture(diagram) for diagram in diagrams], _places(options))


def _picture(diagram: Diagram) -> Picture:
    return Picture(lambda glyphs: FlowView(diagram, glyphs), lambda: diagram_object(diagram))


def _places(options: dict[str, Any]) -> Places:
    return Places(options["as_json"], options["svg"], options["html"], options["force"])
