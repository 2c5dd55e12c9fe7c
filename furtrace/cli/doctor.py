"""``furtrace doctor``."""

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from furtrace.probe import bcc
from furtrace.probe.btf import BTF_DIRECTORY, libbpf_version, running_kernel
from furtrace.probe.connections import Connection, connections
from furtrace.probe.errors import ProbeError
from furtrace.probe.filters import Filters
from furtrace.probe.kallsyms import fuse_functions
from furtrace.probe.privilege import check_privilege, may_trace
from furtrace.probe.program import Program
from furtrace.probe.vantage import Choice, Vantages
from furtrace.trace.record import Kind, Step
from furtrace.wire.dialect import dialect_of
from furtrace.wire.text import printable

_ENABLE_URING = Path("/sys/module/fuse/parameters/enable_uring")


@dataclass
class _Finding:
    """A line of the report; a remedy makes it a failure."""

    name: str
    said: str
    remedy: str | None = None


@dataclass
class _Report:
    findings: list[_Finding] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)

    def check(self, name: str, ask: Callable[[], str]) -> bool:
        """Add what ``ask`` returns, or the remedy that it raises; return whether it was fine."""
        try:
            self.findings.append(_Finding(name, ask()))
        except ProbeError as problem:
            self.findings.append(_Finding(name, "no", str(problem)))
            return False
        return True

    @property
    def remedies(self) -> list[str]:
        return [finding.remedy for finding in self.findings if finding.remedy]


@click.command("doctor", short_help="Say what can be traced here.")
def command() -> None:
    """Say what can be traced on this machine: kernel, BTF, bcc, privileges, where each protocol event will be seen and
    why not at a better place, and the FUSE connections at hand.

    Exit status 1 if live tracing can't work; the last lines say what to do.

    \b
    Example:
      furtrace doctor
    """  # noqa: D301, D205 - click wants the control character itself, and folds the lines
    report = _examine()
    console = Console(highlight=False)
    _print_findings(console, report)
    if report.choices:
        _print_choices(console, report.choices)
    _print_connections(console, report)
    for remedy in report.remedies:
        console.print(Text(f"To do: {remedy}"), soft_wrap=True)
    sys.exit(1 if report.remedies else 0)


def _examine() -> _Report:
    report = _Report()
    report.findings.append(_Finding("kernel", f"Linux {platform.release()} {platform.machine()}"))
    has_types = report.check("BTF", _btf)
    report.check("libbpf", libbpf_version)
    has_bcc = report.check("bcc", lambda: f"{bcc.version()} ({bcc.place()})")
    allowed = report.check("privileges", _privileges)
    has_symbols = report.check("symbols", lambda: f"{len(fuse_functions())} functions of fuse and io_uring")
    report.findings.append(_enable_uring())
    if has_types:
        members = running_kernel().members("fuse_uring_ent_in_out")
        report.findings.append(
            _Finding("dialect", str(dialect_of(members)) if members else "none: no io_uring in fuse")
        )
    if has_types and has_symbols and allowed:
        report.choices = Vantages(running_kernel()).choices()
    if has_types and has_bcc and allowed and has_symbols:
        report.check("probes", lambda: _load(report))
    return report


def _btf() -> str:
    running_kernel()
    return str(BTF_DIRECTORY / "vmlinux") + (" and fuse (a module)" if (BTF_DIRECTORY / "fuse").exists() else "")


def _privileges() -> str:
    check_privilege()
    return "enough (CAP_BPF, CAP_PERFMON)"


def _load(report: _Report) -> str:
    """Attach what a trace would, and ask the iterator that is part of it for the connections."""
    program = Program(Filters(), Vantages(running_kernel()).plan())
    try:
        report.connections = connections(program.bpf)
    finally:
        program.close()
    return "compile, load, and attach"


def _enable_uring() -> _Finding:
    if not _ENABLE_URING.exists():
        return _Finding("enable_uring", "not there: fuse is not loaded, or older than io_uring (Linux 6.14)")
    state = _ENABLE_URING.read_text().strip()
    hint = "" if state == "Y" else f"; servers get io_uring after `echo Y > {_ENABLE_URING}`"
    return _Finding("enable_uring", state + hint)


def _print_findings(console: Console, report: _Report) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in report.findings:
        mark = Text("no", style="red") if finding.remedy else Text("ok", style="green")
        table.add_row(mark, Text(finding.name), Text(finding.said if not finding.remedy else "see below"))
    console.print(table)


def _print_choices(console: Console, choices: list[Choice]) -> None:
    events = [choice for choice in choices if isinstance(choice.about, Kind)]
    steps = [choice for choice in choices if isinstance(choice.about, Step)]
    console.print()
    console.print(_choice_table("Where each event is seen", "event", events))
    for note in (
        "* with --steps kernel alone.",
        "FORGET and INTERRUPT pass no tracepoint; `furtrace live --forgets` shows them.",
    ):
        console.print(Text(note, style="dim"))
    console.print()
    console.print(_choice_table("Steps inside the kernel (--steps kernel)", "function", steps))


def _choice_table(title: str, head: str, choices: list[Choice]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column(head, no_wrap=True)
    table.add_column("seen at", overflow="fold")
    table.add_column("why not" if head == "function" else "why not at a better place")
    for choice in choices:
        about = choice.about
        name = about.function if isinstance(about, Step) else about.name + ("*" if choice.kernel else "")
        better = choice.lacking or "; ".join(_why_not(place.name, name, reason) for place, reason in choice.better)
        seen = Text(choice.seen or "not seen", style="" if choice.seen else "dim")
        table.add_row(Text(name), seen, Text(better, style="dim"))
    return table


def _why_not(place: str, name: str, reason: str) -> str:
    return reason if place == name else f"{place}: {reason}"


def _print_connections(console: Console, report: _Report) -> None:
    console.print()
    if not may_trace():
        return
    if not report.connections:
        console.print("No FUSE connections here.")
        return
    table = Table(title="FUSE connections", title_justify="left", box=None, pad_edge=False)
    for column in ("connection", "mount point", "server", "transport", "queues", "entries"):
        table.add_column(column)
    for connection in report.connections:
        mounts = ", ".join(printable(mount.encode(errors="surrogateescape")) for mount in connection.mountpoints)
        servers = ", ".join(f"{printable(comm)}[{pid}]" for pid, comm in connection.servers.items())
        table.add_row(
            str(connection.number),
            Text(mounts or "not mounted here"),
            Text(servers or "gone"),
            _transport(connection),
            str(connection.queues) if connection.ring else "-",
            str(connection.entries) if connection.ring else "-",
        )
    console.print(table)


def _transport(connection: Connection) -> str:
    if not connection.connected:
        return "ended"
    if not connection.initialized:
        return "waits for the INIT reply"
    if not connection.ring:
        return "/dev/fuse"
    return "io_uring" if connection.ready else "io_uring, not ready"
