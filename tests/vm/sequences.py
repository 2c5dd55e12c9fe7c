"""Whether a trace's events are what the kernel does, one by one: ``check(events, shown)``.

Two things are looked at. Each request's events have one legal order, which ``_order`` gives. And buffers, slots and
entries are followed over all requests: whoever has one has it alone, and gives back just that one.

Events are the objects of ``furtrace live --json --events`` from a connection's start to its end, with no request under
way then; what is said here holds for servers that answer a zero-copied request after their I/O on its pages.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from furtrace.wire.bodies import REQUESTS

Event = dict[str, Any]
Request = tuple[int, int]
"""A request's connection and unique."""
Place = tuple[int, int, int]
"""A buffer or a slot: connection, queue, number."""

BUFFER: Final = 128 << 10
"""Bytes of a pool's buffer, as the servers here agree on it with INIT."""
DRY: Final = -105
"""ENOBUFS: what select_buffer says when none is free."""
WAITS: Final = "SELECTED (none free)"
"""A SELECTED that found no buffer, in a request's order."""

QUEUE_FUSE_REQ: Final = "fuse_uring_queue_fuse_req"
QUEUE_BQ_REQ: Final = "fuse_uring_queue_bq_req"
ADD_REQ: Final = "fuse_uring_add_req_to_ring_ent"
SEND_IN_TASK: Final = "fuse_uring_send_in_task"
PREPARE_SEND: Final = "fuse_uring_prepare_send"
COPY_HEADER: Final = "copy_header_to_ring"
SEND: Final = "fuse_uring_send"
CMD_DONE: Final = "__io_uring_cmd_done"
REQ_END: Final = "fuse_uring_req_end"
NEXT: Final = "fuse_uring_get_next_fuse_req"

_SETUP: Final = frozenset({"INIT", "ADD_QUEUE", "ADD_BUFPOOL", "REGISTER", "READY", "STOPPED"})
"""Events that are about no request, INIT's own among them."""
_OF_REQUESTS: Final = frozenset(
    {
        *("QUEUED", "SELECTED", "PAGES_REGISTERED", "COPIED", "DELIVERED", "FIXED_IO", "COMMITTED", "RETURNED"),
        *("PAGES_UNREGISTERED", "PAGES_RELEASED", "RECYCLED", "ENDED"),
    }
)


@dataclass(frozen=True)
class Shown:
    """What a trace shows where it happens.

    Attributes:
        events: names of events.
        steps: names of the kernel's functions.
        copied_at_last: whether COPIED comes after the last header is copied, not before that.
        late_numbers: whether the kernel gives a request its number only after QUEUED (before Linux 6.18), so that this
            is known to be there, but not whose it is; requests in the background have none.
    """

    events: frozenset[str]
    steps: frozenset[str] = frozenset()
    copied_at_last: bool = False
    late_numbers: bool = False


def check(events: Sequence[Event], shown: Shown, buffer: int = BUFFER) -> list[str]:
    """Return what is wrong with the events of one connection or several; ``buffer`` are the bytes of one."""
    holders = _Holders(shown, buffer)
    for event in events:
        holders.take(event)
    holders.end()
    wrong = list(holders.wrong)
    named = numbered(events)
    requests = by_request(named)
    if shown.late_numbers:
        wrong += _wrong_with_unnumbered(named, requests.values(), shown)
    else:
        wrong += [f"{event['step']} queues nothing" for event in named if _queues_nothing(event)]
    for (connection, unique), own in requests.items():
        about = f"request {unique} of connection {connection}"
        wrong += [f"{about}: {complaint}" for complaint in _wrong_with_request(own, shown)]
    return wrong


def check_summary(summary: dict[str, Any]) -> list[str]:
    """Return what is wrong with a trace's last line; where events were lost nothing can be said of the others."""
    wrong = [f"{summary['lost']} events were lost, so the trace is not whole"] if summary["lost"] else []
    return wrong + [
        f"the summary tells of {summary[key]} {what}"
        for key, what in (("refused", "refused commands"), ("cqe_overflows", "completions without room"))
        if summary[key]
    ]


