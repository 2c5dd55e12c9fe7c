"""Requests as slices: on the track of the client's thread, with their phases, and on that of their entry."""

import json
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np

from furtrace.export.columns import BOOL, REQUEST_COLUMNS, Column, Numbers, Part, Texts, Words
from furtrace.export.perfetto_tracks import Processes, Thread, Tracks
from furtrace.model.requests import Requests_, first_seen, state
from furtrace.trace.reading import FOREIGN_CONNECTIONS
from furtrace.trace.record import NO_QUEUE, Transport, comm
from furtrace.wire.opcodes import opcode_name
from furtrace.wire.text import printable


class Slice(NamedTuple):
    """A slice, with what it is about as the members of a JSON object; times are in nanoseconds."""

    category: str
    name: str
    begin: int
    end: int
    arguments: str = ""


class RequestSlices:
    """Writes requests.

    Args:
        emit: takes an event, as JSON.
        tracks: names threads.
        processes: names processes.
    """

    def __init__(self, emit: Callable[[str], object], tracks: Tracks, processes: Processes) -> None:
        self._emit = emit
        self._tracks = tracks
        self._processes = processes
        self._flows = 0

    def add(self, part: Part, base: int, until: int) -> None:
        """Write requests.

        Args:
            part: those that ended, in the order in which they did, or those that are under way.
            base: what the file's times are counted from.
            until: when a request under way is cut off.
        """
        rows = part.rows
        if not len(rows):
            return
        ended = rows["ended_ns"].astype(np.int64)
        begins = first_seen(rows).astype(np.int64)
        ends = np.maximum(np.where(ended != 0, ended, until), begins)
        columns = (
            begins.tolist(),
            ends.tolist(),
            map(opcode_name, rows["opcode"].tolist()),
            rows["unique"].tolist(),
            _arguments(part),
            self._clients(rows),
            self._entries(rows),
            zip(*(rows[name].tolist() for name in _TIMES), strict=True),
        )
        for begin, end, name, unique, arguments, client, entry, times in zip(*columns, strict=True):
            tid = self._tracks.lane(client, begin, end)
            self._slice(client.pid, tid, Slice("request", name, begin, end, arguments), base)
            if entry is not None:
                served = Slice("entry", name, times[_DELIVERED], times[_COMMITTED] or end, f'"unique":{unique}')
                self._serve(entry, served, (client.pid, tid, begin), base)
            for phase in _phases(*times):
                self._slice(client.pid, tid, phase, base)

    def _slice(self, pid: int, tid: int, one: Slice, base: int) -> None:
        category, name, begin, end, arguments = one
        self._emit(
            f'{{"ph":"X","cat":"{category}","name":"{name}","pid":{pid},"tid":{tid},"ts":{(begin - base) / 1000:.3f},'
            f'"dur":{(end - begin) / 1000:.3f},"args":{{{arguments}}}}}'
        )

    def _serve(self, entry: Thread, served: Slice, client: tuple[int, int, int], base: int) -> None:
        """The slice on the entry's track, and the arrow that leads to it from the client's slice."""
        tid = self._tracks.lane(entry, served.begin, served.end)
        self._slice(entry.pid, tid, served, base)
        self._flows += 1
        for phase, (pid, thread, ns) in (("s", client), ("f", (entry.pid, tid, served.begin))):
            self._emit(
                f'{{"ph":"{phase}","bp":"e","cat":"request","name":"request","id":{self._flows},"pid":{pid},'
                f'"tid":{thread},"ts":{(ns - base) / 1000:.3f}}}'
            )

    def _clients(self, rows: Requests_) -> Iterator[Thread]:
        """The client's thread of each request."""
        columns = (rows[name].tolist() for name in ("connection", "client_tid", "client_pid", "client_comm"))
        known: dict[tuple[int, int, bytes], Thread] = {}
        for connection, tid, pid, field in zip(*columns, strict=True):
            key = connection, tid, field
            thread = known.get(key)
            if thread is None:
                name = f"{printable(comm(field)) or '?'}[{tid or pid or '?'}]"
                thread = known[key] = self._tracks.thread(
                    ("client", connection // FOREIGN_CONNECTIONS, tid, field),
                    self._processes.clients(connection),
                    name,
                    pid or tid,
                    tid,
                )
            yield thread

    def _entries(self, rows: Requests_) -> Iterator[Thread | None]:
        """The entry of each request, or /dev/fuse; None: the server was not seen to have it, or not for how long."""
        delivered, committed, ended = (rows[f"{step}_ns"] for step in ("delivered", "committed", "ended"))
        by_dev = rows["transport"] == Transport.DEV
        until = np.where(by_dev, ended, committed)
        served = (delivered != 0) & (until >= delivered) & (by_dev | (rows["queue"] != NO_QUEUE))
        columns = (rows[name].tolist() for name in ("connection", "queue", "entry_index"))
        for there, dev, connection, queue, entry in zip(served.tolist(), by_dev.tolist(), *columns, strict=True):
            yield self._entry(connection, None if dev else (queue, entry)) if there else None

    def _entry(self, connection: int, place: tuple[int, int] | None) -> Thread:
        pid = self._processes.connection(connection)
        if place is None:
            return self._tracks.thread(("dev", connection), pid, "/dev/fuse", _BEHIND)
        queue, entry = place
        name = f"queue {queue} entry {entry if entry >= 0 else '?'}"
        return self._tracks.thread(("entry", connection, queue, entry), pid, name, queue * _ENTRIES + entry)


_TIMES: Final = (
    *("queued_ns", "assigned_ns", "delivered_ns", "committed_ns", "ended_ns"),
    *("dry_ns", "selected_ns"),
)
_DELIVERED, _COMMITTED = _TIMES.index("delivered_ns"), _TIMES.index("committed_ns")
_ENTRIES: Final = 1 << 10
_BEHIND: Final = 1 << 20
"""Place of /dev/fuse among a connection's tracks."""


def _phases(
    queued: int, assigned: int, delivered: int, committed: int, ended: int, dry: int, selected: int
) -> Iterator[Slice]:
    """The phases whose begin and end are known, one after the other; in the first, the wait for a buffer."""
    waits = (
        (("queue", queued, assigned), ("delivery", assigned, delivered)) if assigned else (("wait", queued, delivered),)
    )
    now = 0
    for name, begin, end in (*waits, ("server", delivered, committed), ("commit", committed, ended)):
        if not begin or end < begin or begin < now:
            continue
        now = end
        yield Slice("phase", name, begin, end)
        if dry and begin <= dry <= selected <= end:
            yield Slice("phase", "no buffer free", dry, selected)


# ---- what a request is about ----


def _arguments(part: Part) -> list[str]:
    """What is known of each request, by the names of the tables' columns, as members of a JSON object."""
    texts = [f'"unique":{unique}' for unique in part.rows["unique"].tolist()]
    for column in _ARGUMENTS:
        for at, value in _told(column, part):
            texts[at] += f',"{column.name}":{value}'
    for at in np.flatnonzero(part.rows["ended_ns"] == 0).tolist():
        texts[at] += f',"unfinished":"{state(part.rows[at])}"'
    return texts


def _told(column: Column, part: Part) -> Iterator[tuple[int, Any]]:
    """Where a column has something to tell, and what, as JSON."""
    values = column.take(part)
    if isinstance(values, Words):
        texts = [*map(json.dumps, values.texts)]
        return ((at, texts[place]) for at, place in enumerate(values.places.tolist()) if place >= 0)
    if isinstance(values, Texts):
        return ((at, json.dumps(text)) for at, text in enumerate(values.values) if text is not None)
    assert isinstance(values, Numbers)
    known = np.ones(len(part.rows), bool) if values.known is None else values.known
    if column.type == BOOL:
        return ((at, "true") for at in np.flatnonzero(known & values.values).tolist())
    places = np.flatnonzero(known)
    return zip(places.tolist(), values.values[places].tolist(), strict=True)


SHOWN: Final = (
    *("path", "other_path", "name", "error_name", "offset", "size", "moved", "background"),
    *("buffer", "buffer_offset", "slot", "zero_copied", "copied_because", "uncertain"),
)
"""Columns that are arguments of a request's slice, besides ``unique``; a boolean one only where it is true."""
_ARGUMENTS: Final = [column for column in REQUEST_COLUMNS if column.name in SHOWN]
