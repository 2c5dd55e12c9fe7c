"""The live view's table of findings: what is wrong, newest first."""

import textwrap
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from rich.segment import Segment

from furtrace.checks.findings import Finding, Severity
from furtrace.views.live_table import (
    CYAN,
    PLAIN,
    RED,
    YELLOW,
    Cell,
    Column,
    Glyphs,
    Line,
    Order,
    Panel,
    fitted,
    rule_line,
)
from furtrace.views.units import Clock, count

_MOST: Final = 200
_STYLES: Final = {Severity.ERROR: RED, Severity.WARNING: YELLOW, Severity.NOTE: CYAN}


class FindingsPanel(Panel):
    """The newest findings."""

    title = "Checks"
    columns = (
        Column("time", 15, 3),
        Column("severity", 8, 4),
        Column("rule", 18, 1, grow=2),
        Column("conn", 4, 6, right=True),
        Column("queue", 5, 5, right=True),
        Column("unique", 7, 2, grow=6, right=True),
        Column("finding", 20, 0, grow=200),
    )
    orders = (Order("time"),)

    def __init__(self, glyphs: Glyphs, realtime_offset_ns: int) -> None:
        super().__init__(glyphs)
        self._clock = Clock(realtime_offset_ns)
        self._found: deque[Finding] = deque(maxlen=_MOST)
        self._shown: list[Finding] = []
        self._counts = Counter[Severity]()

    def note(self, findings: Iterable[Finding]) -> None:
        """Take in what was found; it is shown from the next :meth:`update` on."""
        for finding in findings:
            self._found.append(finding)
            self._counts[finding.rule.severity] += 1

    def update(self) -> None:
        """Show what was found so far."""
        self._shown = list(islice(reversed(self._found), _MOST))

    @property
    def total(self) -> int:
        """How many findings are shown."""
        return len(self._shown)

    def rows(self, first: int, count: int) -> list[Sequence[Cell]]:
        """Make the cells of the findings that are shown, newest first."""
        return [self._cells(finding) for finding in self._shown[first : first + count]]

    def detail(self, width: int, height: int) -> list[Line]:
        """The sentence of the topmost finding, its remedy below, in exactly ``height`` lines."""
        if not self._shown or not height:
            return [[] for _ in range(height)]
        finding = self._shown[min(self._first, len(self._shown) - 1)]
        texts = [finding.sentence, finding.rule.remedy]
        wrapped = [line for text in texts for line in textwrap.wrap(self.glyphs.plain(text), width)]
        lines = [rule_line(finding.rule.title, width, self.glyphs)]
        lines += [[Segment(fitted(line, width, self.glyphs.cut), PLAIN)] for line in wrapped]
        return lines[:height] + [[] for _ in range(height - len(lines))]

    def _headline(self) -> str:
        errors, warnings, notes = (count(self._counts[severity]) for severity in reversed(Severity))
        return f"{self.title}: errors {errors}, warnings {warnings}, notes {notes}, newest first"

    def _cells(self, finding: Finding) -> Sequence[Cell]:
        severity = finding.rule.severity
        return (
            self._clock(finding.ns),
            (severity.word, _STYLES[severity]),
            finding.rule.id,
            str(finding.connection),
            "-" if finding.queue is None else str(finding.queue),
            "-" if finding.unique is None else str(finding.unique),
            self.glyphs.plain(finding.sentence),
        )
