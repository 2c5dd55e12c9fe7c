"""The command after `--`: a trace lasts as long as it runs."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Final

from furtrace.probe.errors import ProbeError

_PATIENCE_SECONDS: Final = 5


@contextlib.contextmanager
def running(
    command: Sequence[str], *, quiet: bool = False, own_output: bool = False
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command meanwhile. Its output goes to standard error, so that standard output may hold the trace alone.

    Args:
        command: program and arguments.
        quiet: a full screen is up; what the command writes is shown after it.
        own_output: its output is left where it is; standard output holds no trace.

    Raises:
        ProbeError: it can't be started.
    """
    with contextlib.ExitStack() as stack:
        sink: IO[bytes] | None = stack.enter_context(tempfile.TemporaryFile()) if quiet else None
        try:
            process = subprocess.Popen(command, stdout=None if own_output else sink or sys.stderr, stderr=sink)
        except OSError as error:
            raise ProbeError(f"The command {command[0]!r} can't be run: {os.strerror(error.errno or 0)}.") from None
        try:
            yield process
        finally:
            _end(process)
            if sink is not None:
                stack.callback(_show, sink)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the command if the trace ended first; one that sleeps in the kernel on a hung mount is left to itself."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"furtrace: process {process.pid} does not end; it is left running.", file=sys.stderr)


def _show(sink: IO[bytes]) -> None:
    sink.seek(0)
    sys.stderr.buffer.write(sink.read())
    sys.stderr.flush()


def has_ended(process: "subprocess.Popen[bytes]") -> Callable[[], bool]:
    """Tells whether a command has ended."""
    return lambda: process.poll() is not None


def exit_status(process: "subprocess.Popen[bytes]") -> int:
    """The command's exit status as a shell would tell it."""
    status = process.returncode or 0
    return 128 - status if status < 0 else status
