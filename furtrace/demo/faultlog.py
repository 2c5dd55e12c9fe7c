"""The server's account of the faults that it has committed: one JSON object a line.

========= ============================================================================================================
field     meaning
========= ============================================================================================================
fault     the fault's name
ns        CLOCK_MONOTONIC when it was committed
queue     the number of the queue whose thread did it, ``null`` where it was none
unique    ``fuse_in_header.unique`` of the request that it was done to, ``null`` where there was none
commit_id ``fuse_uring_ent_in_out.commit_id`` of that request; ``null`` where there was none, or no ring
detail    what exactly was done, for a person
========= ============================================================================================================

A line is in the file as soon as the fault has been committed; where the fault is the server's own end, before it.
"""

import json
import threading
import time
from pathlib import Path
from typing import NamedTuple

from furtrace.demo.linelog import LineLog


class Committed(NamedTuple):
    """One fault that was committed; the fields are those of the log."""

    fault: str
    ns: int
    queue: int | None
    unique: int | None
    commit_id: int | None
    detail: str


class FaultLog(LineLog[Committed]):
    """The log of fault ``name``, written to ``path``; and who of many threads is to commit it, if once is enough."""

    def __init__(self, path: Path | None, name: str) -> None:
        super().__init__(path, lambda committed: json.dumps(committed._asdict(), separators=(",", ":")) + "\n")
        self._name = name
        self._lock = threading.Lock()
        self._claimed = False

    def claim(self) -> bool:
        """Return ``True`` to the first caller, ``False`` to all others."""
        with self._lock:
            first = not self._claimed
            self._claimed = True
        return first

    def committed(
        self, detail: str, *, queue: int | None = None, unique: int | None = None, commit_id: int | None = None
    ) -> None:
        """Write down that the fault has been committed."""
        self.add(Committed(self._name, time.monotonic_ns(), queue, unique, commit_id, detail))
        self.drain()

    def drain(self) -> None:
        """Write out all that was added so far, in whichever thread."""
        with self._lock:
            super().drain()
