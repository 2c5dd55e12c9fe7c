"""Where a live trace goes: lines for a log, JSON lines, or the full screen."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

from furtrace.checks.checker import Checker
from furtrace.cli.showing import ascii_only, write_lines
from furtrace.cli.stopping import Stopping
from furtrace.export.jsonlines import event_object, json_lines, request_objects, summary_object
from furtrace.model.conversation import Conversation
from furtrace.model.pools import Pool
from furtrace.model.requests import Requests_
from furtrace.model.zerocopy import CopiedBecause
from furtrace.probe.threads import is_alive
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import Records, events_only
from furtrace.views.copying import REASONS, SHORT
from furtrace.views.event_lines import EventLines
from furtrace.views.lines import RequestLines, ended_before
from furtrace.views.live import LiveView
from furtrace.views.terminal import Terminal

_LINES_SECONDS: Final = 0.05
_SCREEN_SECONDS: Final = 0.1
_FRAME_SECONDS: Final = 0.25


class _Lines:
    """Writes lines; ends after ``most`` of them if that is given."""

    interval = _LINES_SECONDS

    def __init__(self, most: int | None) -> None:
        self._left = most

    def wait(self, seconds: float, stopping: Stopping) -> bool:
        stopping.wait(seconds)
        return True

    def _write(self, lines: Iterable[str]) -> bool:
        """Write lines that count; False once there were enough."""
        write_lines(self._counted(lines))
        return self._left != 0

    def _counted(self, lines: Iterable[str]) -> list[str]:
        """As many of the lines as are still wanted."""
        if self._left is None:
            return list(lines)
        text = list(islice(lines, self._left))
        self._left -= len(text)
        return text


def _merged(lines: list[str], others: list[str], places: list[int]) -> list[str]:
    """Lines with others between them: before how many of them each is to stand; not past the last."""
    merged, start = [], 0
    for other, place in zip(others, places, strict=True):
        merged += [*lines[start:place], *([other] if place <= len(lines) else [])]
        start = place
    return merged + lines[start:]


class PlainOutput(_Lines):
    """A line a request."""

    def __init__(self, info: TraceInfo, conversation: Conversation, most: int | None) -> None:
        super().__init__(most)
        self._format = RequestLines(info, conversation.paths, ascii_only=ascii_only())
        self._conversation = conversation

    def batch(self, batch: Records, finished: Requests_) -> bool:
        """Write the batch's set-up and trouble, and the requests that ended in it, by time."""
        noted = list(self._format.noted(batch))
        ended = self._counted(self._format.ended(finished))
        write_lines(_merged(ended, noted, ended_before(finished, batch)) if noted else ended)
        return self._left != 0

    def end(self, _elapsed_ns: int, now_ns: int) -> None:
        """Write the requests that are still under way at a time."""
        self._write(self._format.unfinished(self._conversation.requests.under_way, now_ns))


class EventOutput(_Lines):
    """A line an event."""

    def __init__(self, info: TraceInfo, conversation: Conversation, most: int | None) -> None:
        super().__init__(most)
        self._format = EventLines(info, conversation.requests, conversation.paths)

    def batch(self, batch: Records, _finished: Requests_) -> bool:
        """Write the batch."""
        return self._write(self._format.lines(batch))

    def end(self, _elapsed_ns: int, _now_ns: int) -> None:
        """Write nothing more."""


class JsonOutput(_Lines):
    """JSON lines: of requests, or of events; the last line is the summary."""

    def __init__(self, conversation: Conversation, most: int | None, *, events: bool) -> None:
        super().__init__(most)
        self._conversation = conversation
        self._events = events

    def batch(self, batch: Records, finished: Requests_) -> bool:
        """Write the batch's events, or the requests that ended in it."""
        return self._write(json_lines(self._event_objects(batch) if self._events else self._objects(finished)))

    def _event_objects(self, batch: Records) -> Iterator[dict[str, Any]]:
        return map(event_object, events_only(batch))

    def _objects(self, finished: Requests_) -> Iterator[dict[str, Any]]:
        return request_objects(finished, self._conversation.paths.subjects(finished))

    def end(self, elapsed_ns: int, _now_ns: int) -> None:
        """Write the requests that are still under way, then the summary."""
        if not self._events:
            under_way = self._conversation.requests.under_way
            subjects = self._conversation.paths.present(under_way)
            self._write(json_lines(request_objects(under_way, subjects)))
        write_lines(list(json_lines([summary_object(self._conversation, elapsed_ns)])))


