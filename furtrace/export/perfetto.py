"""Trace events as Chrome and Perfetto read them: JSON that ui.perfetto.dev opens.

Each request is a slice on the track of the client's thread, with its phases in it, and one on the track of its entry
while the server has it; an arrow leads from one to the other. Counters tell how many requests are in flight and wait,
and how many buffers are in use. What the format calls processes are connections, and, for each boot, its clients.

Times in the file are microseconds since the recording began. Memory does not grow with its length: tracks are
remembered, everything else goes out with its batch.
"""

import json
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from furtrace.export.columns import Part
from furtrace.export.jsonlines import recording_object
from furtrace.export.perfetto_counters import Counters, Sample, Span
from furtrace.export.perfetto_slices import RequestSlices
from furtrace.export.perfetto_tracks import Processes, Tracks
from furtrace.model.conversation import Conversation
from furtrace.trace.record import NO_CPU, NO_QUEUE, Flag, Kind, Records, among
from furtrace.wire.errnos import errno_name
from furtrace.wire.opcodes import command_name


class PerfettoTrace:
    """Writes one trace.

    Args:
        write: takes the text in UTF-8.
        base_ns: what the file's times are counted from.
    """

    def __init__(self, write: Callable[[bytes], object], base_ns: int) -> None:
        self._write = write
        self._base = self._until = base_ns
        self._events: list[str] = []
        self._separator = "\n"
        tracks = Tracks(self._events.append)
        self._processes = Processes(tracks)
        self._slices = RequestSlices(self._events.append, tracks, self._processes)
        self._counters = Counters()
        self._write(b'{"displayTimeUnit":"ns","traceEvents":[')

    def add(self, batch: Records, part: Part, conversation: Conversation) -> None:
        """Write what is in a batch.

        Args:
            batch: its events.
            part: the requests that ended in it.
            conversation: has taken it in.
        """
        span = Span(self._until, max(self._until, int(batch["ns"].max(initial=0))))
        self._until = span.end
        self._processes.learn(part.mounts, part.origins)
        self._slices.add(part, self._base, self._until)
        self._trouble(batch)
        for connection, name, unit, samples in self._counters.update(batch, part.rows, conversation, span):
            self._counter(self._processes.connection(connection), name, unit, samples)
        self._flush()

    def end(self, part: Part, now_ns: int, summary: dict[str, Any]) -> None:
        """Write the requests that are still under way, and the end.

        Args:
            part: those requests.
            now_ns: when it ends.
            summary: what all came to, as JSON lines end with.
        """
        self._processes.learn(part.mounts, part.origins)
        self._slices.add(part, self._base, max(self._until, now_ns))
        self._flush()
        told = {
            "recordings": [recording_object(origin.info) for origin in part.origins],
            "begin_monotonic_ns": self._base,
            "begin_realtime_ns": self._base + part.realtime_offset_ns if part.origins else None,
            "summary": summary,
        }
        self._write(f'\n],"otherData":{{"furtrace":{json.dumps(told, separators=(",", ":"))}}}}}\n'.encode())

    def _flush(self) -> None:
        if self._events:
            self._write((self._separator + ",\n".join(self._events)).encode())
            self._separator = ",\n"
            self._events.clear()

    def _us(self, ns: int) -> str:
        return f"{(ns - self._base) / 1000:.3f}"

    def _counter(self, pid: int, name: str, unit: str, samples: list[Sample]) -> None:
        for ns, value in samples:
            self._events.append(
                f'{{"ph":"C","name":"{name}","pid":{pid},"tid":{pid},"ts":{self._us(ns)},"args":{{"{unit}":{value}}}}}'
            )

    # ---- trouble ----

    def _trouble(self, batch: Records) -> None:
        overflowed = (batch["flags"] & _CQE_OVERFLOW) != 0
        for at in np.flatnonzero(_IS_TROUBLE[batch["kind"]] | overflowed).tolist():
            event = batch[at]
            if event["kind"] == Kind.LOST:
                self._lost(event)
            else:
                name = Kind(event["kind"]).name if event["kind"] in _TROUBLE else "CQE overflow"
                pid = self._processes.connection(int(event["connection"]))
                self._instant(pid, name, "p", int(event["ns"]), _about(event))

    def _lost(self, event: np.void) -> None:
        """Any connection may be concerned."""
        told = {"events": int(event["length"]), "until_us": (int(event["user_data"]) - self._base) / 1000}
        cpu = {"cpu": int(event["cpu"])} if event["cpu"] != NO_CPU else {}
        self._instant(self._processes.clients(int(event["connection"])), "LOST", "g", int(event["ns"]), told | cpu)

    def _instant(self, pid: int, name: str, scope: str, ns: int, arguments: dict[str, Any]) -> None:
        told = json.dumps(arguments, separators=(",", ":"))
        self._events.append(
            f'{{"ph":"i","s":"{scope}","cat":"trouble","name":"{name}","pid":{pid},"tid":{pid},"ts":{self._us(ns)},'
            f'"args":{told}}}'
        )


_CQE_OVERFLOW: Final = int(Flag.CQE_OVERFLOW)
_TROUBLE: Final = (Kind.REFUSED, Kind.STOPPED, Kind.LOST)
_IS_TROUBLE: Final = among(_TROUBLE)


def _about(event: np.void) -> dict[str, Any]:
    """What an event of trouble tells."""
    error, queue, unique = int(event["error"]), int(event["queue"]), int(event["unique"])
    told: dict[str, Any] = {"command": command_name(int(event["command_op"]))} if event["command_op"] else {}
    told |= {"error_name": errno_name(error)} if error else {}
    told |= {"queue": queue} if queue != NO_QUEUE else {}
    return told | ({"unique": unique} if unique else {})
