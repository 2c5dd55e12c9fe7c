"""``furtrace export``."""

import contextlib
import importlib.util
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import click

from furtrace.cli.errors import OutputError, WriteError
from furtrace.cli.keeping import shown
from furtrace.cli.moments import MomentType
from furtrace.cli.options import recorded_filter_options, what
from furtrace.cli.reel import Pass, Reel, Window, is_pipe
from furtrace.cli.replay import check_pipes, wanted_of
from furtrace.cli.replaying import play_lines
from furtrace.cli.showing import show
from furtrace.cli.stopping import Stopping
from furtrace.export.formats import FORMATS, CsvForm, Form, JsonForm, ParquetForm, PerfettoForm, Source
from furtrace.export.schema import schema
from furtrace.model.choosing import Playing
from furtrace.trace.errors import RecordingError
from furtrace.trace.files import STDOUT, create
from furtrace.trace.reading import STDIN


@click.command("export", short_help="Turn a recording into JSON lines, CSV, Parquet or a Perfetto trace.")
@click.argument("files", metavar="FILE...", nargs=-1)
@click.option("--to", "form", type=click.Choice(FORMATS), help="Into what.")
@click.option("-o", "--output", metavar="FILE", default=STDOUT, help="Where to; - and the default: standard output.")
@click.option("--force", is_flag=True, help="Replace a file that is there already.")
@click.option("--events", is_flag=True, help="A row an event instead of a row a request.")
@recorded_filter_options
@click.option("-Y", "--display-filter", "display", metavar="FILTER", help="Only requests for which this holds.")
@click.option("--from", "begin", metavar="TIME", type=MomentType(), help="What happened from then on.")
@click.option("--until", "end", metavar="TIME", type=MomentType(), help="What happened until then.")
@click.option("--schema", "shows_schema", is_flag=True, help="Print the JSON Schema of what --to json writes.")
@click.option("--wireshark-plugin", "plugin", metavar="DIR", help="Put a dissector of recordings for Wireshark there.")
def command(files: tuple[str, ...], shows_schema: bool, plugin: str | None, **options: Any) -> None:
    """Turn a recording, or several merged by time, into what other programs read.

    A row is a request that ended; behind them come those that did not. With --events, a row is an event. TIME and
    FILTER are as in furtrace replay; furtrace-export(1) explains every column.

    \b
    Examples:
      furtrace export trace.pcapng --to json | jq 'select(.error < 0)'
      furtrace export trace.pcapng --to csv -o trace.csv
      furtrace export trace.pcapng --to perfetto -o trace.json
                                      then open it at ui.perfetto.dev
      furtrace export *.pcapng.zst --to parquet -o fleet.parquet
      furtrace export --wireshark-plugin ~/.local/lib/wireshark/plugins
    """  # noqa: D301 - click wants the control character itself
    if shows_schema or plugin is not None:
        if files or options["form"] is not None or (shows_schema and plugin is not None):
            raise click.UsageError("--schema and --wireshark-plugin export nothing; each stands alone.")
        if plugin is None:
            show(schema())
        else:
            _install(plugin)
        return
    _check(files, options)
    wanted = wanted_of(what(options), options["display"])
    if any(map(is_pipe, files)):
        check_pipes(files, wanted, of_events=options["events"] or options["form"] == "perfetto")
    reel = Reel(files, wanted, Window(options["begin"], options["end"]))
    sys.exit(_export(reel, options["form"], options["output"], force=options["force"], events=options["events"]))


def _check(files: tuple[str, ...], options: dict[str, Any]) -> None:
    """Check what goes together.

    Raises:
        click.UsageError: something does not.
    """
    if not files:
        raise click.UsageError("Give a FILE; - is standard input.")
    if options["form"] is None:
        raise click.UsageError(f"Say --to {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")
    if options["events"] and options["form"] == "perfetto":
        raise click.UsageError("--events goes with json, csv and parquet; a Perfetto trace is one of requests.")
    if options["output"] != STDOUT and any(_are_one(path, options["output"]) for path in files):
        raise click.UsageError(f"{shown(options['output'])} is the recording itself; give --output another name.")


