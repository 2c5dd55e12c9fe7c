"""Where findings go: text, JSON lines, or one SARIF log."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from furtrace.checks.checker import RULES
from furtrace.checks.findings import Finding, Rule, Severity
from furtrace.cli.showing import ascii_only, show, write_lines
from furtrace.export.findings import finding_object, sarif
from furtrace.export.jsonlines import json_lines, summary_object
from furtrace.model.conversation import Conversation
from furtrace.trace.info import TraceInfo
from furtrace.views.findings import FindingLines, summary_lines
from furtrace.views.flow import Diagram, FlowView, diagram_object
from furtrace.views.live_table import ASCII, UNICODE


class Form(Protocol):
    """How findings are written."""

    def add(self, finding: Finding, diagram: Diagram | None = None) -> None:
        """Write one, or keep it; ``diagram``: of its request."""

    def end(self, found: Counter[Rule], elapsed_ns: int) -> None:
        """There are no more; how many of each rule there were."""


class TextForm:
    """For people, one as soon as it is found."""

    def __init__(self, info: TraceInfo, conversation: Conversation, recording: str | None) -> None:
        self._lines = FindingLines(info, conversation, ascii_only=ascii_only())
        self._conversation, self._recording = conversation, recording

    def add(self, finding: Finding, diagram: Diagram | None = None) -> None:
        """Write the finding's lines."""
        lines: list[RenderableType] = list(self._lines.lines(finding))
        if lines and diagram is not None:
            lines += [Padding(FlowView(diagram, ASCII if ascii_only() else UNICODE), (1, 0, 1, 4))]
        if lines:
            show(Group(*lines))

    def end(self, found: Counter[Rule], elapsed_ns: int) -> None:
        """Write what it came to."""
        show(Group(*map(Text, summary_lines(found, self._conversation, elapsed_ns / 1e9, self._recording))))


class JsonForm:
    """A line of JSON each, and one of what it came to."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    def add(self, finding: Finding, diagram: Diagram | None = None) -> None:
        """Write it."""
        told = finding_object(finding, self._conversation)
        if diagram is not None:
            told["flow"] = diagram_object(diagram)
        write_lines(list(json_lines([told])))

    def end(self, found: Counter[Rule], elapsed_ns: int) -> None:
        """Write the summary."""
        findings = {rule.id: count for rule, count in sorted(found.items(), key=lambda one: one[0].id)}
        summary: dict[str, Any] = summary_object(self._conversation, elapsed_ns) | {"findings": findings}
        write_lines(list(json_lines([summary])))


class SarifForm:
    """One object at the end. ``source``: the recording, or what is traced."""

    def __init__(self, conversation: Conversation, source: str) -> None:
        self._conversation, self._source = conversation, source
        self._findings: list[dict[str, Any]] = []

    def add(self, finding: Finding, _diagram: Diagram | None = None) -> None:
        """Keep it."""
        self._findings.append(finding_object(finding, self._conversation))

    def end(self, _found: Counter[Rule], _elapsed_ns: int) -> None:
        """Write all."""
        show(sarif(self._findings, RULES.values(), self._source))


@dataclass
class Report:
    """Writes findings that are bad enough, and counts them. ``since_ns``: those from then on."""

    form: Form
    least: Severity
    since_ns: int = 0
    found: Counter[Rule] = field(default_factory=Counter)

    def add(self, findings: Iterable[Finding]) -> None:
        """Take in what was found."""
        for finding in findings:
            if finding.rule.severity >= self.least and finding.ns >= self.since_ns:
                self.found[finding.rule] += 1
                self.form.add(finding)

    def worst(self) -> int:
        """The worst severity that was found; 0: nothing was."""
        return max((rule.severity for rule in self.found), default=0)


def form_of(info: TraceInfo, conversation: Conversation, options: dict[str, Any], recording: str | None = None) -> Form:
    """The form that the options ask for; ``recording``: the file that is read, None: it is live."""
    if options["as_json"]:
        return JsonForm(conversation)
    if options["as_sarif"]:
        return SarifForm(conversation, recording or options["mount"] or "live")
    return TextForm(info, conversation, recording)
