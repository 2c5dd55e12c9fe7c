"""The demo server's options, and its command line."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from furtrace.demo.entries import Buffers, OwnBuffers
from furtrace.demo.modes import Mode
from furtrace.demo.pools import PoolBuffers
from furtrace.demo.session import Limits

MAX_DEPTH = 1024
MIN_WRITE = 4096
MAX_WRITE = 1 << 20


@dataclass(frozen=True)
class Options:
    """What to serve and how; a log that is ``None`` is not kept; ``until_eof`` ends with the standard input.

    ``buffers`` of each queue's pool; ``None``: as many as entries.
    """

    directory: Path
    depth: int = 8
    buffers: int | None = None
    limits: Limits = field(default_factory=Limits)
    log: Path | None = None
    log_commands: Path | None = None
    until_eof: bool = False

    def queue_memory(self) -> Buffers:
        """Return the memory of one more queue."""
        size = self.limits.payload_size
        if not self.limits.mode.pooled:
            return OwnBuffers(self.depth, size)
        return PoolBuffers(self.limits.mode, self.depth, self.buffers or self.depth, size)


def parse(arguments: Sequence[str] | None) -> Options:
    """Read a command line; one that is wrong ends the process with status 2."""
    parser = _parser()
    given = parser.parse_args(arguments)
    mode = Mode(given.mode)
    complaint = conflict(mode, uring=given.uring, buffers=given.buffers)
    if complaint:
        parser.error(complaint)
    limits = Limits(max_write=given.max_write, uring=given.uring, mode=mode)
    return Options(
        given.directory.resolve(),
        given.depth,
        given.buffers,
        limits,
        given.log,
        given.log_commands,
        given.until_eof,
    )


def conflict(mode: Mode, *, uring: bool, buffers: int | None) -> str | None:
    """Return what is wrong with options that do not go together, or ``None``."""
    if not uring and mode is not Mode.PLAIN:
        return f"--mode {mode} is a way to use io_uring and does not go with --no-uring"
    if buffers is not None and not mode.pooled:
        return "--buffers is for modes with a buffer pool: --mode pool, fixed-pool or zero-copy"
    return None


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
    add("--mode", choices=list(Mode), default=Mode.PLAIN, help="how payload travels (default plain)")
    add("--buffers", type=_between(1, MAX_DEPTH), help="buffers of a queue's pool (default: as many as entries)")
    add("--no-uring", dest="uring", action="store_false", help="serve through /dev/fuse alone")
    add("--log", type=Path, metavar="FILE", help="write what was received and answered, as JSON lines")
    add("--log-commands", type=Path, metavar="FILE", help="write what was submitted to the rings, as JSON lines")
    add("--until-eof", action="store_true", help="end when the pipe on standard input is closed")
    return parser


def _between(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not between {low} and {high}")
        return value

    return number