def _are_one(path: str, output: str) -> bool:
    try:
        return path != STDIN and os.path.samefile(path, output)  # noqa: PTH121 - a Path would turn "" into "."
    except (OSError, ValueError):
        return False


def _install(folder: str) -> None:
    """Put the dissector into a folder.

    Raises:
        WriteError: it can't be put there.
    """
    from furtrace.export.wireshark import install  # noqa: PLC0415 - for this alone

    try:
        made = install(Path(folder))
    except OSError as error:
        raise WriteError(f"The dissector can't be put into {shown(folder)}: {error.strerror}.") from None
    click.echo(f"{shown(str(made))} is made; Wireshark and tshark load what lies in their folder of plugins.")


def _export(reel: Reel, form: str, output: str, *, force: bool, events: bool) -> int:
    """Export, and return the exit status."""
    if form == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise WriteError("Parquet takes pyarrow, which is not there: pip install 'furtrace[parquet]'.")
    with contextlib.ExitStack() as stack:
        stopping = stack.enter_context(Stopping())
        reel.judge(stopping)

        def begun(run: Pass, conversation: Playing) -> Form:
            """The file is made once what goes into it can be read."""
            target = stack.enter_context(_target(output, form, force=force))
            return _form(form, Source(conversation, run.info.mounts, run, run.start_ns), target, events=events)

        outcome = play_lines(reel, begun, stopping)
    for line in outcome.complaints:
        click.echo(line, err=True)
    if stopping.signal is not None:
        click.echo(f"Ended by {stopping.signal.name}; what was exported until then is whole.", err=True)
        return 128 + stopping.signal
    return 1 if outcome.damaged else 0


def _form(name: str, source: Source, target: "_Target", *, events: bool) -> Form:
    if name == "json":
        return JsonForm(source, target.write, events=events)
    if name == "csv":
        return CsvForm(source, target.write, events=events)
    if name == "perfetto":
        return PerfettoForm(source, target.write)
    return ParquetForm(source, cast("BinaryIO", target), events=events)


# ---- where to ----


_FOR_PROGRAMS: Final = {"perfetto": "A Perfetto trace", "parquet": "Parquet"}
"""Forms that are nothing for a terminal, by how they are called."""


class _Target(io.RawIOBase):
    """A file or standard output, as Python has files; what goes wrong with it becomes a sentence."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._written = 0
        self._open = True

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data: Any, /) -> int:
        """Write all of some bytes.

        Raises:
            OutputError: standard output does not take them.
            WriteError: the file does not.
        """
        left = whole = memoryview(data).cast("B")
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError as error:
            raise _unwritten(self._path, error) from None
        self._written += len(whole)
        return len(whole)

    def end(self) -> None:
        """Close what it stands for; once."""
        if self._open:
            self._open = False
            try:
                os.close(self._descriptor)
            except OSError as error:
                raise _unwritten(self._path, error) from None


def _unwritten(path: str, error: OSError) -> OutputError | WriteError:
    if path == STDOUT:
        return OutputError(error, tracing=False)
    return WriteError(f"{shown(path)} can't be written: {os.strerror(error.errno or 0)}; what is there is not whole.")


@contextlib.contextmanager
def _target(path: str, form: str, *, force: bool) -> Iterator[_Target]:
    """Where an export goes, while the block lasts.

    Raises:
        OutputError, WriteError: it can't be made, or not be written.
    """
    try:
        target = _Target(path, _stdout(form) if path == STDOUT else create(path, force=force))
    except RecordingError as problem:
        raise WriteError(f"{shown(path)} can't be made: {problem}.") from None
    except OSError as error:
        raise WriteError(f"{shown(path)} can't be made: {os.strerror(error.errno or 0)}.") from None
    try:
        yield target
    except BaseException:
        with contextlib.suppress(OutputError, WriteError):
            target.end()
        raise
    target.end()


def _stdout(form: str) -> int:
    if sys.stdout is None:
        raise WriteError("Standard output is closed; give --output the name of a file.")
    if form in _FOR_PROGRAMS and sys.stdout.isatty():
        raise WriteError(f"{_FOR_PROGRAMS[form]} is no text for a terminal; give --output a name, or pipe it on.")
    return os.dup(sys.stdout.fileno())
