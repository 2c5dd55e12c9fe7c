"""Distributions of durations, drawn: a line for each phase, or bars for one."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from furtrace.model.histograms import Distribution
from furtrace.views.live_table import Glyphs
from furtrace.views.units import count, duration

_LEVELS: Final = {False: " ▁▂▃▄▅▆▇█", True: " .:-=+*#@"}
_EIGHTHS: Final = "▏▎▍▌▋▊▉█"
_MOST_BAR: Final = 60
_DECADE: Final = math.log2(10)


def spread(distributions: Sequence[Distribution]) -> tuple[int, int]:
    """From which octave to behind which one they reach, all together: octave N begins at 2**N ns.

    What took no time that a clock could tell stretches nothing.
    """
    used = np.concatenate([np.empty(0, np.intp), *(np.flatnonzero(_binned(each, 1)) for each in distributions)])
    measured = used[used > 0]
    return (int(measured.min()), int(measured.max()) + 1) if len(measured) else (0, 1)


def _binned(distribution: Distribution, bits: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Counts by ``bits`` equal parts of each octave, 1 or 2: 2**N to 1.5 * 2**N, and from there to 2**(N+1)."""
    counts = distribution.counts.astype(np.int64)
    together: np.ndarray[tuple[int], np.dtype[np.int64]] = counts.reshape(-1, (1 << distribution.bits) // bits).sum(
        axis=1
    )
    return together


def line(distribution: Distribution, octaves: tuple[int, int], parts: int, glyphs: Glyphs) -> str:
    """How many there are in each part of each octave: a character for each, as high as its share of the most."""
    first, end = octaves
    counts = _binned(distribution, parts)[parts * first : parts * end]
    most, levels = max(int(counts.max(initial=0)), 1), _LEVELS[glyphs.ascii_only]
    # What there is one of is to be seen beside what there are millions of.
    return "".join(levels[-(-int(number) * (len(levels) - 1) // most)] for number in counts)


def axis(octaves: tuple[int, int], parts: int) -> str:
    """Powers of ten, each where it is in a :func:`line`."""
    first, end = octaves
    text = ""
    for power in range(math.ceil(first / _DECADE), math.floor(end / _DECADE) + 1):
        at = int(parts * (power * _DECADE - first))
        label = "|" + duration(10.0**power).replace(".00", "").replace(".0", "")
        if (not text or at > len(text)) and at + len(label) <= parts * (end - first):
            text = text.ljust(at) + label
    return text.ljust(parts * (end - first))


def bars(distribution: Distribution, width: int, glyphs: Glyphs) -> Iterator[str]:
    """A line for each half of an octave: from when to when, how many, and a bar as long as its share."""
    counts = _binned(distribution, 2)
    used = np.flatnonzero(counts)
    if not len(used):
        return
    total, most = int(counts.sum()), int(counts.max())
    rows = []
    for at in range(int(used[0]), int(used[-1]) + 1):
        begin, behind = _edge(at), _edge(at + 1)
        share = f"{100 * counts[at] / total:.1f}%" if counts[at] else "-"
        rows.append((f"{duration(begin)}", f"{duration(behind)}", f"{counts[at]}", share, int(counts[at])))
    sizes = [max(len(str(row[column])) for row in rows) for column in range(4)]
    room = max(8, min(_MOST_BAR, width - sum(sizes) - 10))
    for begin_text, behind_text, number, share, amount in rows:
        head = f"{begin_text:>{sizes[0]}} - {behind_text:>{sizes[1]}}  {number:>{sizes[2]}}  {share:>{sizes[3]}}"
        yield f"{head}  {_bar(amount / most * room, glyphs)}".rstrip()


def _edge(half: int) -> float:
    octave, second = divmod(half, 2)
    return 2.0**octave * (1.5 if second else 1)


def _bar(length: float, glyphs: Glyphs) -> str:
    if glyphs.ascii_only:
        return "#" * max(round(length), 1 if length else 0)
    whole, rest = divmod(round(length * 8), 8)
    return "█" * whole + (_EIGHTHS[rest - 1] if rest else _EIGHTHS[0] if length and not whole else "")


def counted(number: int, one: str, several: str | None = None) -> str:
    """A number and what it is of: ``1 request``, ``23.6k requests``."""
    return f"{number if number < 10_000 else count(number)} {one if number == 1 else several or one + 's'}"
