"""What checks look at."""

import errno
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from furtrace.checks.findings import Finding, Rule
from furtrace.model.conversation import Conversation
from furtrace.model.requests import Requests_
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import Records, among

CONNECTION_ENDED: Final = (-errno.ENOTCONN, -errno.ECONNABORTED, -errno.ECANCELED)
"""What commands are refused with for no fault of theirs: the connection has ended meanwhile."""
_SECOND: Final = 1_000_000_000


@dataclass(frozen=True)
class Limits:
    """From when on something is worth a word; nanoseconds.

    ``unanswered``: that a request is in the server's hands or waits in the kernel, and that a ring is not ready.
    ``slow``: that the server took for a request that it did answer.
    """

    unanswered: int = 5 * _SECOND
    slow: int = _SECOND


@dataclass
class Seen:
    """A part of a trace that was just taken in.

    ``batch``: its events; ``finished``: the requests that ended in it; ``conversation``: how things stand after it;
    ``whole``: no event was lost so far, no filter hides any. ``alive``: whether a thread of this number is there now;
    None: nobody knows, of a recording.
    """

    batch: Records
    finished: Requests_
    conversation: Conversation
    info: TraceInfo
    whole: bool
    alive: Callable[[int], bool] | None = None
    kinds: npt.NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        self.kinds = np.ascontiguousarray(self.batch["kind"])

    def of(self, *kinds: int) -> Records:
        """The events of these kinds: a copy."""
        found: Records = self.batch[among(kinds)[self.kinds]]
        return found


class Check(ABC):
    """Finds what breaks one rule, or several that look at the same.

    Each is told of every part of a trace, of the time as it passes, and of the trace's end.
    """

    rules: ClassVar[tuple[Rule, ...]]
    """Those that it finds breaches of."""

    def begun(self, _connection: int) -> None:  # noqa: B027 - most have nothing to forget
        """A connection begins, perhaps with the number of one that has ended, of which nothing holds for it.

        Told before the part of the trace that its INIT is the first event of.
        """

    @abstractmethod
    def feed(self, seen: Seen) -> Iterable[Finding]:
        """Take in a part of the trace."""

    def tick(self, _now_ns: int, _seen: Seen) -> Iterable[Finding]:
        """It is so late now, CLOCK_MONOTONIC, and ``seen`` was the last part: what waits, waits since then."""
        return ()
