"""The demo server's options, and its command line."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from furtrace.demo.entries import Buffers, OwnBuffers
from furtrace.demo.faults import FAULTS, Fault
from furtrace.demo.modes import Mode
from furtrace.demo.pools import PoolBuffers
from furtrace.demo.session import Limits

MAX_DEPTH = 1024
MIN_WRITE = 4096
MAX_WRITE = 1 << 20


@dataclass(frozen=True)
class Options:
    """What to serve and how; a log that is ``None`` is not kept; ``until_eof`` ends with the standard input.

    ``buffers`` of each queue's pool; ``None``: as many as entries. ``fault`` is what the server does wrong.
    """

    directory: Path
    depth: int = 8
    buffers: int | None = None
    limits: Limits = field(default_factory=Limits)
    log: Path | None = None
    log_commands: Path | None = None
    until_eof: bool = False
    fault: Fault | None = None
    log_faults: Path | None = None

    def queue_memory(self) -> Buffers:
        """Return the memory of one more queue."""
        size = self.limits.payload_size
        if not self.limits.mode.pooled:
            return OwnBuffers(self.depth, size)
        part_of_fault = self.fault.buffers if self.fault else None
        return PoolBuffers(self.limits.mode, self.depth, self.buffers or part_of_fault or self.depth, size)


def parse(arguments: Sequence[str] | None) -> Options:
    """Read a command line; one that is wrong ends the process with status 2."""
    parser = _parser()
    given = parser.parse_args(arguments)
    fault = FAULTS[given.fault] if given.fault else None
    mode = mode_of(given.mode, fault)
    complaint = conflict(mode, uring=given.uring, buffers=given.buffers, fault=fault)
    if given.log_faults and not fault:
        complaint = "--log-faults is for a server with --fault"
    if complaint:
        parser.error(complaint)
    uring, unoffered = (fault.uring, fault.init_flags) if fault else (given.uring, 0)
    limits = Limits(max_write=given.max_write, uring=uring, mode=mode, unoffered=unoffered)
    return Options(
        given.directory.resolve(),
        given.depth,
        given.buffers,
        limits,
        given.log,
        given.log_commands,
        given.until_eof,
        fault,
        given.log_faults,
    )


def mode_of(given: str | None, fault: Fault | None) -> Mode:
    """Return the mode that was given, or else that which the fault needs, or plain."""
    if given is None:
        return fault.modes[0] if fault else Mode.PLAIN
    return Mode(given)


def conflict(mode: Mode, *, uring: bool, buffers: int | None, fault: Fault | None = None) -> str | None:
    """Return what is wrong with options that do not go together, or ``None``."""
    if fault and not uring:
        return f"--fault {fault.name} is about io_uring and does not go with --no-uring"
    if fault and mode not in fault.modes:
        return f"--fault {fault.name} does not go with --mode {mode}; it needs {_listed(fault.modes)}"
    if fault and fault.buffers and buffers is not None:
        return f"--fault {fault.name} settles the number of buffers and does not go with --buffers"
    if not uring and mode is not Mode.PLAIN:
        return f"--mode {mode} is a way to use io_uring and does not go with --no-uring"
    if buffers is not None and not mode.pooled:
        return "--buffers is for modes with a buffer pool: --mode pool, fixed-pool or zero-copy"
    return None


def _listed(modes: Sequence[Mode]) -> str:
    return " or ".join(filter(None, (", ".join(modes[:-1]), modes[-1])))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="furtrace.demo.server",
        description="Serve a file system in memory by FUSE.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("directory", metavar="DIR", type=Path, help="where to mount")
    add("--depth", type=_between(1, MAX_DEPTH), default=8, help="entries a queue (default 8)")
    add("--max-write", type=_between(MIN_WRITE, MAX_WRITE), default=131072, help="bytes a request (default 131072)")
    add("--mode", choices=list(Mode), help="how payload travels (default: plain, or what the fault needs)")
    add("--buffers", type=_between(1, MAX_DEPTH), help="buffers of a queue's pool (default: as many as entries)")
    add("--no-uring", dest="uring", action="store_false", help="serve through /dev/fuse alone")
    add("--log", type=Path, metavar="FILE", help="write what was received and answered, as JSON lines")
    add("--log-commands", type=Path, metavar="FILE", help="write what was submitted to the rings, as JSON lines")
    add("--fault", choices=list(FAULTS), metavar="NAME", help="what to do wrong; furtrace demo --list-faults tells")
    add("--log-faults", type=Path, metavar="FILE", help="write when the fault was committed, as JSON lines")
    add("--until-eof", action="store_true", help="end when the pipe on standard input is closed")
    return parser


def _between(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not between {low} and {high}")
        return value

    return number
