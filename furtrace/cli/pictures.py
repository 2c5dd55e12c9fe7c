"""Where drawings go: standard output, as a picture or as JSON, and files for reports."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console, RenderableType

from furtrace.cli.keeping import writing
from furtrace.cli.showing import ascii_only, show
from furtrace.trace.files import create
from furtrace.views.fitting import drawn_width
from furtrace.views.live_table import ASCII, UNICODE, Glyphs

_REPORT_WIDTH: Final = 120


@dataclass(frozen=True)
class Picture:
    """A drawing. ``draw``: makes it of the characters that may be shown; ``tell``: makes the object for JSON."""

    draw: Callable[[Glyphs], RenderableType]
    tell: Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Places:
    """Where drawings go besides: names of files, None: none."""

    as_json: bool = False
    svg: str | None = None
    html: str | None = None
    force: bool = False


def put(pictures: Sequence[Picture], places: Places) -> None:
    """Write drawings to standard output, and to the files that are asked for.

    Raises:
        OutputError, WriteError: they can't be written.
    """
    glyphs = ASCII if ascii_only() else UNICODE
    for at, picture in enumerate(pictures):
        if places.as_json:
            show(picture.tell())
            continue
        if at:
            show("")
        show(picture.draw(glyphs))
    if pictures and places.svg is not None:
        _write(places.svg, _recorded(pictures).export_svg(title="furtrace flow"), force=places.force)
    if pictures and places.html is not None:
        _write(places.html, _recorded(pictures).export_html(), force=places.force)


def _recorded(pictures: Sequence[Picture]) -> Console:
    """All of them, as rich remembers what it would have written; as wide as the terminal, or as COLUMNS says."""
    width = drawn_width(shutil.get_terminal_size((_REPORT_WIDTH, 1)).columns)
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        console = Console(file=nowhere, record=True, width=width, highlight=False, force_terminal=True)
        for picture in pictures:
            console.print(picture.draw(UNICODE))
            console.print()
    return console


def _write(path: str, text: str, *, force: bool) -> None:
    """Make a file.

    Raises:
        WriteError: it can't be made.
    """
    with writing(path), os.fdopen(create(path, force=force), "wb") as file:
        file.write(text.encode())
