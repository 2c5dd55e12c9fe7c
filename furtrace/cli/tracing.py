"""The loop of a trace: from the ring through the model to whoever shows it, until something ends it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from furtrace.cli.keeping import Keeper
from furtrace.cli.stopping import Stopping
from furtrace.model.conversation import Conversation
from furtrace.model.requests import Requests_
from furtrace.probe.live import LiveTrace
from furtrace.trace.record import Records

_NEARLY_FULL: Final = 0.25  # of the ring: do not sleep any more
_CHECK_SECONDS: Final = 1.0


class Output(Protocol):
    """What shows a trace. ``interval``: seconds between two batches."""

    interval: float

    def batch(self, batch: Records, finished: Requests_) -> bool:
        """Show a batch, and the requests that ended in it; False: no more is wanted."""

    def wait(self, seconds: float, stopping: Stopping) -> bool:
        """Let time pass, not past a signal; False: the user wants to end."""


@dataclass
class Limits:
    """What ends a trace besides the user: so many ``seconds``, or a command that is ``done``.

    Without a command, also that there is nothing left to trace; a command may well start another server.
    """

    seconds: float | None = None
    done: Callable[[], bool] | None = None


@dataclass
class TraceLoop:
    """Runs a trace to its end; ``keeper`` writes it to a file besides."""

    trace: LiveTrace
    conversation: Conversation
    limits: Limits
    keeper: Keeper | None = None
    began_ns: int = field(default_factory=time.monotonic_ns)

    def run(self, output: Output, stopping: Stopping) -> str | None:
        """Run until the end, and return why it ended in a sentence where the user did not ask for it."""
        next_check = time.monotonic() + _CHECK_SECONDS
        while True:
            # Asked before the ring is read, so that what came before the end is shown.
            last = self._due(stopping)
            if not self.step(output) or last:
                return None
            if self.limits.done is None and time.monotonic() >= next_check:
                next_check = time.monotonic() + _CHECK_SECONDS
                reason = self.trace.ended()
                if reason is not None:
                    self.step(output)
                    return reason
            if self.trace.fill() < _NEARLY_FULL and not output.wait(self._pause(output), stopping):
                return None

    def step(self, output: Output) -> bool:
        """Take what has come, and show it; return what the output says."""
        batch = self.trace.read()
        if self.keeper is not None:
            self.keeper.write(batch)
        more = all(output.batch(part, self.conversation.feed(part)) for part in self.conversation.cut(batch))
        self.trace.release()
        return more

    def _due(self, stopping: Stopping) -> bool:
        over = self.limits.seconds is not None and self.elapsed_ns() >= self.limits.seconds * 1e9
        done = self.limits.done is not None and self.limits.done()
        return stopping.signal is not None or over or done

    def _pause(self, output: Output) -> float:
        if self.limits.seconds is None:
            return output.interval
        return max(0.0, min(output.interval, self.limits.seconds - self.elapsed_ns() / 1e9))

    def elapsed_ns(self) -> int:
        """Nanoseconds since the trace began."""
        return time.monotonic_ns() - self.began_ns
