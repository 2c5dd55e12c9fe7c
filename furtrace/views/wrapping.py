"""Long texts in few columns, with nothing left out."""

import re
from typing import Final

from rich.cells import cell_len, chop_cells

_BREAK: Final = re.compile(r"(?<=[ |.])|(?=\\)")


def wrapped(text: str, width: int, hang: int = 0) -> list[str]:
    """Break a text into lines, between words, flags and escapes where possible; joined again they are the text.

    Args:
        text: one line.
        width: columns of the first line.
        hang: by how many columns the others are narrower; two at least have to be left.
    """
    if cell_len(text) <= width:
        return [text]
    lines, room = [""], width
    for chunk in _BREAK.split(text):
        if lines[-1] and cell_len(lines[-1]) + cell_len(chunk) > room:
            lines.append("")
            room = width - hang
        rest = chunk
        while cell_len(rest) > room:
            piece = chop_cells(rest, room)[0]
            lines[-1] += piece
            lines.append("")
            rest = rest[len(piece) :]
            room = width - hang
        lines[-1] += rest
    return lines