def check_setup(events: Sequence[Event], shown: Shown, queues: int, entries: int, *, pooled: bool) -> list[str]:
    """Return what is wrong with how a connection's ring is set up: so many queues, of so many entries each."""
    own = [event for event in events if event["event"] in _SETUP]
    wanted = [*(["ADD_QUEUE", "ADD_BUFPOOL"] if pooled else []), *["REGISTER"] * entries]
    wrong = []
    for queue in range(queues):
        commands = [event["event"] for event in own if event["queue"] == queue and event["event"] != "STOPPED"]
        if commands != wanted:
            wrong.append(f"queue {queue} is set up by {commands}, should be {wanted}")
    counts = Counter(event["event"] for event in own)
    once = ["INIT", *(["READY"] if "READY" in shown.events else [])]
    wrong += [f"there are {counts[name]} of {name}, should be 1" for name in once if counts[name] != 1]
    names = [event["event"] for event in events if event["event"] in once or event["transport"] == "uring"]
    first = names.index("DELIVERED") if "DELIVERED" in names else len(names)
    if names[:1] != ["INIT"] or any(names.index(name) > first for name in once if name in names):
        wrong.append("INIT is not the first, or a request goes over the ring before it is ready")
    return wrong


def by_request(events: Iterable[Event]) -> dict[Request, list[Event]]:
    """Return the events of each request in their order."""
    found: dict[Request, list[Event]] = {}
    for event in events:
        if event["unique"] is not None and event["event"] not in _SETUP:
            found.setdefault((event["connection"], event["unique"]), []).append(event)
    return found


def numbered(events: Iterable[Event]) -> list[Event]:
    """Return the events with the request's number in fuse_uring_queue_fuse_req, which begins before there is one.

    The same thread's next QUEUED tells it.
    """
    result: list[Event] = []
    open_ones: dict[tuple[int, int], Event] = {}
    for event in events:
        thread = event["connection"], event["tid"]
        result.append(event)
        if event["step"] == QUEUE_FUSE_REQ:
            result[-1] = open_ones[thread] = dict(event)
        elif event["event"] == "QUEUED" and thread in open_ones:
            step = open_ones.pop(thread)
            step["unique"] = event["unique"] if step["opcode"] == event["opcode"] else None
    return result


def _queues_nothing(event: Event) -> bool:
    return event["step"] in (QUEUE_FUSE_REQ, QUEUE_BQ_REQ) and event["unique"] is None


def _wrong_with_unnumbered(named: Sequence[Event], requests: Iterable[Sequence[Event]], shown: Shown) -> list[str]:
    """There is a QUEUED without a number for each request that has none, of the same operation.

    Of requests in the background these kernels tell none; which they are shows in a step inside the kernel alone.
    """
    found = Counter(event["opcode"] for event in named if event["event"] == "QUEUED" and event["unique"] is None)
    without = [own for own in requests if only(own, "QUEUED") is None and not _in_background(own)]
    wanted = Counter(own[0]["opcode"] for own in without)
    if found == wanted or (QUEUE_BQ_REQ not in shown.steps and found <= wanted):
        return []
    return [f"QUEUED without a number are there of {found}, should be of {wanted}"]


def _in_background(own: Sequence[Event]) -> bool:
    return any(event["step"] == QUEUE_BQ_REQ for event in own)


def over_ring(own: Iterable[Event]) -> bool:
    """Whether a request, of which these are the events, went over the ring."""
    return any(event["transport"] == "uring" for event in own)


def only(own: Iterable[Event], kind: str) -> Event | None:
    """Return a request's first event of a kind."""
    return next((event for event in own if event["event"] == kind), None)


def reply_error(committed: Event) -> int:
    """Return the error number in the server's answer, as it lay in the header slot (``fuse_out_header``)."""
    return int.from_bytes(bytes.fromhex(committed["header"])[4:8], "little", signed=True)


def name_of(event: Event) -> str:
    """What an event is called in a request's order."""
    if event["event"] == "SELECTED" and event["error"] == DRY:
        return WAITS
    if event["event"] != "STEP":
        return str(event["event"])
    part = event["header_part"]
    return f"{event['step']} {part}" if part else str(event["step"])


# A request's order.

_ELSEWHERE: Final = ("RECYCLED", "PAGES_RELEASED")
"""Events that may come after the request's end."""


