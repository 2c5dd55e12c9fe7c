"""What pictures of memory are made of: boxes side by side, and gauges."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.cells import cell_len, set_cell_size

_BOX: Final = 24
"""Cells of a box at least."""
_GAUGE: Final = 20


def gauge(used: int, whole: int | None) -> str:
    """How full: ``[#####-----] 1 of 2``."""
    if not whole:
        return str(used)
    filled = min(_GAUGE, -(-used * _GAUGE // whole))
    return f"[{'#' * filled}{'-' * (_GAUGE - filled)}] {used} of {whole}"


def boxes(cells: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Boxes side by side, as many as fit, with the lines of text that each has."""
    if not cells:
        return
    size = max(_BOX, *(cell_len(line) + 2 for lines in cells for line in lines))
    size = min(size, width - 2)
    across = max(1, (width - 1) // (size + 1))
    height = max(map(len, cells))
    for start in range(0, len(cells), across):
        row = cells[start : start + across]
        rule = "+" + "+".join("-" * size for _ in row) + "+"
        yield rule
        for at in range(height):
            texts = (lines[at] if at < len(lines) else "" for lines in row)
            yield "|" + "|".join(set_cell_size(f" {text}", size) for text in texts) + "|"
    yield rule
