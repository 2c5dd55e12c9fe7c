"""Where views, lines and JSON objects go: standard output, which may be a terminal, a pipe, or gone."""

import io
import json
import os
import sys
from typing import Any, Final

from rich.console import Console, RenderableType

from furtrace.cli.errors import OutputError

_ENDLESS: Final = 1 << 20
"""Columns of an output that is no terminal: lines are as long as they are."""


def show(shown: RenderableType | dict[str, Any]) -> None:
    """Write to standard output; a terminal's width counts, and so does COLUMNS.

    Raises:
        OutputError: it can't be written.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the locale may lack what a name needs
    try:
        if isinstance(shown, dict):
            sys.stdout.write(json.dumps(shown, separators=(",", ":")) + "\n")
        else:
            _console().print(shown, soft_wrap=True)
        sys.stdout.flush()
    except BrokenPipeError:
        raise  # click ends quietly
    except OSError as error:
        raise OutputError(error, tracing=False) from None


def write_lines(lines: list[str]) -> None:
    """Write lines to standard output at once, so that a reader of a pipe has them."""
    if lines:
        # A name's lone surrogates can't be here (views escape them), but the locale may lack what a name needs.
        data = ("\n".join(lines) + "\n").encode(sys.stdout.encoding or "utf-8", "backslashreplace")
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def ascii_only() -> bool:
    """Whether standard output takes no Unicode."""
    return (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"


def _console() -> Console:
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return Console(highlight=False)
    # Without a height rich would take the width of a terminal that can do nothing.
    return Console(highlight=False, width=_ENDLESS, height=1)
