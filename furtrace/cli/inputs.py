"""What a command is given to read: a file, or standard input."""

import os
import sys
from typing import Final

from furtrace.cli.errors import InputError
from furtrace.cli.hextext import LIMIT

STDIN: Final = "-"


def read_input(name: str) -> bytes:
    """Return all of a file; of standard input if the name is ``-``.

    Raises:
        InputError: it can't be read, is empty, or too long.
    """
    shown = "Standard input" if name == STDIN else ascii(name)
    try:
        given = _read(name)
    except OSError as error:
        raise InputError(f"{shown} can't be read: {os.strerror(error.errno or 0)}.") from None
    if len(given) > LIMIT:
        raise InputError(f"{shown} has more than {LIMIT >> 20} MiB, which is too long for a message.")
    if not given:
        raise InputError(f"{shown} is empty.")
    return given


def _read(name: str) -> bytes:
    """At most one byte more than the limit."""
    if name != STDIN:
        with open(name, "rb") as file:  # noqa: PTH123 - a Path would turn "" into the current directory
            return file.read(LIMIT + 1)
    if sys.stdin is None:
        raise InputError("Standard input is closed.")
    return sys.stdin.buffer.read(LIMIT + 1)


def has_stdin() -> bool:
    """Whether standard input is something else than a terminal."""
    return sys.stdin is None or not sys.stdin.isatty()
