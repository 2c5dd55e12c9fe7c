"""Options that several commands share: what to trace."""

import math
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import click

from furtrace.wire.opcodes import Opcode, opcode_name

_NUMBER: Final = re.compile(r"[0-9]{1,10}")  # isdigit() takes digits that int() does not


class OpcodeList(click.ParamType[frozenset[int]]):
    """Operation names or numbers, separated by commas: ``READ,WRITE,53``. Case does not matter."""

    name = "op,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> frozenset[int]:
        """Return the operation codes."""
        if isinstance(value, frozenset):
            return value
        codes = set()
        for word in str(value).split(","):
            name = word.strip().upper().removeprefix("FUSE_")
            if name in Opcode.__members__:
                codes.add(int(Opcode[name]))
            elif _NUMBER.fullmatch(name) and int(name) < 1 << 32:
                codes.add(int(name))
            else:
                self.fail(f"{word!r} is no FUSE operation; try LOOKUP, READ, WRITE, ...", param, ctx)
        return frozenset(codes)


class NumberList(click.ParamType[frozenset[int]]):
    """Numbers separated by commas: ``0,1``."""

    name = "n,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> frozenset[int]:
        """Return the numbers."""
        if isinstance(value, frozenset):
            return value
        words = [word.strip() for word in str(value).split(",")]
        if not all(_NUMBER.fullmatch(word) and int(word) < 1 << 16 for word in words):
            self.fail(f"{value!r} is no list of queue numbers, such as 0,1", param, ctx)
        return frozenset(map(int, words))


@dataclass(frozen=True)
class What:
    """What to trace, as the user said it; empty or None: no limit."""

    connection: int | None
    mount: str | None
    pid: int | None
    client: int | None
    opcodes: frozenset[int]
    queues: frozenset[int]
    forgets: bool = False


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what to trace; :func:`what` takes them in."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def recorded_filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what to show of a recording; :func:`what` takes them in."""
    for option in reversed(_RECORDED_FILTERS):
        command = option(command)
    return command


_PID = click.IntRange(min=1)
_REQUEST_FILTERS = (
    click.option("--client", metavar="PID", type=_PID, help="Only requests of this client process."),
    click.option("--op", "opcodes", metavar="OP,...", type=OpcodeList(), default=frozenset(),
                 help="Only these operations, by name or number: READ,WRITE."),
    click.option("--queue", "queues", metavar="N,...", type=NumberList(), default=frozenset(),
                 help="Only these queues of the ring."),
)  # fmt: skip
# --mount is no click.Path: that would look at the directory, and wait for ever where the server hangs.
_FILTERS = (
    click.option("--connection", metavar="N", type=click.IntRange(min=1),
                 help="Only this connection (its number under /sys/fs/fuse/connections)."),
    click.option("--mount", metavar="DIR", type=str,
                 help="Only the connection mounted on DIR; if none is yet, wait for it and miss nothing of its start."),
    click.option("--pid", metavar="PID", type=_PID, help="Only connections that this server process serves."),
    *_REQUEST_FILTERS,
    click.option("--forgets", is_flag=True,
                 help="Also FORGET and INTERRUPT, by watching read(2); this slows every system call of the machine."),
)  # fmt: skip
_RECORDED_FILTERS = (
    click.option("--connection", metavar="N", type=click.IntRange(min=1), help="Only the connection of this number."),
    click.option("--mount", metavar="DIR", type=str, help="Only the connection that was mounted on DIR."),
    click.option("--pid", metavar="PID", type=_PID, help="Only connections that this server process served."),
    *_REQUEST_FILTERS,
)


def check_seconds(options: Mapping[str, Any], *names: str) -> None:
    """Check options that are numbers of seconds, or were not given.

    Raises:
        click.UsageError: one is no number of seconds.
    """
    for name in names:
        if options[name] is not None and not math.isfinite(options[name]):
            raise click.UsageError(f"--{name} takes a number of seconds.")


def filters_text(wanted: What) -> str:
    """The filters as options say them; empty: none."""
    words = [f"--{name} {value}" for name, value in (("connection", wanted.connection), ("pid", wanted.pid)) if value]
    words += [f"--mount {shlex.quote(wanted.mount)}"] if wanted.mount is not None else []
    words += [f"--client {wanted.client}"] if wanted.client else []
    words += ["--op " + ",".join(map(opcode_name, sorted(wanted.opcodes)))] if wanted.opcodes else []
    words += ["--queue " + ",".join(map(str, sorted(wanted.queues)))] if wanted.queues else []
    return " ".join([*words, *(["--forgets"] if wanted.forgets else [])])


def probe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how the kernel is watched: ``steps`` and ``vantage``."""
    for option in reversed(_PROBES):
        command = option(command)
    return command


_PROBES = (
    click.option("--steps", type=click.Choice(["protocol", "kernel"]), default="protocol", show_default=True,
                 help="How fine: what server and kernel say to each other, or also what the kernel does in between."),
    click.option("--vantage", type=click.Choice(["auto", "function", "tracepoint"]), default="auto", show_default=True,
                 help="Where the kernel is watched: at its functions where it lets them be, or at tracepoints alone."),
)  # fmt: skip


def what(options: dict[str, Any]) -> What:
    """Take the filter options out of a command's options.

    Raises:
        click.UsageError: they exclude each other.
    """
    taken = What(**{name: options.pop(name) for name in What.__dataclass_fields__ if name in options})
    if sum(choice is not None for choice in (taken.connection, taken.mount, taken.pid)) > 1:
        raise click.UsageError("--connection, --mount and --pid choose the connection in different ways; give one.")
    return taken
