"""``furtrace demo``."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from furtrace.cli.demo_report import FirstLines, list_faults, show_faults, show_sums
from furtrace.cli.keeping import Keeper, kept
from furtrace.cli.shipped import obstacle, replay
from furtrace.cli.showing import ascii_only
from furtrace.cli.stopping import Stopping
from furtrace.cli.tracing import Limits, TraceLoop
from furtrace.demo.errors import DemoError
from furtrace.demo.faults import FAULTS
from furtrace.demo.modes import Mode
from furtrace.demo.options import conflict, mode_of
from furtrace.demo.process import DemoServer
from furtrace.demo.profiles import PROFILES
from furtrace.demo.traffic import MIXED
from furtrace.model.conversation import Conversation
from furtrace.probe.errors import ProbeError
from furtrace.probe.filters import Filters
from furtrace.probe.live import LiveTrace, Target
from furtrace.views.lines import RequestLines

_FAULT_SECONDS = 10.0
"""How long the traffic of a server with a fault goes on at most: on some faults it hangs."""
_LAST_SECONDS = 0.5
"""For what the kernel tells the server when the traffic is killed."""


@click.command("demo", short_help="See it work, with a server of our own.")
@click.option(
    "--profile", type=click.Choice([*PROFILES, MIXED]), default=MIXED, show_default=True, help="Kind of traffic."
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same traffic.")
@click.option(
    "--scale", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True, help="How much traffic."
)
@click.option("--depth", type=click.IntRange(1, 1024), default=8, show_default=True, help="Entries of each queue.")
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode]),
    help="How payload travels; all but plain need Linux 7.3.  [default: plain, or what --fault needs]",
)
@click.option("--buffers", type=click.IntRange(1, 1024), help="Buffers of each queue's pool.  [default: --depth]")
@click.option("--no-uring", is_flag=True, help="A server that reads and writes /dev/fuse instead.")
@click.option("--fault", type=click.Choice(list(FAULTS)), metavar="NAME", help="What the server is to do wrong.")
@click.option(
    "--list-faults",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=list_faults,
    help="List what --fault can name, and exit.",
)
@click.option(
    "--lines", type=click.IntRange(min=0), default=25, show_default=True, help="How many lines of the trace to show."
)
@click.option("--record", metavar="FILE", help="Also write the trace to a recording.")
def command(lines: int, profile: str, seed: int, scale: float, record: str | None, **server: Any) -> None:
    """Mount a FUSE-over-io_uring server of our own in a temporary place, give it traffic, trace it live from its INIT
    on, and print what was seen, beside what the server itself has logged. Where that can't be, a recording is shown.

    Nothing stays mounted, and enable_uring is put back to what it was.

    With --fault the server does one thing wrong, and says so at the end; traffic that hangs is ended.

    \b
    Examples:
      furtrace demo
      furtrace demo --profile metadata --seed 7 --lines 100
      furtrace demo --mode zero-copy --depth 8 --buffers 2
      furtrace demo --fault no-answer
    """  # noqa: D205, D301 - click folds the lines, and wants the control character itself
    options = _server_options(**server)
    why = obstacle(options["mode"], uring=options["uring"])
    if why is not None:
        sys.exit(_without_server(options, why, lines))
    try:
        sys.exit(_Demo(profile, seed, scale, options, lines, record).run())
    except CannotTraceError as problem:
        sys.exit(_without_server(options, str(problem), lines))
    except DemoError as problem:
        raise ProbeError(f"The demo did not run: {problem}.") from problem


def _server_options(mode: str | None, no_uring: bool, fault: str | None, **others: Any) -> dict[str, Any]:
    """What to start the server with; a usage error where options do not go together."""
    wrong = FAULTS[fault] if fault else None
    chosen = mode_of(mode, wrong)
    complaint = conflict(chosen, uring=not no_uring, buffers=others["buffers"], fault=wrong)
    if complaint:
        raise click.UsageError(complaint)
    return {"mode": chosen, "uring": not no_uring, "fault": fault, **others}


def _without_server(options: dict[str, Any], why: str, lines: int) -> int:
    """Show a recording instead, and return the exit status; there is none of a server with a fault."""
    if options["fault"]:
        raise ProbeError(f"The fault can't be committed on this machine: {why}.")
    return replay(options["mode"], why, lines)


class CannotTraceError(Exception):
    """Nothing can be traced on this machine; the message is a part of a sentence."""


@contextlib.contextmanager
def _tracing(mountpoint: Path) -> Iterator[LiveTrace]:
    with contextlib.ExitStack() as stack:
        try:
            trace = stack.enter_context(LiveTrace(Target(mount=str(mountpoint)), Filters()))
        except ProbeError as problem:
            raise CannotTraceError(str(problem).rstrip(".")) from problem
        yield trace


@dataclass
class _Demo:
    """One run of the command."""

    profile: str
    seed: int
    scale: float
    server: dict[str, Any]
    lines: int
    record: str | None
    conversation: Conversation = field(default_factory=Conversation)
    seen: Counter[tuple[int, int, int]] = field(default_factory=Counter)

    def run(self) -> int:
        """Run it all and return the exit status."""
        console = Console(highlight=False)
        with contextlib.ExitStack() as stack:
            stopping = stack.enter_context(Stopping())
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="furtrace-demo-")))
            mountpoint, log, faults = folder / "mnt", folder / "server.log", folder / "faults.log"
            mountpoint.mkdir()
            console.print(f"Attaching the probes, then mounting the demo server on {mountpoint} ...")
            trace = stack.enter_context(_tracing(mountpoint))
            options = self.server | ({"log_faults": faults} if self.server["fault"] else {})
            server = DemoServer(**options, log=log, directory=mountpoint)
            keeper = stack.enter_context(kept(self.record, trace.info))
            loop = self._trace(stack, trace, server, stopping, keeper)
            show_sums(console, self.conversation, loop.elapsed_ns())
            console.print()
            if self.server["fault"]:
                return show_faults(console, faults)
            # What a signal cut off was answered to nobody, so the two can't be the same.
            return self._compare(console, log) if stopping.signal is None else 0

    def _trace(
        self,
        stack: contextlib.ExitStack,
        trace: LiveTrace,
        server: DemoServer,
        stopping: Stopping,
        keeper: Keeper | None,
    ) -> TraceLoop:
        output = FirstLines(
            RequestLines(trace.info, self.conversation.paths, ascii_only=ascii_only()), self.lines, self.seen
        )
        with server:
            command = [sys.executable, "-m", "furtrace.demo.traffic", str(server.mountpoint)]
            command += ["--profile", self.profile, "--seed", str(self.seed), "--scale", str(self.scale)]
            fault = self.server["fault"] is not None
            # With a fault in a session of its own, so that all the programs that it runs can be ended with it.
            traffic = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=fault)
            )
            stack.callback(traffic.terminate)
            seconds = _FAULT_SECONDS if fault else None
            loop = TraceLoop(trace, self.conversation, Limits(seconds, lambda: traffic.poll() is not None), keeper)
            loop.run(output, stopping)
            if fault and traffic.poll() is None:
                os.killpg(traffic.pid, signal.SIGKILL)
                stopping.wait(_LAST_SECONDS)
                loop.step(output)
        loop.step(output)  # the server has answered what its unmounting brought
        if traffic.wait() and stopping.signal is None and not fault:
            raise DemoError("the traffic found wrong data in the demo's file system")
        return loop

    def _compare(self, console: Console, log: Path) -> int:
        """Say whether the server's own log tells of the same requests with the same results; return the exit status."""
        logged = Counter(_logged(log))
        missed, invented = logged - self.seen, self.seen - logged
        console.print(f"The server's own log tells of {logged.total()} requests; the trace of {self.seen.total()}.")
        if not missed and not invented:
            console.print("They are the same, request by request: unique, operation, error.")
            return 0
        console.print(f"Not in the trace: {missed.total()}. Not in the log: {invented.total()}.")
        return 1


def _logged(log: Path) -> Iterator[tuple[int, int, int]]:
    """Unique, opcode and error of each request that the server says it answered."""
    for line in log.read_text().splitlines():
        seen = json.loads(line)
        if seen["error"] is not None:
            yield seen["unique"], seen["opcode"], seen["error"]
