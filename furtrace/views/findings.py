"""What is wrong, for the terminal: each finding with its evidence, and what it all came to."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from rich.text import Text

from furtrace.checks.findings import Finding, Rule, Severity
from furtrace.model.conversation import Conversation
from furtrace.trace.info import TraceInfo
from furtrace.views.event_lines import EventLines
from furtrace.views.lines import RequestLines
from furtrace.views.severities import STYLES
from furtrace.views.units import Clock
from furtrace.views.wrapping import wrapped
from furtrace.wire.text import printable

MOST_ALIKE: Final = 5
"""Findings of one rule on one connection that are shown whole."""


class FindingLines:
    """Makes the lines of findings: what, where and when; the sentence; the request and the events that prove it.

    Args:
        info: of the trace.
        conversation: as it stands when a finding is shown.
        ascii_only: no arrow of Unicode.
    """

    def __init__(self, info: TraceInfo, conversation: Conversation, *, ascii_only: bool = False) -> None:
        self._info = info
        self._conversation = conversation
        self._clock = Clock(info.realtime_offset_ns)
        self._requests = RequestLines(info, conversation.paths, ascii_only=ascii_only)
        self._events = EventLines(info, conversation.requests, conversation.paths)
        self._shown: Counter[tuple[str, int]] = Counter()

    def lines(self, finding: Finding) -> Iterator[Text]:
        """The lines of a finding; none if there were enough like it."""
        name = finding.rule.id, finding.connection
        self._shown[name] += 1
        if self._shown[name] > MOST_ALIKE:
            return
        severity = finding.rule.severity
        yield Text.assemble(
            (f"{severity.name} ", STYLES[severity]), (finding.rule.id, "bold"), f": {finding.rule.title}"
        )
        yield Text(f"  {self._place(finding)}")
        yield Text(f"  {finding.sentence}")
        for line in self._evidence(finding):
            yield Text(f"    {line}", "dim")
        if self._shown[name] == MOST_ALIKE:
            yield Text(f"  More findings of {finding.rule.id} on connection {finding.connection} are only counted.")

    def _place(self, finding: Finding) -> str:
        mount = self._info.mounts.get(finding.connection)
        where = f" on {_path(mount)}" if mount else ""
        queue = f", queue {finding.queue}" if finding.queue is not None else ""
        return f"{self._clock(finding.ns)}, connection {finding.connection}{where}{queue}"

    def _evidence(self, finding: Finding) -> Iterable[str]:
        request = finding.request
        if len(request) and request["ended_ns"][0]:
            yield from self._requests.ended(request)
        elif len(request):
            yield from self._requests.unfinished(request, finding.ns)
        if len(finding.events):
            yield from self._events.lines(finding.events)


def _path(path: str) -> str:
    return printable(path.encode(errors="surrogateescape"))


def summary_lines(
    found: Counter[Rule], conversation: Conversation, seconds: float, recording: str | None = None
) -> list[str]:
    """What a check came to; ``recording``: the file that was read."""
    by = Counter[Severity]()
    for rule, count in found.items():
        by[rule.severity] += count
    counts = ", ".join(_counted(by[severity], severity.word) for severity in reversed(Severity))
    traced = f"{conversation.ended} requests, {conversation.events} events in {seconds:.1f}s, {conversation.lost} lost"
    lines = [f"{counts} in {traced}"]
    if conversation.lost:
        lines.append("Where events were lost, what rests on events that were not seen is left unsaid.")
    for rule, count in sorted(found.items(), key=lambda one: (-one[0].severity, one[0].id)):
        lines.append(f"  {count:6} {rule.severity.word:8} {rule.id}: {rule.title}")
    if found:
        lines.append("furtrace check --explain RULE tells what a rule means and what to do.")
    if found and recording is not None:
        lines.append(f"furtrace flow -r {_path(recording)} UNIQUE draws the way of a request.")
    return lines


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def explanation(rule: Rule, width: int) -> Iterator[Text]:
    """A rule in full."""
    yield Text.assemble((f"{rule.id} ", "bold"), (rule.severity.word, STYLES[rule.severity]), f": {rule.title}")
    for paragraph in (rule.explanation, rule.remedy):
        yield Text()
        yield from (Text(line) for line in wrapped(paragraph, width))


def rule_lines(rules: Iterable[Rule]) -> Iterator[Text]:
    """A line a rule."""
    for rule in rules:
        yield Text.assemble((f"{rule.id:20} ", "bold"), (f"{rule.severity.word:8}", STYLES[rule.severity]), rule.title)
