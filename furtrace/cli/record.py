"""``furtrace record``."""

import contextlib
import errno
import math
import mmap
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from furtrace.cli.command import exit_status, running
from furtrace.cli.errors import WriteError
from furtrace.cli.options import What, filter_options, filters_text, probe_options, what
from furtrace.cli.sizes import FileRing, Size, size_text
from furtrace.cli.stopping import Stopping
from furtrace.probe.filters import Filters
from furtrace.probe.live import LiveTrace, Target
from furtrace.probe.vantage import Vantage
from furtrace.trace.errors import RecordingError
from furtrace.trace.files import RingOfFiles, SingleFile
from furtrace.trace.record import Records, is_event, is_lost, no_records, until_event
from furtrace.wire.text import printable

if TYPE_CHECKING:
    import subprocess

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
    if options["duration"] is not None and not math.isfinite(options["duration"]):
        raise click.UsageError("--duration takes a number of seconds.")
    if options["steps"] == "kernel" and options["vantage"] == "tracepoint":
        raise click.UsageError("--steps kernel needs the kernel's functions; leave out --vantage tracepoint.")
    if options["ring"] and options["output"] == "-":
        raise click.UsageError("--ring makes files; give --output the name of one.")
    if options["ring"] and options["max_size"]:
        raise click.UsageError("--ring keeps recording, and --max-size ends it; give one of them.")
    sys.exit(_Record(wanted, options).run())


_Files = SingleFile | RingOfFiles


class _Record:
    """One run of the command."""

    def __init__(self, wanted: What, options: dict[str, Any]) -> None:
        self._wanted, self._options = wanted, options
        self._events = 0
        self._began = time.monotonic()
        self._files: _Files
        self._trace: LiveTrace
        self._progress = _Progress(quiet=options["quiet"])

    def run(self) -> int:
        """Record, and return the exit status."""
        process = None
        with contextlib.ExitStack() as stack:
            stopping = stack.enter_context(Stopping())
            self._trace = stack.enter_context(self._live_trace())
            with self._writing():
                self._files = self._begin()
                stack.callback(self._close)
                self._announce()
                if self._options["command"]:
                    process = stack.enter_context(running(self._options["command"], own_output=True))
                reason = self._record(stopping, _has_ended(process) if process is not None else None)
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

    def _begin(self) -> _Files:
        """Make the file."""
        path, force, ring = (self._options[name] for name in ("output", "force", "ring"))
        self._trace.info.filters = filters_text(self._wanted)
        if ring is None:
            files: _Files = SingleFile(path, self._trace.info, force=force)
        else:
            files = RingOfFiles(path, self._trace.info, *ring, force=force, prelude=self._names)
        files.write(self._names())
        return files

    def _names(self) -> Records:
        return self._trace.names() if self._options["snapshot_names"] else no_records()

    def _announce(self) -> None:
        if self._options["payload"]:
            click.echo("Payload is recorded: the file will hold what is in users' files.", err=True)
        if self._trace.waiting_for is not None:
            click.echo(f"Waiting for a FUSE mount on {self._trace.waiting_for}; Ctrl-C ends.", err=True)
        else:
            click.echo(f"Recording to {shown(self._files.path)}; Ctrl-C ends.", err=True)

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
                self._files.flush()
                self._progress.show(self._events, self._files)
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
        batch = self._trace.read()
        lost = is_lost(batch)
        if lost.any():
            self._files.lost += int(batch["length"][lost].sum())
        if self._options["count"] is not None:
            batch = until_event(batch, self._options["count"] - self._events)
        self._files.write(batch)
        self._events += int(is_event(batch).sum())
        self._trace.release()
        most = self._options["max_size"]
        return self._events != self._options["count"] and (most is None or self._files.written < most)

    def _close(self) -> None:
        with self._writing():
            self._files.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """What can be wrong with the file becomes a sentence."""
        path = shown(self._files.path if hasattr(self, "_files") else self._options["output"])
        try:
            yield
        except RecordingError as problem:
            raise WriteError(f"{path} can't be made: {problem}.") from None
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise WriteError("The reader of the recording is gone, so it has ended.") from None
            why = os.strerror(error.errno or 0)
            kept = f"; it holds the {self._events} events until then" if self._events else ""
            raise WriteError(f"{path} can't be written: {why}{kept}.") from None

    def _say(self, reason: str | None) -> None:
        self._progress.end()
        files, seconds = self._files, time.monotonic() - self._began
        for line in [reason] if reason else []:
            click.echo(line, err=True)
        click.echo(
            f"{self._events} events in {seconds:.1f}s, {files.lost} lost; {size_text(files.written)} in "
            f"{shown(files.path)}",
            err=True,
        )


class _Progress:
    """A line on the terminal that is written anew each second."""

    def __init__(self, *, quiet: bool) -> None:
        self._shows = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._before = (time.monotonic(), 0)

    def show(self, events: int, files: _Files) -> None:
        """Write it."""
        if not self._shows:
            return
        now = time.monotonic()
        rate = (events - self._before[1]) / (now - self._before[0])
        self._before = now, events
        click.echo(
            f"\r{events} events, {size_text(files.written)}, {files.lost} lost, {rate:.0f} events/s\x1b[K",
            nl=False,
            err=True,
        )

    def end(self) -> None:
        """Make room for what comes after it."""
        if self._shows:
            click.echo("\r\x1b[K", nl=False, err=True)


def shown(path: str) -> str:
    """A file's name as messages have it."""
    return "standard output" if path == "-" else printable(os.fsencode(path))


def _has_ended(process: "subprocess.Popen[bytes]") -> Callable[[], bool]:
    return lambda: process.poll() is not None


def _pages(size: int) -> int:
    """Pages of a ring buffer: the power of two that holds ``size``."""
    pages = max(1, -(-size // mmap.PAGESIZE))
    return int(1 << (pages - 1).bit_length())