@dataclass(frozen=True)
class _Item:
    """What may come next in a request's order; ``times`` as a regular expression has it."""

    names: tuple[str, ...]
    times: str = ""

    @property
    def pattern(self) -> str:
        either = "|".join(re.escape(f"{name}\n") for name in self.names)
        return f"(?:{either}){self.times}"


def _wrong_with_request(own: Sequence[Event], shown: Shown) -> list[str]:
    order = _order(own, shown) if over_ring(own) else _order_by_device(shown)
    names = [name_of(event) for event in own if event["event"] not in _ELSEWHERE]
    wrong = (
        []
        if re.fullmatch("".join(item.pattern for item in order), "".join(f"{name}\n" for name in names))
        else [f"no legal order: {', '.join(names)}; legal is {', '.join(_said(item) for item in order)}"]
    )
    wrong += _wrong_with_pages(own, shown)
    committed, ended = only(own, "COMMITTED"), only(own, "ENDED")
    if committed and ended and (committed["commit_id"], ended["error"]) != (own[0]["unique"], reply_error(committed)):
        wrong.append(f"it ends with {ended['error']}, but the server has answered {reply_error(committed)}")
    times = [event["ns"] for event in own]
    if times != sorted(times):
        wrong.append("its times go back")
    # Where there was no buffer for a request, the entry that was to have it goes without it.
    its_own = [event for event in own if name_of(event) != WAITS]
    for key in ("entry", "queue", "opcode"):
        values = {event[key] for event in its_own if event[key] is not None}
        if len(values) > 1:
            wrong.append(f"its events name several: {key} {sorted(values)}")
    return wrong


def _has_structure(own: Sequence[Event]) -> bool:
    """Whether the request's first argument, the operation's own structure, has a size."""
    body = REQUESTS.get(own[0]["opcode"])
    return body is not None and bool(body.structures)


def _fetched(own: Sequence[Event]) -> bool:
    """Whether the server's own thread gave the request to the entry, with the commit of the entry's last one."""
    added = next((event for event in own if event["step"] == ADD_REQ), None)
    delivered = only(own, "DELIVERED")
    return added is not None and delivered is not None and added["tid"] == delivered["tid"]


def _said(item: _Item) -> str:
    return f"{' or '.join(item.names)}{item.times}"


def _wrong_with_pages(own: Sequence[Event], shown: Shown) -> list[str]:
    """Pages are released as the slot is emptied, or, where an I/O on them still has them, some time after that."""
    names = [name_of(event) for event in own]
    wanted = int("PAGES_REGISTERED" in names and "PAGES_RELEASED" in shown.events)
    if names.count("PAGES_RELEASED") != wanted:
        return [f"there are {names.count('PAGES_RELEASED')} of PAGES_RELEASED, should be {wanted}"]
    if not wanted:
        return []
    place = names.index("PAGES_RELEASED")
    early = not {"COMMITTED", REQ_END} & ({"COMMITTED"} | shown.steps) <= set(names[:place])
    late = "PAGES_UNREGISTERED" in names[:place] and "FIXED_IO" not in names
    return [f"its pages are released too {'early' if early else 'late'}: {', '.join(names)}"] if early or late else []


def _order_by_device(shown: Shown) -> list[_Item]:
    """INIT's, and that of all others that go by /dev/fuse."""
    delivered = "?" if "DELIVERED" in shown.events else "{0}"
    return [_Item(("QUEUED",), "?" if shown.late_numbers else ""), _Item(("DELIVERED",), delivered), _Item(("ENDED",))]


