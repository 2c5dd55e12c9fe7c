"""Recordings that are played: gone over once to choose, then as often as is wanted to show."""

import contextlib
import os
import stat
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import click

from furtrace.cli.errors import InputError
from furtrace.cli.moments import Moment
from furtrace.cli.recordings import batches, complaints, opened
from furtrace.cli.stopping import Stopping
from furtrace.model.choosing import (
    AtOnce,
    Choice,
    Generation,
    Judge,
    Playing,
    Wanted,
    only_connections,
    playing,
    start_of,
)
from furtrace.trace.merging import Recordings
from furtrace.trace.reading import STDIN, Origin
from furtrace.trace.record import Records
from furtrace.trace.tape import not_later
from furtrace.wire.text import printable

_QUIET_SECONDS: Final = 1.0
_MOST_NAMED: Final = 10


@dataclass(frozen=True)
class Window:
    """From when to when a recording is shown; None: from its start, to its end."""

    begin: Moment | None = None
    end: Moment | None = None


def is_pipe(path: str) -> bool:
    """Whether it is standard input, or something else than a file, which can be read only once."""
    if path == STDIN:
        return True
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - a Path would turn "" into "."
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


class Pass:
    """Recordings that are open, read once from their start to the end of the window.

    Attributes:
        info: of the first of them.
        start_ns: when they start; 0: there is nothing in them.
        first_ns: the first time that is shown.
        last_ns: the last one; None: the end.
        complete: they were read to their end.

    """

    def __init__(
        self, recordings: Recordings, paths: Sequence[str], window: Window, numbers: "set[int] | None"
    ) -> None:
        self._recordings = recordings
        self._batches = batches(recordings, paths)
        self._numbers = numbers
        self.complete = False
        self.info = recordings.info
        self._first = next((batch for batch in self._batches if len(batch)), None)
        self.start_ns = self.first_ns = 0
        self.last_ns: int | None = None
        if self._first is not None:
            self.start_ns = start_of(self._first) or 0
            self._set_window(window)

    def _set_window(self, window: Window) -> None:
        offset = self.info.realtime_offset_ns
        self.first_ns = self.start_ns
        if window.begin is not None:
            self.first_ns = max(self.start_ns, window.begin.ns(self.start_ns, offset))
        if window.end is not None:
            self.last_ns = window.end.ns(self.start_ns, offset, last=True)
            if self.last_ns < self.first_ns:
                raise click.UsageError("The window ends before it begins, or before the recording.")

    def batches(self) -> Iterator[Records]:
        """Their records, of the connections that may be shown."""
        for batch in self._every():
            wanted = batch if self.last_ns is None else not_later(batch, self.last_ns)
            if len(batch) and not len(wanted):
                return
            yield only_connections(wanted, self._numbers)
        self.complete = True

    def _every(self) -> Iterator[Records]:
        if self._first is not None:
            yield self._first
        self._first = None
        yield from self._batches

    @property
    def complaints(self) -> list[str]:
        """What there is to say of them, if they were read to their end."""
        return complaints(self._recordings) if self.complete else []

    @property
    def damaged(self) -> bool:
        """Whether they end early."""
        return self.complete and bool(self._recordings.damages)

    @property
    def origins(self) -> list[Origin]:
        """The boots that their records are of."""
        return self._recordings.origins

    @property
    def whole(self) -> bool:
        """Whether all requests of an entry were recorded."""
        return all(info.whole for info in self._recordings.infos)


