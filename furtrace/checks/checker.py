"""All rules, and those together that are about a trace."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

from furtrace.checks import standing_rules
from furtrace.checks.buffers import Buffers
from furtrace.checks.commits import Commits
from furtrace.checks.endings import Endings
from furtrace.checks.findings import Finding, Rule
from furtrace.checks.outliers import Outliers
from furtrace.checks.placement import Placement
from furtrace.checks.replies import Replies
from furtrace.checks.seen import Check, Limits, Seen
from furtrace.checks.setup import Setup
from furtrace.checks.sizing import Sizing
from furtrace.checks.waiting import Waiting
from furtrace.checks.zerocopy import ZeroCopy
from furtrace.model.conversation import Conversation
from furtrace.model.requests import Requests_, no_requests
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import Kind, Records, no_records


def checks(limits: Limits) -> Sequence[Check]:
    """Return all checks, anew."""
    before = (Setup(limits), Commits(), Replies(), Waiting(limits), Outliers(limits))
    return (*before, Endings(), Placement(), ZeroCopy(), Sizing(), Buffers())


RULES: Final[dict[str, Rule]] = {
    rule.id: rule for rule in (*(rule for check in checks(Limits()) for rule in check.rules), *standing_rules.RULES)
}
"""Every rule by its id, in the order in which ``--list`` shows them."""


class Checker:
    """Takes a trace in and tells what is wrong.

    Args:
        info: of the trace.
        conversation: what the trace is told to.
        limits: from when on waiting is worth a word.
        alive: of a live trace, whether a thread of this number is there now.
    """

    def __init__(
        self,
        info: TraceInfo,
        conversation: Conversation,
        limits: Limits | None = None,
        alive: Callable[[int], bool] | None = None,
    ) -> None:
        self._info, self._alive = info, alive
        self._conversation = conversation
        self._checks = checks(limits or Limits())
        self._seen = self._part(no_records(), no_requests())
        self._ticked = 0
        self.now_ns = 0
        """The newest time that was told."""

    def feed(self, batch: Records) -> Iterator[Finding]:
        """Feed the conversation with a batch, and yield what is found in it."""
        for part in self._conversation.cut(batch):
            for piece in _pieces(part):
                yield from self.tick(int(piece["ns"][0]))
                yield from self.took(piece, self._conversation.feed(piece))

    def took(self, part: Records, finished: Requests_) -> Iterator[Finding]:
        """Judge a part that the conversation was fed with; ``finished``: the requests that ended in it."""
        self._seen = self._part(part, finished)
        begun = self._seen.of(Kind.INIT)["connection"].tolist()
        for check in self._checks:
            for connection in begun:
                check.begun(connection)
            yield from check.feed(self._seen)
        self.now_ns = max(self.now_ns, int(part["ns"].max(initial=0)))

    def tick(self, now_ns: int) -> Iterator[Finding]:
        """Say how late it is, CLOCK_MONOTONIC, and yield what that shows: something has waited for too long."""
        self.now_ns = max(self.now_ns, now_ns)
        if self.now_ns < self._ticked + _STEP:
            return
        yield from self.end()

    def end(self) -> Iterator[Finding]:
        """The trace ends: what has waited until now."""
        self._ticked = self.now_ns
        for check in self._checks:
            yield from check.tick(self.now_ns, self._seen)

    def _part(self, batch: Records, finished: Requests_) -> Seen:
        whole = not _HIDING & set(self._info.filters.split()) and not self._conversation.lost
        return Seen(batch, finished, self._conversation, self._info, whole, self._alive)


_HIDING: Final = {"--client", "--op", "--queue"}
"""Filters that hide some of a connection's events."""
_STEP: Final = 500_000_000
"""Nanoseconds of a trace that are judged at once: what waits is looked at so often."""


def _pieces(batch: Records) -> list[Records]:
    """The batch, cut where so much time has gone by."""
    if not len(batch):
        return []
    times = np.maximum.accumulate(batch["ns"])
    steps = times // np.uint64(_STEP)
    return np.split(batch, np.flatnonzero(steps[1:] != steps[:-1]) + 1) if steps[0] != steps[-1] else [batch]
