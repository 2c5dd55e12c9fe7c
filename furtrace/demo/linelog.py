"""A log of one line a thing, which many threads add to and one thread writes out."""

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TextIO, TypeVar

from furtrace.demo.errors import DemoError

_Thing = TypeVar("_Thing")


class LineLog(Generic[_Thing]):
    """Collects things, from any thread, and writes what ``line`` makes of them when ``drain`` is called.

    ``path`` ``None``: nothing is kept. ``DemoError`` when the file can't be written.
    """

    def __init__(self, path: Path | None, line: Callable[[_Thing], str]) -> None:
        self._waiting: deque[_Thing] = deque()
        self._line = line
        self._file: TextIO | None = None
        self.enabled = path is not None
        if path is not None:
            try:
                self._file = path.open("w", encoding="ascii")
            except OSError as problem:
                raise DemoError(f"the log {path} can't be written: {problem.strerror}") from problem

    def add(self, thing: _Thing) -> None:
        """Keep one thing for the next ``drain``. Formatting is left to that: this is called for every request."""
        if self.enabled:
            self._waiting.append(thing)

    def drain(self) -> None:
        """Write out all that was added so far. For one thread at a time."""
        if self._file is None:
            return
        count = len(self._waiting)
        self._file.writelines([self._line(self._waiting.popleft()) for _ in range(count)])
        self._file.flush()

    def close(self) -> None:
        """Write out the rest and close the file."""
        if self._file is not None:
            self.drain()
            self._file.close()
            self._file = None