class Reel:
    """Recordings, and what of them is to be shown.

    Args:
        paths: their files.
        wanted: which requests.
        window: from when to when.

    Attributes:
        end_ns: when they end, or the window; None: not known yet.

    """

    def __init__(self, paths: Sequence[str], wanted: Wanted, window: Window) -> None:
        self._paths, self._wanted, self._window = paths, wanted, window
        self._judge: Judge | None = None
        self.end_ns: int | None = None

    @property
    def rereadable(self) -> bool:
        """Whether they can be read more than once."""
        return not any(map(is_pipe, self._paths))

    @contextlib.contextmanager
    def opened(self) -> Iterator[Pass]:
        """Open them for one pass.

        Raises:
            InputError: one can't be read.
        """
        wanted = self._wanted.connection
        with opened(self._paths) as recordings:
            yield Pass(recordings, self._paths, self._window, {wanted} if wanted else self.numbers())

    def numbers(self) -> "set[int] | None":
        """The numbers of connections that may be shown; None: all."""
        if self._wanted.connection:
            return {self._wanted.connection}
        chosen = self._judge.connections() if self._judge is not None else None
        return None if chosen is None else {number for number, _ in chosen}

    def judge(self, stopping: Stopping) -> None:
        """Find out which requests are wanted, where that takes a pass of its own.

        Raises:
            InputError: the recordings can't be read, or there is no such connection in them.
        """
        if not self.rereadable or not (self._wanted.by_request or self._wanted.by_connection):
            return
        mounts = None
        if self._wanted.display is not None and "mount" in self._wanted.display.fields:
            # Where a connection is mounted may be told behind its first requests.
            mounts = self._judged(Wanted(), None, stopping).mounts
        self._judge = judge = self._judged(self._wanted, mounts, stopping)
        if judge.connections() == set() and stopping.signal is None:
            raise InputError(self._no_connection(judge))

    def _judged(self, wanted: Wanted, mounts: "Mapping[Generation, set[str]] | None", stopping: Stopping) -> Judge:
        with self.opened() as run, _progress() as progress:
            judge = Judge(wanted, whole=run.whole, mounts=mounts)
            for batch in _measured(run.batches(), self):
                judge.feed(batch)
                progress(len(batch))
                if stopping.signal is not None:
                    break
            judge.judge_the_rest()
        return judge

    def _no_connection(self, judge: Judge) -> str:
        """A sentence for a recording that has no connection of those that are asked for."""
        if self._wanted.server is not None:
            return f"No connection in the recording was served by process {self._wanted.server}."
        known = sorted({(number, path) for (number, _), paths in judge.mounts.items() for path in paths})
        places = [
            f"{number} {printable(path.encode(errors='surrogateescape'))}" for number, path in known[:_MOST_NAMED]
        ]
        asked = printable(min(self._wanted.mounts).encode(errors="surrogateescape"))
        return f"No connection in the recording was mounted on {asked}; there {_are(places, len(known))}."

    def measure(self) -> Generator[bool, None, None]:
        """Find out when the recordings end, a batch at a time; each time False: there is more."""
        with self.opened() as run:
            for _ in _measured(run.batches(), self):
                yield False

    def choice(self, run: Pass) -> Choice | None:
        """What says in a pass which requests are shown; None: all that there are."""
        if self._judge is not None:
            return self._judge.choice()
        return AtOnce(self._wanted, run.info.mounts) if self._wanted.by_request else None

    def conversation(self, run: Pass) -> Playing:
        """One in which nothing was said yet, for a pass."""
        return playing(self.choice(run), whole=run.whole)


def _measured(every: Iterator[Records], reel: Reel) -> Iterator[Records]:
    """The same, and at the end it is known when that was."""
    end = 0
    for batch in every:
        if len(batch):
            end = max(end, int(batch["ns"].max()))
        yield batch
    reel.end_ns = end


def _are(places: list[str], number: int) -> str:
    if not places:
        return "is none that was mounted"
    more = f" and {number - len(places)} more" if number > len(places) else ""
    return f"{'is' if number == 1 else 'are'} {', '.join(places)}{more}"


class _Progress:
    """A line on the terminal about a pass that takes long."""

    def __init__(self) -> None:
        self._shows = sys.stderr is not None and sys.stderr.isatty()
        self._next = time.monotonic() + _QUIET_SECONDS
        self._shown = False
        self._events = 0

    def __call__(self, events: int) -> None:
        self._events += events
        if self._shows and time.monotonic() >= self._next:
            self._next, self._shown = time.monotonic() + _QUIET_SECONDS / 2, True
            click.echo(f"\rChoosing: {self._events} events read\x1b[K", nl=False, err=True)

    def end(self) -> None:
        """Take the line away."""
        if self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)


@contextlib.contextmanager
def _progress() -> Iterator[_Progress]:
    progress = _Progress()
    try:
        yield progress
    finally:
        progress.end()
