"""The demo where nothing can be traced: recordings of it that ship with furtrace."""

import math
import os
from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from furtrace.cli.demo_report import FirstLines, show_sums
from furtrace.cli.showing import ascii_only
from furtrace.demo.modes import Mode
from furtrace.model.conversation import Conversation
from furtrace.probe.btf import running_kernel
from furtrace.trace.merging import Recordings
from furtrace.views.lines import RequestLines

_DEVICE: Final = Path("/dev/fuse")
_ENABLE_URING: Final = Path("/sys/module/fuse/parameters/enable_uring")
_RECORDINGS: Final = {
    Mode.PLAIN: "plain.pcapng.zst",
    Mode.POOL: "pool.pcapng.zst",
    Mode.FIXED_POOL: "pool.pcapng.zst",
    Mode.ZERO_COPY: "zero-copy.pcapng.zst",
}


def obstacle(mode: Mode, *, uring: bool) -> str | None:
    """Why the demo's server can't run on this machine, as a part of a sentence; None: nothing is known to be wrong."""
    if os.geteuid() != 0:
        return "it takes root"
    if not _DEVICE.exists():
        return f"there is no {_DEVICE}"
    if uring and not _ENABLE_URING.exists():
        return "its kernel has no FUSE over io_uring (Linux 6.14 on)"
    if mode.pooled and not running_kernel().members("fuse_bufpool"):
        return "its kernel has no buffer pools (Linux 7.3 on)"
    return None


def path_of(mode: Mode) -> Path:
    """The recording of a mode."""
    return Path(str(resources.files("furtrace.demo"))) / "recordings" / _RECORDINGS[mode]


def replay(mode: Mode, why: str, lines: int) -> int:
    """Show the recording of a mode as the demo shows its own trace, and return the exit status.

    Args:
        mode: of the server.
        why: the demo did not run, a part of a sentence.
        lines: how many are shown.
    """
    path, conversation, seen = path_of(mode), Conversation(), Counter[tuple[int, int, int]]()
    click.echo(f"The demo can't run on this machine: {why}.")
    first, last = math.inf, 0
    with Recordings([str(path)]) as recordings:
        info = recordings.info
        click.echo(f"So here is a recording of it, made on Linux {info.kernel}, {info.dialect} dialect.")
        click.echo(f"To look at all of it: furtrace replay {path}")
        output = FirstLines(RequestLines(info, conversation.paths, ascii_only=ascii_only()), lines, seen)
        for batch in recordings.batches():
            output.batch(batch, conversation.feed(batch))
            first, last = min(first, int(batch["ns"].min())), max(last, int(batch["ns"].max()))
    show_sums(Console(highlight=False), conversation, last - int(first))
    return 0
