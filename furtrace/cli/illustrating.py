"""Findings with the diagrams of the requests that they are about."""

from collections import Counter
from dataclasses import replace

from furtrace.checks.findings import Finding, Rule, request_name
from furtrace.cli.checking import Form
from furtrace.cli.reel import Reel
from furtrace.cli.stopping import Stopping
from furtrace.model.flows import Flow, Gathering, together
from furtrace.trace.info import TraceInfo
from furtrace.views.findings import MOST_ALIKE
from furtrace.views.flow import Diagram, request_diagram


class Illustrated:
    """Keeps findings until a second pass over the recordings has gathered the events of their requests.

    The first of those that are alike get a diagram: as many as text shows whole.

    Args:
        form: what they are written in then.
    """

    def __init__(self, form: Form) -> None:
        self._form = form
        self._findings: list[Finding] = []
        self._end: tuple[Counter[Rule], int] | None = None

    def add(self, finding: Finding, _diagram: Diagram | None = None) -> None:
        """Keep one."""
        self._findings.append(finding)

    def end(self, found: Counter[Rule], elapsed_ns: int) -> None:
        """Keep what it came to."""
        self._end = found, elapsed_ns

    def finish(self, reel: Reel, info: TraceInfo, stopping: Stopping) -> None:
        """Gather the events, and write everything.

        Raises:
            InputError: the recordings can't be read again.
        """
        drawn = self._drawn()
        flows = _gathered([finding for _, finding in drawn], reel, stopping)
        numbers = [at for at, _ in drawn] if stopping.signal is None else []
        diagrams: dict[int, Diagram] = {
            at: request_diagram(flow, info, request_name(flow.row)) for at, flow in zip(numbers, flows, strict=False)
        }
        for at, finding in enumerate(self._findings):
            self._form.add(finding, diagrams.get(at))
        if self._end is not None:  # or it was ended by the user
            self._form.end(*self._end)

    def _drawn(self) -> list[tuple[int, Finding]]:
        """Those that get a diagram, each with its place among all."""
        alike: Counter[tuple[str, int]] = Counter()
        chosen = []
        for at, finding in enumerate(self._findings):
            alike[finding.rule.id, finding.connection] += 1
            if len(finding.request) and alike[finding.rule.id, finding.connection] <= MOST_ALIKE:
                chosen.append((at, finding))
        return chosen


def _gathered(findings: list[Finding], reel: Reel, stopping: Stopping) -> list[Flow]:
    gathering = Gathering(together(finding.request[0] for finding in findings))
    if findings:
        with reel.opened() as run:
            for batch in run.batches():
                if stopping.signal is not None or gathering.is_past(batch):
                    break
                gathering.feed(batch)
    return [_until(flow, finding) for flow, finding in zip(gathering.flows(), findings, strict=True)]


def _until(flow: Flow, finding: Finding) -> Flow:
    """As it was when it was found: of a request that waited, what came later is not meant."""
    if flow.row["ended_ns"]:
        return flow
    return replace(flow, events=flow.events[flow.events["ns"] <= finding.ns])
