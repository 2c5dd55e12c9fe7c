"""The tracks of a trace: processes and threads, as the trace event format has them.

Slices of one thread must nest. A thread's requests need not: it may have several under way in the background. So each
of its tracks is a lane, and a slice goes to one that is free; the second lane is made when the first is not.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from furtrace.trace.reading import FOREIGN_CONNECTIONS, Origin
from furtrace.wire.text import printable

_FIRST_MADE_UP: Final = (1 << 22) + 1
"""Thread ids from here on are no process's: PID_MAX_LIMIT of Linux is 1 << 22."""
_LANES: Final = 1000
"""Between the places of two threads in the order of tracks: so many lanes of one are in order."""


@dataclass
class _Lane:
    tid: int
    free_from: int


@dataclass
class Thread:
    """One thread, or entry, with as many lanes as its slices need."""

    pid: int
    name: str
    tid: int
    place: int
    lanes: list[_Lane] = field(default_factory=list)


class Tracks:
    """Numbers processes and threads, and names them as they come up.

    Args:
        emit: takes an event, as JSON.
    """

    def __init__(self, emit: Callable[[str], object]) -> None:
        self._emit = emit
        self._names: dict[int, str] = {}
        self._taken: set[int] = set()
        self._made_up = _FIRST_MADE_UP
        self._threads: dict[tuple[object, ...], Thread] = {}

    def process(self, pid: int, name: str, place: int) -> None:
        """Name a process, or name it anew; ``place``: where it is among the others."""
        if self._names.get(pid) == name:
            return
        self._meta("process_name", pid, pid, f'"name":{json.dumps(name)}')
        if pid not in self._names:
            self._meta("process_sort_index", pid, pid, f'"sort_index":{place}')
        self._names[pid] = name

    def thread(self, key: tuple[object, ...], pid: int, name: str, place: int, tid: int = 0) -> Thread:
        """The thread of this key; what else is given counts the first time.

        Args:
            key: names it.
            pid: the process that it is shown in.
            name: what it is shown as.
            place: where it is among the others of its process.
            tid: the id of its first lane, if it is not another's already.
        """
        known = self._threads.get(key)
        if known is None:
            known = self._threads[key] = Thread(pid, name, self._tid(tid), place)
        return known

    def lane(self, thread: Thread, begin: int, end: int) -> int:
        """The id of a lane for a slice; slices are given in the order of their ends."""
        free: _Lane | None = None
        for lane in thread.lanes:
            if lane.free_from <= begin and (free is None or lane.free_from > free.free_from):
                free = lane
        if free is None:
            free = self._new_lane(thread)
        free.free_from = end
        return free.tid

    def _new_lane(self, thread: Thread) -> _Lane:
        number = len(thread.lanes)
        lane = _Lane(self._tid(0) if number else thread.tid, 0)
        thread.lanes.append(lane)
        name = f"{thread.name} (overlapping {number})" if number else thread.name
        self._meta("thread_name", thread.pid, lane.tid, f'"name":{json.dumps(name)}')
        self._meta("thread_sort_index", thread.pid, lane.tid, f'"sort_index":{thread.place * _LANES + number}')
        return lane

    def _tid(self, wanted: int) -> int:
        """A thread id that no other thread of the trace has."""
        if wanted and wanted not in self._taken:
            tid = wanted
        else:
            tid, self._made_up = self._made_up, self._made_up + 1
        self._taken.add(tid)
        return tid

    def _meta(self, name: str, pid: int, tid: int, argument: str) -> None:
        self._emit(f'{{"ph":"M","name":"{name}","pid":{pid},"tid":{tid},"ts":0,"args":{{{argument}}}}}')


class Processes:
    """What the format calls processes: connections, and the clients of each boot.

    Args:
        tracks: to which they belong.
    """

    def __init__(self, tracks: Tracks) -> None:
        self._tracks = tracks
        self._mounts: dict[int, str] = {}
        self._origins: Sequence[Origin] = ()
        self._known: set[int] = set()

    def learn(self, mounts: dict[int, str], origins: Sequence[Origin]) -> None:
        """Take in what names them; those that have got another name are named anew."""
        self._mounts, self._origins = mounts, origins
        for connection in self._known:
            self._name(connection)

    def connection(self, connection: int) -> int:
        """The process that a connection is."""
        if connection not in self._known:
            self._known.add(connection)
            self._name(connection)
        return connection

    def _name(self, connection: int) -> None:
        number, own = divmod(connection, FOREIGN_CONNECTIONS)
        mount = self._mounts.get(connection)
        where = f" {printable(os.fsencode(mount))}" if mount else ""
        self._tracks.process(connection, f"connection {own}{where}{self._host(number)}", 1 + connection)

    def clients(self, connection: int) -> int:
        """The process that has the clients of a connection's boot."""
        number = connection // FOREIGN_CONNECTIONS
        self._tracks.process(_CLIENTS + number, f"clients{self._host(number)}", number - FOREIGN_CONNECTIONS)
        return _CLIENTS + number

    def _host(self, number: int) -> str:
        """Behind a name where there are several boots: the host, and the boot as well if it has several."""
        if len(self._origins) < 2:
            return ""
        own = self._origins[number].info
        again = sum(origin.info.host == own.host for origin in self._origins) > 1
        return printable(os.fsencode(f" on {own.host}, boot {own.boot[:8]}" if again else f" on {own.host}"))


_CLIENTS: Final = 1 << 30
"""The process of the first boot's clients, followed by those of the others; connections have their own numbers."""