def _order(own: Sequence[Event], shown: Shown) -> list[_Item]:
    """The one legal order of a request that goes over the ring, as far as the trace shows it."""
    delivered, committed = only(own, "DELIVERED"), only(own, "COMMITTED")
    zero_copied = delivered is not None and delivered["slot"] is not None
    answered = committed is not None and not reply_error(committed)
    pages = "" if zero_copied else "{0}"
    perhaps = "?" if shown.late_numbers else ""
    # A request that is not in the background gets its number, which QUEUED tells, from the function itself.
    early, late = ((), (QUEUE_BQ_REQ,)) if _in_background(own) else ((QUEUE_FUSE_REQ,), ())
    items = [
        _Item(early, perhaps),
        _Item(("QUEUED",), perhaps),
        _Item(late),
        _Item((WAITS,), "*"),
        _Item(("SELECTED",), "?"),
        _Item((ADD_REQ,)),
        _Item((SEND_IN_TASK,), "{0}" if _fetched(own) else ""),
        _Item((PREPARE_SEND,)),
        _Item(("PAGES_REGISTERED",), pages),
        _Item((f"{COPY_HEADER} OP",), "" if _has_structure(own) else "{0}"),
        _Item((f"{COPY_HEADER} RING_ENT",)),
        *([] if shown.copied_at_last else [_Item(("COPIED",))]),
        _Item((f"{COPY_HEADER} IN_OUT",)),
        *([_Item(("COPIED",))] if shown.copied_at_last else []),
        _Item((SEND,)),
        _Item((CMD_DONE,)),
        _Item(("DELIVERED",)),
        _Item(("FIXED_IO",), "*" if zero_copied else "{0}"),
        _Item(("COMMITTED",)),
        _Item(("RETURNED",), "" if answered else "{0}"),
        _Item((REQ_END,)),
        _Item(("PAGES_UNREGISTERED",), pages),
        _Item(("ENDED",)),
    ]
    return [item for item in items if item.names and _is_shown(item, shown)]


def _is_shown(item: _Item, shown: Shown) -> bool:
    name = item.names[0]
    return ("SELECTED" if name == WAITS else name) in shown.events or name.split()[0] in shown.steps


# Buffers, slots and entries.


