"""The requests that diagrams are drawn of, on a running system: traced into a file, until they have been seen."""

import contextlib
import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import click

from furtrace.cli.command import exit_status, has_ended, running
from furtrace.cli.keeping import kept
from furtrace.cli.stopping import Stopping
from furtrace.cli.tracing import Limits, TraceLoop
from furtrace.model.choosing import AtOnce, Wanted, playing
from furtrace.model.finding import Asked
from furtrace.model.requests import Requests_
from furtrace.probe.btf import running_kernel
from furtrace.probe.filters import Filters
from furtrace.probe.live import LiveTrace, Target
from furtrace.probe.privilege import check_privilege
from furtrace.probe.vantage import Vantage, Vantages
from furtrace.trace.record import Records

_GRACE_SECONDS: Final = 0.2
"""How long after a request's end its last events may take to come."""


@dataclass(frozen=True)
class Choice:
    """What is waited for. ``asked``: None: nothing, it goes on until its end."""

    wanted: Wanted
    asked: Asked | None


@contextlib.contextmanager
def traced(
    choice: Choice,
    target: Target,
    vantage: Vantage,
    limits: tuple[float | None, Sequence[str]],
    stopping: Stopping,
) -> Iterator[tuple[str, int]]:
    """Trace into a temporary file, and yield its name and the command's exit status, 0 if there is none to tell.

    The kernel filters by connection alone: a request's way leads through commits of others.

    Args:
        choice: of which requests it waits for the end.
        target: which connection.
        vantage: where the kernel is watched.
        limits: seconds after which it ends, and a command that it lasts as long as.
        stopping: tells of signals.

    Raises:
        ProbeError: it can't be traced.
        WriteError: there is no room for the temporary file.
    """
    with tempfile.TemporaryDirectory(prefix="furtrace-") as folder:
        path = os.path.join(folder, "flow.pcapng")  # noqa: PTH118 - the rest takes a str
        yield path, _trace(path, choice, LiveTrace(target, Filters(), vantage, _steps(vantage)), limits, stopping)


def _steps(vantage: Vantage) -> bool:
    """Whether to watch what the kernel does in between: wherever it lets that be watched.

    Raises:
        ProbeError: nothing can be traced.
    """
    if vantage is not Vantage.AUTO:
        return vantage is Vantage.FUNCTION
    check_privilege()
    return bool(Vantages(running_kernel()).plan().attachments)


def _trace(
    path: str, choice: Choice, live: LiveTrace, limits: tuple[float | None, Sequence[str]], stopping: Stopping
) -> int:
    seconds, command = limits
    with contextlib.ExitStack() as stack:
        trace = stack.enter_context(live)
        _announce(trace)
        keeper = stack.enter_context(kept(path, trace.info))
        process = stack.enter_context(running(command)) if command else None
        done = None if process is None else has_ended(process)
        wanted = choice.wanted
        shown = AtOnce(wanted, trace.info.mounts) if wanted.by_request else None
        loop = TraceLoop(trace, playing(shown, whole=True), Limits(seconds, done), keeper)
        reason = loop.run(_Until(choice.asked), stopping)
        ended_by_itself = process is not None and process.poll() is not None
    if reason is not None:
        click.echo(reason, err=True)
    return exit_status(process) if process is not None and ended_by_itself else 0


def _announce(trace: LiveTrace) -> None:
    if trace.waiting_for is not None:
        click.echo(f"Waiting for a FUSE mount on {trace.waiting_for}; Ctrl-C ends.", err=True)
    else:
        click.echo(f"Tracing on Linux {trace.info.kernel}, by {trace.info.vantage}; Ctrl-C ends.", err=True)


class _Until:
    """Lets a trace go on until the requests that are wanted have ended."""

    interval = 0.05

    def __init__(self, asked: Asked | None) -> None:
        self._asked = asked
        self._seen: set[int] = set()
        self._ended = 0
        self._end = math.inf

    def batch(self, _batch: Records, finished: Requests_) -> bool:
        """Count what ended."""
        if self._asked is None:
            return True
        rows = finished[self._asked.fitting(finished)]
        self._ended += len(rows)
        self._seen.update(rows["unique"].tolist())
        if self._end == math.inf and self._all_seen(self._asked):
            self._end = time.monotonic() + _GRACE_SECONDS
        return True

    def _all_seen(self, asked: Asked) -> bool:
        if asked.uniques:
            return self._seen >= asked.uniques
        return not asked.slowest and self._ended >= asked.most

    def wait(self, seconds: float, stopping: Stopping) -> bool:
        """Sleep; False: all have been seen, and what may come behind them."""
        stopping.wait(seconds)
        return time.monotonic() < self._end
