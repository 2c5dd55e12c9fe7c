"""``furtrace record``."""

import contextlib
import math
import mmap
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

import click

from furtrace.cli.command import exit_status, has_ended, running
from furtrace.cli.keeping import Files, Keeper, closing, shown, writing
from furtrace.cli.options import What, check_seconds, filter_options, filters_text, probe_options, what
from furtrace.cli.sizes import FileRing, Size, size_text
from furtrace.cli.spare import SpareTime
from furtrace.cli.stopping import Stopping
from furtrace.probe.filters import Filters
from furtrace.probe.live import LiveTrace, Target
from furtrace.probe.vantage import Vantage
from furtrace.trace.files import RingOfFiles, SingleFile, check
from furtrace.trace.packets import PIECE
from furtrace.trace.record import Records, no_records, until_event

_INTERVAL: Final = 0.1
_NEARLY_FULL: Final = 0.25  # of the ring buffer: do not sleep any more
_CHECK_SECONDS: Final = 1.0
_MOST_PAYLOAD: Final = 1 << 16


@click.command("record", short_help="Write what happens to a file.")
@filter_options
@probe_options
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    required=True,
    help="Where to: FILE.pcapng, or compressed FILE.pcapng.zst; - is standard output.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there already.")
@click.option("--duration", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True), help="End after so long.")
@click.option("--count", metavar="N", type=click.IntRange(min=1), help="End after N events.")
@click.option("--max-size", metavar="SIZE", type=Size(), help="End when the file has this size: 500M, 2G.")
@click.option(
    "--ring", metavar="NxSIZE", type=FileRing(), help="Begin another file after SIZE, and keep the newest N: 10x100M."
)
@click.option(
    "--buffer",
    metavar="SIZE",
    type=Size(),
    default="64M",
    show_default=True,
    help="Memory between the kernel and this process; a power of two.",
)
@click.option(
    "--snapshot-names",
    is_flag=True,
    help="Also the names of what processes have open as it begins, so that their paths are known.",
)
@click.option(
    "--payload",
    metavar="N",
    type=click.IntRange(0, _MOST_PAYLOAD),
    default=0,
    help="Also the first N bytes of each payload: what is in users' files.",
)
@click.option("-q", "--quiet", is_flag=True, help="No line of progress.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def command(**options: Any) -> None:
    """Record what FUSE servers and the kernel say to each other, in a pcapng file that furtrace, tshark and Wireshark
    read, and that can be read while it is written.

    Headers and names are recorded, payload is not unless --payload asks for it. The file is readable by its owner
    alone. It ends with Ctrl-C, with the server, or as the other options say.

    With COMMAND (after --), record as long as it runs; its exit status is furtrace's.

    \b
    Examples:
      furtrace record -o trace.pcapng --mount /mnt
      furtrace record -o trace.pcapng.zst --mount /mnt -- fio job.fio
      furtrace record -o /var/tmp/fuse.pcapng --ring 10x100M
      furtrace record -o - | tshark -r -
    """  # noqa: D205, D301 - click folds the lines, and wants the control character itself
    wanted = what(options)
    check_seconds(options, "duration")
    if options["steps"] == "kernel" and options["vantage"] == "tracepoint":
        raise click.UsageError("--steps kernel needs the kernel's functions; leave out --vantage tracepoint.")
    if options["ring"] and options["output"] == "-":
        raise click.UsageError("--ring makes files; give --output the name of one.")
    if options["ring"] and options["max_size"]:
        raise click.UsageError("--ring keeps recording, and --max-size ends it; give one of them.")
    sys.exit(_Record(wanted, options).run())


class _Record:
    """One run of the command."""

    def __init__(self, wanted: What, options: dict[str, Any]) -> None:
        self._wanted, self._options = wanted, options
        self._began = time.monotonic()
        self._spare: SpareTime
        self._trace: LiveTrace
        self._keeper: Keeper
        self._progress = _Progress(quiet=options["quiet"])

    def run(self) -> int:
        """Record, and return the exit status."""
        process = None
        with contextlib.ExitStack() as stack:
            # Before there is anything that its process would keep open.
            self._spare = stack.enter_context(SpareTime())
            stopping = stack.enter_context(Stopping())
            self._check_output()
            self._trace = stack.enter_context(self._live_trace())
            self._keeper = Keeper(self._files())
            stack.enter_context(closing(self._keeper))
            self._keeper.write(self._names())
            self._announce()
            self._began = time.monotonic()
            if self._options["command"]:
                process = stack.enter_context(running(self._options["command"], own_output=True))
            reason = self._record(stopping, has_ended(process) if process is not None else None)
            ended_by_itself = process is not None and process.poll() is not None
        self._say(reason)
        return exit_status(process) if process is not None and ended_by_itself else 0

    def _live_trace(self) -> LiveTrace:
        wanted, options = self._wanted, self._options
        filters = Filters(wanted.client, wanted.opcodes, wanted.queues, wanted.forgets, options["payload"])
        return LiveTrace(
            Target(wanted.connection, wanted.mount, wanted.pid),
            filters,
            Vantage(options["vantage"]),
            kernel_steps=options["steps"] == "kernel",
            ring_pages=_pages(options["buffer"]),
        )

    def _check_output(self) -> None:
        """Fail before the probes are compiled, not after."""
        path, force, ring = (self._options[name] for name in ("output", "force", "ring"))
        if ring is None:
            with writing(path):
                check(path, force=force)

    def _files(self) -> Files:
        """Make the file."""
        path, force, ring = (self._options[name] for name in ("output", "force", "ring"))
        info = self._trace.info
        info.filters = filters_text(self._wanted)
        with writing(path):
            if ring is None:
                return SingleFile(path, info, force=force, quietly=self._quietly)
            return RingOfFiles(path, info, *ring, force=force, prelude=self._names, quietly=self._quietly)

    def _quietly(self) -> AbstractContextManager[None]:
        """Where to prepare what is written: in spare time, unless the ring buffer fills meanwhile."""
        return self._spare.work() if self._trace.fill() < _NEARLY_FULL else contextlib.nullcontext()

    def _names(self) -> Records:
        return self._trace.names() if self._options["snapshot_names"] else no_records()

    def _announce(self) -> None:
        if self._options["payload"]:
            click.echo("Payload is recorded: the file will hold what is in users' files.", err=True)
        if self._trace.waiting_for is not None:
            click.echo(f"Waiting for a FUSE mount on {self._trace.waiting_for}; Ctrl-C ends.", err=True)
        else:
            click.echo(f"Recording; Ctrl-C ends. Output: {shown(self._keeper.files.path)}", err=True)

    def _record(self, stopping: Stopping, done: Callable[[], bool] | None) -> str | None:
        """Record until the end, and return why it ended in a sentence where the user did not ask for it."""
        next_check = time.monotonic() + _CHECK_SECONDS
        while True:
            # Asked before the ring is read, so that what came before the end is recorded.
            last = self._is_due(stopping) or (done is not None and done())
            if not self._step() or last:
                return None
            if time.monotonic() >= next_check:
                next_check = time.monotonic() + _CHECK_SECONDS
                self._keeper.flush()
                self._progress.show(self._keeper)
                reason = self._trace.ended() if done is None else None
                if reason is not None:
                    self._step()
                    return reason
            if self._trace.fill() < _NEARLY_FULL:
                stopping.wait(self._pause())

    def _is_due(self, stopping: Stopping) -> bool:
        return stopping.signal is not None or self._pause() == 0

    def _pause(self) -> float:
        """Seconds until the ring is to be read again, or the end."""
        duration = self._options["duration"]
        left = math.inf if duration is None else self._began + duration - time.monotonic()
        return max(0.0, min(_INTERVAL, left))

    def _step(self) -> bool:
        """Write what has come; False: no more is wanted."""
        # A new file of a ring begins with names, which takes so long that it must not be often: once a batch at most.
        most = PIECE if self._options["ring"] is None else None
        return all(map(self._write, self._trace.pieces(most)))

    def _write(self, piece: Records) -> bool:
        """Write a piece, or as much of it as is wanted."""
        count, most = self._options["count"], self._options["max_size"]
        if count is not None:
            piece = until_event(piece, count - self._keeper.events)
        self._keeper.write(piece)
        return self._keeper.events != count and (most is None or self._keeper.files.written < most)

    def _say(self, reason: str | None) -> None:
        self._progress.end()
        if reason is not None:
            click.echo(reason, err=True)
        files, seconds = self._keeper.files, time.monotonic() - self._began
        text = f"{self._keeper.events} events in {seconds:.1f}s, {files.lost} lost; {size_text(files.written)}"
        click.echo(f"{text} in {shown(files.path)}", err=True)


class _Progress:
    """A line on the terminal that is written anew each second."""

    def __init__(self, *, quiet: bool) -> None:
        self._shows = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._before = (time.monotonic(), 0)

    def show(self, keeper: Keeper) -> None:
        """Write it."""
        if not self._shows:
            return
        now, files = time.monotonic(), keeper.files
        rate = (keeper.events - self._before[1]) / (now - self._before[0])
        self._before = now, keeper.events
        text = f"{keeper.events} events, {size_text(files.written)}, {files.lost} lost, {rate:.0f} events/s"
        click.echo(f"\r{text}\x1b[K", nl=False, err=True)

    def end(self) -> None:
        """Make room for what comes after it."""
        if self._shows:
            click.echo("\r\x1b[K", nl=False, err=True)


def _pages(size: int) -> int:
    """Pages of a ring buffer: the power of two that holds ``size``."""
    pages = max(1, -(-size // mmap.PAGESIZE))
    return int(1 << (pages - 1).bit_length())