class ScreenOutput:
    """The full-screen view, and in it what checks find.

    Args:
        info: of the trace.
        conversation: that it is told to, by whoever calls this.
        terminal: what is drawn on.
    """

    interval = _SCREEN_SECONDS

    def __init__(self, info: TraceInfo, conversation: Conversation, terminal: Terminal) -> None:
        self._view = LiveView(info, ascii_only=ascii_only())
        self._conversation = conversation
        self._checker = Checker(info, conversation, alive=is_alive)
        self._terminal = terminal
        self._next_frame = 0.0

    def batch(self, batch: Records, finished: Requests_) -> bool:
        """Judge a batch, and draw a frame if it is time for one."""
        self._view.note(self._checker.took(batch, finished))
        if time.monotonic() >= self._next_frame:
            self._draw()
        return True

    def _draw(self) -> None:
        self._next_frame = time.monotonic() + _FRAME_SECONDS
        now = time.monotonic_ns()
        self._view.note(self._checker.tick(now))
        self._view.update(self._conversation, now)
        self._terminal.show(self._view.render(self._terminal.width, self._terminal.height))

    def wait(self, seconds: float, stopping: Stopping) -> bool:
        """Wait for keys; a key is answered at once."""
        if stopping.signal is not None:
            return True
        for key in self._terminal.keys(seconds):
            if not self._view.key(key):
                return False
            self._next_frame = 0.0
        return True


def _losses(said: Conversation) -> str:
    """Where events were lost, and why."""
    places = [f"CPU {cpu}: {count}" for cpu, count in enumerate(said.lost_by_cpu) if count]
    reasons = [f"the ring buffer was full on {', '.join(places)}"] if places else []
    if said.passed_over:
        reasons.append(f"for {said.passed_over} the kernel ran no probe, as it had preempted one on that CPU")
    return "; ".join(reasons)


def summary(conversation: Conversation, elapsed_ns: int) -> list[str]:
    """What a trace came to, in a line or two."""
    said = conversation
    requests = f"{said.ended} requests ({said.errors} with an error), {len(said.requests.under_way)} unfinished"
    lines = [f"{requests}, {said.events} events in {elapsed_ns / 1e9:.1f}s, {said.lost} lost"]
    if said.refused or said.overflows:
        lines.append(f"{said.refused} commands refused by the kernel, {said.overflows} CQEs overflowed")
    pools = said.pools.table()
    lines += [line for line in (_buffer_pools(pools), _zero_copy(pools)) if line]
    if said.lost:
        lines.append(f"Events were lost ({_losses(said)}); what depends on them is not known.")
    if said.requests.forgotten:
        lines.append(f"{said.requests.forgotten} requests under way were too many to be remembered.")
    return lines


def _buffer_pools(pools: list[Pool]) -> str | None:
    pooled = [pool for pool in pools if pool.pooled]
    if not pooled:
        return None
    counted = all(pool.buffers is not None for pool in pooled)
    buffers = f": {sum(pool.buffers or 0 for pool in pooled)} buffers" if counted else ""
    peak = f"{'' if counted else 'at least '}{max(pool.peak for pool in pooled)} of one pool in use at a time"
    taken = ""
    if any(pool.watched for pool in pooled):
        taken = f"; taken: {sum(pool.selected for pool in pooled)}, none free: {sum(pool.dry for pool in pooled)}"
    return f"Buffer pools of {len(pooled)} queue{'' if len(pooled) == 1 else 's'}{buffers}, {peak}{taken}"


def _zero_copy(pools: list[Pool]) -> str | None:
    why = sum((Counter(pool.because) for pool in pools), Counter())
    failed = sum(pool.failed for pool in pools)
    if not why and not failed:
        return None
    done, moved = why[CopiedBecause.ZERO_COPIED], sum(pool.zero_copied_bytes for pool in pools)
    reasons = ", ".join(
        f"{why[reason]} ({words})" for reason, words in REASONS.items() if why[reason] and reason in SHORT
    )
    return (
        f"Zero-copy: {done} request{'' if done == 1 else 's'}, {moved} bytes"
        f"{f', {failed} failed' if failed else ''}{f'; copied: {reasons}' if reasons else ''}"
    )
