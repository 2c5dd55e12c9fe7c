"""Histories of two connections at random: requests in any order, some events missing, connections that begin anew."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from furtrace.trace.record import NO_BUFFER, NO_QUEUE, Flag, Kind, Records, Step, Transport
from furtrace.wire.opcodes import Opcode
from tests.unit import events

_CONNECTIONS = (7, 9)
_OPCODES = (
    *(Opcode.LOOKUP, Opcode.READ, Opcode.WRITE, Opcode.READDIR),
    *(Opcode.COPY_FILE_RANGE, Opcode.COPY_FILE_RANGE_64, Opcode.GETATTR),
    *(Opcode.FORGET, Opcode.INTERRUPT, Opcode.BATCH_FORGET),
)
_UNANSWERED = _OPCODES[-3:]
_STEPS = [Kind.QUEUED, Kind.DELIVERED, Kind.COMMITTED, Kind.ENDED]
_STEPS_OF_7_3 = [
    *(Kind.QUEUED, Kind.SELECTED, Kind.SELECTED, Kind.STEP, Kind.PAGES_REGISTERED, Kind.COPIED, Kind.DELIVERED),
    *(Kind.FIXED_IO, Kind.FIXED_IO, Kind.COMMITTED, Kind.RETURNED, Kind.PAGES_UNREGISTERED, Kind.ENDED),
    *(Kind.RECYCLED, Kind.FIXED_IO, Kind.PAGES_RELEASED),
]
_ABOUT_COPYING = Flag.POOL | Flag.ZERO_COPIED | Flag.HAS_SLOT | Flag.QUEUE_ZERO_COPY | Flag.HAS_PAGES
_ERRORS = (0, 0, 0, -2, -4, -103)
_INNER_ERRORS = (0, 0, -105)
# Entries of both connections have the same addresses: another connection's memory is used anew.
_ENTRIES = ((0, 0xE0), (0, 0xD0), (1, 0xF0), (1, 0xC0))


@dataclass
class _Request:
    connection: int
    unique: int
    opcode: int
    node_id: int
    transport: Transport
    flags: int
    entry: tuple[int, int]
    steps: list[Kind] = field(default_factory=lambda: list(_STEPS))


class _Making:
    def __init__(self) -> None:
        self.events: list[Records] = []
        self._live: list[_Request] = []
        self._last = dict.fromkeys(_CONNECTIONS, 2)
        self._ns = 1000

    def _now(self) -> int:
        self._ns += 1 + self._ns % 7
        return self._ns

    def ask(self, number: int) -> None:
        connection = _CONNECTIONS[number % 2]
        self._last[connection] += 2
        flags = Flag.BACKGROUND if number % 11 == 0 else Flag.HAS_BUFFER if number % 7 == 0 else Flag(0)
        transport = Transport.DEV if number % 5 == 0 else Transport.URING
        opcode, entry = _OPCODES[number // 2 % len(_OPCODES)], _ENTRIES[number // 3 % 4]
        if opcode in _UNANSWERED:
            what = self._last[connection], opcode, number
            self._live.append(_Request(connection, *what, Transport.DEV, 0, entry, [Kind.DELIVERED]))
            return
        request = _Request(connection, self._last[connection], opcode, number, transport, int(flags), entry)
        if transport == Transport.URING and number % 3 == 0:
            request.steps = list(_STEPS_OF_7_3)
        self._live.append(request)

    def go_on(self, number: int, *, seen: bool) -> None:
        if not self._live:
            return
        request = self._live[number % len(self._live)]
        kind = request.steps.pop(0)
        if kind is Kind.SELECTED and not _INNER_ERRORS[number % 3]:  # a request gets one buffer, once
            request.steps = [step for step in request.steps if step is not Kind.SELECTED]
        if seen:
            self.events.append(self._event(request, kind, number))
        if not request.steps:
            self._live.remove(request)

    def begin(self, number: int) -> None:
        connection = _CONNECTIONS[number % 2]
        self._live = [request for request in self._live if request.connection != connection]
        self._last[connection] = 2
        dev = {"connection": connection, "transport": Transport.DEV, "queue": NO_QUEUE}
        self.events += [
            events.queued(2, self._now(), Opcode.INIT, connection=connection),
            events.ended(2, self._now(), Opcode.INIT, **dev),
            events.event(Kind.INIT, self._now(), unique=2, opcode=Opcode.INIT, connection=connection),
        ]

    def register(self, number: int) -> None:
        place = {"connection": _CONNECTIONS[number % 2], "queue": number // 2 % 2, "command_op": 1}
        kind = Kind.REGISTER if number % 3 else Kind.REFUSED
        self.events.append(events.event(kind, self._now(), **place))

    def _event(self, request: _Request, kind: Kind, number: int) -> Records:
        if kind not in _STEPS:
            return self._inner_event(request, kind, number)
        queue, entry = request.entry
        uring = request.transport == Transport.URING
        place: dict[str, Any] = {"entry": 0, "queue": NO_QUEUE}
        if uring:
            place = {"entry": entry, "queue": queue, "commit_id": request.unique}
        known: dict[str, Any] = {"connection": request.connection, "flags": request.flags, "node_id": request.node_id}
        at: dict[str, Any] = {"unique": request.unique, "ns": self._now(), "opcode": request.opcode}
        if kind is Kind.QUEUED:
            known["flags"] |= Flag.CURRENT_IS_CLIENT if number % 3 else 0
            known |= events.two_names(b"old", b"new") if number % 4 == 1 else events.one_name(b"name%d" % number)
            return events.queued(**at, **known, cpu=queue, header=events.read_in(number, 4096))
        if kind is Kind.DELIVERED:
            known["flags"] |= Flag.HEADER_FROM_SERVER if number % 2 else 0
            known |= {"header": events.read_in(number + 1, 512).ljust(288, b"\1"), "transport": request.transport}
            holds_none = number % 13 == 0 and not known["flags"] & Flag.HAS_BUFFER
            place["buffer_id"] = NO_BUFFER if holds_none else number % 9
            known["flags"] |= number & _ABOUT_COPYING
            return events.delivered(**at, **known, **place, pool_offset=number, payload=number, slot=number % 5)
        if kind is Kind.COMMITTED:
            known["flags"] |= Flag.HEADER_FROM_SERVER | (number * 8 & _ABOUT_COPYING)
            return events.committed(payload_size=number * 3, **at, **known, **place) if uring else events.batch()
        size = np.uint64(number * 5).tobytes()[: 4 if number % 3 else 8]
        known["flags"] |= Flag.HAS_ERROR
        known |= {"queue": place["queue"], "transport": request.transport, "length": 16 + number}
        return events.ended(error=_ERRORS[number % 6], **at, **known, header=events.operation_header(size))

    def _inner_event(self, request: _Request, kind: Kind, number: int) -> Records:
        queue, entry = request.entry
        known: dict[str, Any] = {"connection": request.connection, "queue": queue, "entry": entry, "slot": number % 5}
        known |= {"unique": request.unique, "opcode": request.opcode, "node_id": request.node_id}
        if number % 2 == 0:  # one that does not know its request's header
            known |= {"opcode": 0, "node_id": 0}
        known |= {"error": 0, "length": number, "segments": number % 4}
        if kind in (Kind.FIXED_IO, Kind.SELECTED, Kind.PAGES_UNREGISTERED):
            known["error"] = _INNER_ERRORS[number % 3]
        elif kind is Kind.STEP:
            known["step"] = (Step.ADD_REQ_TO_RING_ENT, Step.SEND)[number % 3 == 0]
        return events.event(kind, self._now(), **known, buffer_id=number % 9, pool_offset=number, payload=number + 1)


_STEP = st.tuples(st.sampled_from("aaaaggggggggggggmrb"), st.integers(0, 1000))


@dataclass(frozen=True)
class History:
    """Events, and places where to cut them into batches."""

    events: Records
    cuts: list[int]

    @property
    def batches(self) -> list[Records]:
        """The events, cut; empty batches are among them."""
        return np.split(self.events, self.cuts)

    def __repr__(self) -> str:
        """Short: a record's own repr takes two kilobytes."""
        shown = (f"{Kind(event['kind']).name} {event['connection']}:{event['unique']}" for event in self.events)
        return f"History({'; '.join(shown)}; cut at {self.cuts})"


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A history of two connections."""
    making = _Making()
    for what, number in draw(st.lists(_STEP, max_size=80)):
        if what == "a":
            making.ask(number)
        elif what == "b":
            making.begin(number)
        elif what == "r":
            making.register(number)
        else:
            making.go_on(number, seen=what == "g")
    made = events.batch(*making.events)
    return History(made, sorted(draw(st.lists(st.integers(0, len(made)), max_size=10))))
