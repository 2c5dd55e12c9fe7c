"""Doing the first of two steps in a process of its own, while the second one is worked on here.

What is made there comes here pickled through a pipe, but for its large arrays: those come in memory that both share, as
a pipe would take as long as the step itself.
"""

import contextlib
import mmap
import multiprocessing
import pickle
import signal
from collections.abc import Callable, Generator
from enum import Enum, auto
from multiprocessing.connection import Connection
from typing import Any, Final, Generic, Self, TypeVar

from furtrace.cli.errors import InputError

_POLL_SECONDS: Final = 0.1
_SLOTS: Final = 3
_ROOM: Final = 8 << 20
"""Bytes of a slot, page by page taken as they are used; what does not fit goes through the pipe."""

Made = TypeVar("Made")
Result = TypeVar("Result")


class Ahead(Generic[Made, Result]):
    """Yields what a generator yields that runs in a process forked for it; a context manager.

    (In a thread it would save nothing: both would want the interpreter's lock most of the time.)

    Args:
        make: the generator; what it yields and returns can be pickled.
        unwanted: asked now and then while there is nothing yet; once it is true, there is no more.

    Attributes:
        result: what the generator has returned; None: it did not come to its end.
    """

    def __init__(self, make: Callable[[], Generator[Made, None, Result]], unwanted: Callable[[], bool]) -> None:
        self._make, self._unwanted = make, unwanted
        self.result: Result | None = None

    def __enter__(self) -> Self:
        forking = multiprocessing.get_context("fork")
        self._memory = mmap.mmap(-1, _SLOTS * _ROOM)
        self._made, made = forking.Pipe(duplex=False)
        free, self._free = forking.Pipe(duplex=False)
        maker = _Maker(self._make, made, free, self._memory, not_its=(self._made, self._free))
        self._process = forking.Process(target=maker.run, daemon=True)
        self._process.start()
        made.close()
        free.close()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._made.close()
        self._free.close()
        self._process.terminate()
        self._process.join()
        self._process.close()
        self._memory.close()

    def __iter__(self) -> Generator[Made, None, None]:
        """Yield what was made; what goes wrong there is raised here.

        Raises:
            InputError: someone has ended the process.
        """
        while True:
            while not self._made.poll(_POLL_SECONDS):
                if self._unwanted():
                    return
            what, value = self._receive()
            if what is _What.PROBLEM:
                raise value
            if what is _What.RESULT:
                self.result = value
                return
            yield value

    def _receive(self) -> tuple["_What", Any]:
        try:
            slot, sizes, message = self._made.recv()
        except EOFError:
            raise InputError("The process that reads ahead was ended from outside; try again.") from None
        buffers, at = [], slot * _ROOM
        for size in sizes:
            buffers.append(bytearray(self._memory[at : at + size]))
            at += size
        with contextlib.suppress(BrokenPipeError):  # that was its last word
            self._free.send(slot)
        received: tuple[_What, Any] = pickle.loads(message, buffers=buffers)  # noqa: S301 - of our own process
        return received


class _What(Enum):
    ITEM = auto()
    RESULT = auto()
    PROBLEM = auto()


class _Maker(Generic[Made, Result]):
    """The other process."""

    def __init__(
        self,
        make: Callable[[], Generator[Made, None, Result]],
        made: Connection,
        free: Connection,
        memory: mmap.mmap,
        *,
        not_its: tuple[Connection, Connection],
    ) -> None:
        self._make, self._made, self._free, self._memory, self._not_its = make, made, free, memory, not_its
        self._slots = list(range(_SLOTS))

    def run(self) -> None:
        for end in self._not_its:
            end.close()  # or it would never be told that the other process has closed it
        leave_signals_alone()
        try:
            self._run()
        except (EOFError, BrokenPipeError):
            pass  # nobody wants it any more
        except Exception as problem:
            self._send(_What.PROBLEM, problem)

    def _run(self) -> None:
        made = self._make()
        while True:
            try:
                item = next(made)
            except StopIteration as end:
                return self._send(_What.RESULT, end.value)
            self._send(_What.ITEM, item)

    def _send(self, what: _What, value: object) -> None:
        if not self._slots:
            self._slots.append(self._free.recv())
        slot = self._slots.pop()
        sizes: list[int] = []

        def into_memory(buffer: pickle.PickleBuffer) -> bool:
            """Keep it out of the message if there is room for it."""
            content, used = buffer.raw(), sum(sizes)
            if used + len(content) > _ROOM:
                return True
            at = slot * _ROOM + used
            self._memory[at : at + len(content)] = content
            sizes.append(len(content))
            return False

        message = pickle.dumps((what, value), protocol=5, buffer_callback=into_memory)
        self._made.send((slot, sizes, message))


def leave_signals_alone() -> None:
    """Whoever wants this process ends it, by SIGTERM."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
