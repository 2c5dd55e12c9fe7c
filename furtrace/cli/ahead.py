"""Doing the next step in a thread while this one is worked on."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

_AHEAD: Final = 4
_PATIENCE_SECONDS: Final = 0.1

Item = TypeVar("Item")
Made = TypeVar("Made")


class _Worker(threading.Thread, Generic[Item, Made]):
    """Makes something of each item, and puts it into ``made``; at the end None, or what has gone wrong."""

    def __init__(self, items: Iterator[Item], make: Callable[[Item], Made]) -> None:
        super().__init__(name="ahead", daemon=True)
        self._items, self._make = items, make
        self.made: queue.Queue[tuple[Made | None, BaseException | None]] = queue.Queue(_AHEAD)
        self.unwanted = threading.Event()

    def run(self) -> None:
        try:
            for item in self._items:
                if not self._put(self._make(item)):
                    return
            self._put(None)
        except BaseException as problem:
            self._put(None, problem)

    def _put(self, value: Made | None, problem: BaseException | None = None) -> bool:
        """Wait for room; False: nobody wants it any more."""
        while not self.unwanted.is_set():
            try:
                self.made.put((value, problem), timeout=_PATIENCE_SECONDS)
            except queue.Full:
                continue
            return True
        return False


def ahead(items: Iterator[Item], make: Callable[[Item], Made]) -> Iterator[Made]:
    """Yield what ``make`` makes of each item; items are asked for, and made into that, in a thread.

    An item is not used any more when the next one is asked for. What goes wrong in the thread is raised here, in its
    place.
    """
    worker = _Worker(items, make)
    worker.start()
    try:
        while True:
            value, problem = worker.made.get()
            if problem is not None:
                raise problem
            if value is None:
                return
            yield value
    finally:
        worker.unwanted.set()
        worker.join()
