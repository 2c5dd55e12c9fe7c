"""Work in the time of the CPUs that nobody else wants, but not for longer than somebody waits for it.

The kernel lets a task of class SCHED_IDLE run where nothing else is to run, and takes the CPU from it as soon as
something is (sched(7)). So what is done in that class slows nobody. But where all CPUs are busy it may stand still,
with whatever it holds, the interpreter's lock among it; so it is another process that looks after it. And there is no
point in waiting for spare time again and again where there is none: who has waited works in its own class for a while.

It is for work in memory: the kernel writes to disks in that class last of all, however idle they are.
"""

import contextlib
import mmap
import multiprocessing
import os
import select
import struct
import time
from collections.abc import Iterator
from typing import Final, Self

from furtrace.cli.ahead import leave_signals_alone

_LONGEST: Final = 0.05  # seconds that work may take in spare time; up to twice that until it is noticed
_WAITED: Final = 0.02  # seconds that a work takes where it has to wait for spare time
_BUSY: Final = 0.5  # seconds after that for which spare time is not counted on
_USUAL: Final = (os.SCHED_OTHER, os.SCHED_BATCH)
_NUMBER: Final = struct.Struct("=Q")
_NONE: Final = 0


class SpareTime:
    """Lets this thread work in spare time; a context manager.

    Where the kernel does not allow to come back from SCHED_IDLE, or where the user has put the process into a class of
    his choice (``chrt``), all stays as it is.
    """

    def __enter__(self) -> Self:
        self._policy = os.sched_getscheduler(0)
        self._works = self._policy in _USUAL and self._can_return()
        self._count = 0
        self._busy_until = 0.0
        if self._works:
            forking = multiprocessing.get_context("fork")
            self._current = mmap.mmap(-1, _NUMBER.size)  # the number of the work that is being done; _NONE
            ended, self._alive = os.pipe2(os.O_CLOEXEC)
            self._process = forking.Process(target=self._look_after, args=(os.getpid(), ended), daemon=True)
            self._process.start()
            os.close(ended)
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._works:
            self._works = False
            os.close(self._alive)
            self._process.join()
            self._process.close()

    def _can_return(self) -> bool:
        try:
            _set_policy(0, os.SCHED_IDLE)
            _set_policy(0, self._policy)
        except OSError:
            return False
        return True

    @contextlib.contextmanager
    def work(self) -> Iterator[None]:
        """What the block does it does in spare time if there is any, and after at most 100 ms of that in its own."""
        began = time.monotonic()
        if not self._works or began < self._busy_until:
            yield
            return
        self._count += 1
        _NUMBER.pack_into(self._current, 0, self._count)
        _set_policy(0, os.SCHED_IDLE)
        try:
            yield
        finally:
            _set_policy(0, self._policy)
            _NUMBER.pack_into(self._current, 0, _NONE)
            ended = time.monotonic()
            if ended - began > _WAITED:
                self._busy_until = ended + _BUSY

    def _look_after(self, worker: int, ended: int) -> None:
        """The other process: work that takes too long goes on in the class that it would have had."""
        os.close(self._alive)  # or it would never be told that the other one is gone
        leave_signals_alone()
        before = _NONE
        while not select.select([ended], [], [], _LONGEST)[0]:
            (current,) = _NUMBER.unpack_from(self._current)
            if current == before != _NONE:
                with contextlib.suppress(OSError):  # the worker is gone
                    _set_policy(worker, self._policy)
            before = current


def _set_policy(thread: int, policy: int) -> None:
    os.sched_setscheduler(thread, policy, os.sched_param(0))