@dataclass
class _Holders:
    """Follows who has what.

    Attributes:
        wrong: complaints so far.
        buffers: by entry, the number of the buffer that it has and the request that it has or last had it for.
        pools: how many buffers a queue's pool has.
        slots: which request's pages a slot has.
        entries: the request in an entry's hands.
        given: the request in the server's hands that a buffer was given to it for.
    """

    shown: Shown
    buffer: int
    wrong: list[str] = field(default_factory=list)
    buffers: dict[tuple[int, int], tuple[Place, Request]] = field(default_factory=dict)
    pools: dict[tuple[int, int], int] = field(default_factory=dict)
    slots: dict[Place, Request] = field(default_factory=dict)
    entries: dict[tuple[int, int], Request] = field(default_factory=dict)
    given: dict[Place, Request] = field(default_factory=dict)
    committed: Counter[tuple[int, int]] = field(default_factory=Counter)
    fetched: Counter[tuple[int, int]] = field(default_factory=Counter)

    def take(self, event: Event) -> None:
        """Take the next event in."""
        kind = event["event"]
        if kind not in _SETUP | _OF_REQUESTS and kind != "STEP":
            self._complain(event, f"{kind} should not happen")
        elif kind in _OF_REQUESTS and event["unique"] is None and not (kind == "QUEUED" and self.shown.late_numbers):
            self._complain(event, f"{kind} is of no request")
        elif event["transport"] == "uring" or kind in ("ENDED", "STEP"):
            getattr(self, f"_{kind.lower()}", _nothing)(event)

    def end(self) -> None:
        """Complain of what is not given back."""
        for what, left in (("buffer", self.buffers), ("slot", self.slots), ("entry", self.entries)):
            self.wrong += [f"{what} of {key} is never given back: {holder}" for key, holder in left.items()]
        if NEXT in self.shown.steps and self.committed != self.fetched:
            self.wrong.append(f"{NEXT} is not called once for each COMMITTED of an entry")

    def _complain(self, event: Event, complaint: str) -> None:
        about = f"{name_of(event)} of request {event['unique']} of connection {event['connection']}"
        self.wrong.append(f"{about}: {complaint}")

    def _demand(self, event: Event, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            self._complain(event, f"{what} {found}, should be {wanted}")

    def _queue_holds(self, event: Event) -> int:
        return sum(place[:2] == _queue(event) for place, _ in self.buffers.values())

    def _selected(self, event: Event) -> None:
        pool = self.pools.setdefault(_queue(event), event["buffers"])
        self._demand(event, "buffers", event["buffers"], pool)
        self._demand(event, "error", event["error"], DRY if self._queue_holds(event) >= pool else 0)
        if event["error"] == 0:
            self._take_buffer(event)
        self._demand(event, "buffers_free", event["buffers_free"], pool - self._queue_holds(event))

    def _take_buffer(self, event: Event) -> None:
        place = _place(event, "buffer")
        self._demand(event, "offset", event["offset"], event["buffer"] * self.buffer)
        if _entry(event) in self.buffers:
            self._complain(event, f"its entry has a buffer already: {self.buffers[_entry(event)]}")
        if any(place == taken for taken, _ in self.buffers.values()):
            self._complain(event, f"buffer {event['buffer']} is not free")
        if not 0 <= event["buffer"] < event["buffers"]:
            self._complain(event, f"buffer {event['buffer']} is not in the pool")
        self.buffers[_entry(event)] = (place, _request(event))

    def _recycled(self, event: Event) -> None:
        place, holder = self.buffers.pop(_entry(event), (None, None))
        self._demand(event, "gives back", _place(event, "buffer"), place)
        self._demand(event, "is told of", _request(event), holder)
        if holder in self.entries.values():
            self._complain(event, "comes before the request's end")
        pool = self.pools.get(_queue(event))
        self._demand(event, "buffers", event["buffers"], pool)
        if pool is not None:
            self._demand(event, "buffers_free", event["buffers_free"], pool - self._queue_holds(event))

    def _pages_registered(self, event: Event) -> None:
        place = _place(event, "slot")
        self._demand(event, "error", event["error"], 0)
        if place in self.slots:
            self._complain(event, f"slot {event['slot']} has pages of {self.slots[place]}")
        self.slots[place] = _request(event)

    def _pages_unregistered(self, event: Event) -> None:
        self._demand(event, "error", event["error"], 0)
        self._demand(event, "empties the slot of", self.slots.pop(_place(event, "slot"), None), _request(event))

    def _fixed_io(self, event: Event) -> None:
        if "PAGES_REGISTERED" in self.shown.events:
            self._demand(event, "is on the slot of", self.slots.get(_place(event, "slot")), _request(event))

    def _delivered(self, event: Event) -> None:
        entry = _entry(event)
        if entry in self.entries:
            self._complain(event, f"its entry is with {self.entries[entry]}")
        self.entries[entry] = _request(event)
        if event["buffer"] is not None:
            self._deliver_buffer(event)
        if "SELECTED" in self.shown.events:
            self._keep_buffer(event)
        if "PAGES_REGISTERED" in self.shown.events and event["slot"] is not None:
            self._demand(event, "its slot is of", self.slots.get(_place(event, "slot")), _request(event))

    def _deliver_buffer(self, event: Event) -> None:
        place = _place(event, "buffer")
        self._demand(event, "offset", event["offset"], event["buffer"] * self.buffer)
        if place in self.given:
            self._complain(event, f"buffer {event['buffer']} is with {self.given[place]}")
        self.given[place] = _request(event)

    def _keep_buffer(self, event: Event) -> None:
        """The entry has a buffer if and only if the event says so, and keeps it for this request."""
        has = None if event["buffer"] is None else _place(event, "buffer")
        place, _ = self.buffers.get(_entry(event), (None, None))
        self._demand(event, "buffer", has, place)
        if place is not None:
            self.buffers[_entry(event)] = (place, _request(event))

    def _committed(self, event: Event) -> None:
        entry = next((entry for entry, holder in self.entries.items() if holder == _request(event)), None)
        if entry is None:
            self._complain(event, "no entry has it")
        else:
            self.committed[entry] += 1

    def _ended(self, event: Event) -> None:
        self.entries = {key: holder for key, holder in self.entries.items() if holder != _request(event)}
        self.given = {key: holder for key, holder in self.given.items() if holder != _request(event)}

    def _step(self, event: Event) -> None:
        if event["step"] == NEXT:
            self.fetched[_entry(event)] += 1


def _nothing(_event: Event) -> None:
    """What other events do to holders."""


def _request(event: Event) -> Request:
    return event["connection"], event["unique"]


def _queue(event: Event) -> tuple[int, int]:
    return event["connection"], event["queue"]


def _entry(event: Event) -> tuple[int, int]:
    return event["connection"], event["entry"]


def _place(event: Event, key: str) -> Place:
    return event["connection"], event["queue"], event[key]
