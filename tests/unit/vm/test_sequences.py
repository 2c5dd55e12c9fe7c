"""Made-up events: what is legal, and each way not to be."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final

import pytest

from tests.vm import sequences
from tests.vm.sequences import (
    ADD_REQ,
    BUFFER,
    CMD_DONE,
    COPY_HEADER,
    DRY,
    NEXT,
    PREPARE_SEND,
    QUEUE_BQ_REQ,
    QUEUE_FUSE_REQ,
    REQ_END,
    SEND,
    SEND_IN_TASK,
    Event,
    Shown,
)

READ: Final = 15
LOOKUP: Final = 1
KINDS: Final = frozenset(
    {
        *("INIT", "ADD_QUEUE", "ADD_BUFPOOL", "REGISTER", "READY", "QUEUED", "SELECTED", "PAGES_REGISTERED"),
        *("DELIVERED", "FIXED_IO", "COMMITTED", "PAGES_UNREGISTERED", "ENDED", "RECYCLED"),
    }
)
STEPS: Final = frozenset(
    {
        *(QUEUE_FUSE_REQ, QUEUE_BQ_REQ, ADD_REQ, SEND_IN_TASK, PREPARE_SEND, COPY_HEADER),
        *(SEND, CMD_DONE, REQ_END, NEXT),
    }
)
DEFAULT: Final = Shown(KINDS)
KERNEL: Final = Shown(KINDS | {"COPIED", "RETURNED", "PAGES_RELEASED"}, STEPS)
TRACEPOINT: Final = Shown(frozenset({"INIT", "REGISTER", "QUEUED", "DELIVERED", "FIXED_IO", "COMMITTED", "ENDED"}))
CLIENT, SERVER = 100, 200
NOTHING: Final[Event] = dict.fromkeys(
    (
        *("ns", "event", "connection", "transport", "queue", "unique", "commit_id", "opcode", "error", "step"),
        *("header_part", "entry", "buffer", "offset", "buffers", "buffers_free", "slot", "bytes", "tid", "header"),
    )
)


class History:
    """Events of one connection with a pool of two buffers, which ``add`` appends to."""

    def __init__(self, shown: Shown) -> None:
        self.shown = shown
        self.events: list[Event] = []
        self.free = {0, 1}

    def add(self, kind: str, unique: int | None = None, **facts: Any) -> None:
        """Append an event, if it is one of those that are shown."""
        if kind not in self.shown.events and facts.get("step") not in self.shown.steps:
            return
        base = {"event": kind, "ns": len(self.events), "connection": 7, "transport": "uring", "unique": unique}
        self.events.append({**NOTHING, **base, "tid": SERVER, "queue": 0, **facts})

    def step(self, name: str, unique: int | None, **facts: Any) -> None:
        """Append a step."""
        self.add("STEP", unique, step=name, **facts)

    def select(self, unique: int, entry: int, buffer: int) -> None:
        """Give a buffer to an entry."""
        self.free.discard(buffer)
        facts = {"entry": entry, "buffer": buffer, "offset": buffer * BUFFER, "tid": CLIENT}
        self.add("SELECTED", unique, error=0, buffers=2, buffers_free=len(self.free), **facts)

    def find_none(self, unique: int, entry: int) -> None:
        """Look for a buffer where none is free."""
        self.add("SELECTED", unique, error=DRY, buffers=2, buffers_free=len(self.free), entry=entry)

    def recycle(self, unique: int, entry: int, buffer: int) -> None:
        """Give a buffer back."""
        self.free.add(buffer)
        facts = {"entry": entry, "buffer": buffer, "offset": buffer * BUFFER}
        self.add("RECYCLED", unique, buffers=2, buffers_free=len(self.free), **facts)

    def queue(self, unique: int, *, background: bool = False) -> None:
        """Queue a request."""
        if not background:
            self.step(QUEUE_FUSE_REQ, None, opcode=READ, tid=CLIENT, queue=None)
        self.add("QUEUED", unique, opcode=READ, transport=None, tid=CLIENT, queue=None)
        if background:
            self.step(QUEUE_BQ_REQ, unique, opcode=READ, tid=CLIENT)

    def deliver(self, unique: int, entry: int, buffer: int | None, slot: int | None = None, tid: int = CLIENT) -> None:
        """Bring a request to the server, from its assignment to the entry by the thread ``tid`` on."""
        self.step(ADD_REQ, unique, entry=entry, tid=tid)
        if tid == CLIENT:
            self.step(SEND_IN_TASK, unique, entry=entry)
        self.step(PREPARE_SEND, unique, entry=entry)
        if slot is not None:
            self.add("PAGES_REGISTERED", unique, entry=entry, slot=slot, error=0)
        for part in ("OP", "RING_ENT"):
            self.step(COPY_HEADER, unique, header_part=part, entry=entry)
        self.add("COPIED", unique, entry=entry)
        self.step(COPY_HEADER, unique, header_part="IN_OUT", entry=entry)
        self.step(SEND, unique, entry=entry)
        self.step(CMD_DONE, unique, entry=entry)
        offset = None if buffer is None else buffer * BUFFER
        facts = {"entry": entry, "buffer": buffer, "offset": offset, "slot": slot, "opcode": READ}
        self.add("DELIVERED", unique, commit_id=unique, **facts)

    def answer(self, unique: int, entry: int, slot: int | None = None, error: int = 0) -> None:
        """Answer a request, until it ends."""
        if slot is not None:
            self.add("FIXED_IO", unique, slot=slot, bytes=10)
        header = bytes(4) + error.to_bytes(4, "little", signed=True)
        self.add("COMMITTED", unique, commit_id=unique, entry=entry, header=header.hex())
        if not error:
            self.add("RETURNED", unique)
        self.step(REQ_END, unique, entry=entry)
        if slot is not None:
            self.add("PAGES_RELEASED", unique, slot=slot)
            self.add("PAGES_UNREGISTERED", unique, slot=slot, error=0)
        self.add("ENDED", unique, error=error, opcode=READ)
        self.step(NEXT, None, entry=entry)

    def find(self, kind: str, unique: int) -> Event:
        """Return the first event of a kind, or step, of a request."""
        return next(
            event for event in self.events if kind in (event["event"], event["step"]) and event["unique"] == unique
        )

    def check(self) -> list[str]:
        """Have it checked."""
        return sequences.check(self.events, self.shown)


def usual(shown: Shown) -> History:
    """Requests of all kinds.

    One by /dev/fuse; two that wait for no buffer; one that does and gets that of its entry's last request; one that
    needs none; and a zero-copied one.
    """
    history = History(shown)
    history.add("QUEUED", 2, transport=None, queue=None)
    history.add("ENDED", 2, transport="dev", error=0, queue=None)
    history.queue(4)
    history.select(4, 0xA, 0)
    history.deliver(4, 0xA, 0)
    history.queue(6, background=True)
    history.select(6, 0xB, 1)
    history.deliver(6, 0xB, 1)
    history.queue(8)
    history.find_none(8, 0xC)
    history.answer(6, 0xB)
    history.deliver(8, 0xB, 1, tid=SERVER)
    history.queue(10)
    history.answer(8, 0xB, error=-2)
    history.recycle(8, 0xB, 1)
    history.deliver(10, 0xB, None, tid=SERVER)
    history.answer(4, 0xA)
    history.recycle(4, 0xA, 0)
    history.answer(10, 0xB)
    history.queue(12)
    history.deliver(12, 0xB, None, slot=3)
    history.answer(12, 0xB, slot=3)
    return history


@pytest.fixture(params=[DEFAULT, KERNEL, TRACEPOINT], ids=["default", "kernel", "tracepoint"])
def history(request: pytest.FixtureRequest) -> History:
    return usual(request.param)


def test_what_is_legal(history: History) -> None:
    assert history.check() == []


@pytest.mark.parametrize("shown", [DEFAULT, KERNEL, TRACEPOINT])
def test_each_event_counts(shown: Shown) -> None:
    """None can be missing, or come twice; but buffers may be looked for, and pages used, as often as need be."""
    whole = usual(shown).events
    for place, event in enumerate(whole):
        if sequences.name_of(event) not in (sequences.WAITS, "FIXED_IO"):
            assert sequences.check(whole[:place] + whole[place + 1 :], shown) != [], event
            assert sequences.check(whole[: place + 1] + whole[place:], shown) != [], event


def test_a_request_s_events_have_one_order() -> None:
    whole = usual(KERNEL).events
    pairs = 0
    for place, (first, second) in enumerate(pairwise(whole)):
        if first["event"] == "PAGES_RELEASED":  # an I/O may still have them when the slot is emptied
            continue
        if first["unique"] == second["unique"] is not None:
            pairs += 1
            swapped = [*whole[:place], second, first, *whole[place + 2 :]]
            assert sequences.check(swapped, KERNEL) != [], (first, second)
    assert pairs > 50


Change = Callable[[History], None]


def _change(kind: str, about: int, **facts: Any) -> Change:
    return lambda history: history.find(kind, about).update(facts)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_change("SELECTED", 6, buffer=0, offset=0), "buffer 0 is not free"),
        (_change("SELECTED", 6, offset=1), "offset 1, should be 131072"),
        (_change("SELECTED", 6, entry=0xA), "its entry has a buffer already"),
        (_change("SELECTED", 6, buffers_free=1), "buffers_free 1, should be 0"),
        (_change("SELECTED", 6, buffers=3), "buffers 3, should be 2"),
        (_change("SELECTED", 4, error=DRY, buffer=None), "error -105, should be 0"),
        (_change("SELECTED", 8, error=0, buffer=2, offset=2 * BUFFER), "error 0, should be -105"),
        (_change("SELECTED", 4, buffer=5, offset=5 * BUFFER), "buffer 5 is not in the pool"),
        (_change("DELIVERED", 4, buffer=1, offset=BUFFER), r"buffer \(7, 0, 1\), should be \(7, 0, 0\)"),
        (_change("DELIVERED", 4, buffer=None, offset=None), r"buffer None, should be \(7, 0, 0\)"),
        (_change("DELIVERED", 8, offset=0), "offset 0, should be 131072"),
        (_change("DELIVERED", 6, buffer=0), r"buffer 0 is with \(7, 4\)"),
        (_change("DELIVERED", 6, entry=0xA), r"its entry is with \(7, 4\)"),
        (_change("DELIVERED", 12, slot=2), r"its slot is of None, should be \(7, 12\)"),
        (_change("RECYCLED", 8, unique=6), r"is told of \(7, 6\), should be \(7, 8\)"),
        (_change("RECYCLED", 8, buffer=0), r"gives back \(7, 0, 0\), should be \(7, 0, 1\)"),
        (_change("RECYCLED", 8, buffers_free=2), "buffers_free 2, should be 1"),
        (_change("RECYCLED", 4, entry=0xF), r"buffer of \(7, 10\) is never given back"),
        (_change("PAGES_REGISTERED", 12, error=-12), "error -12, should be 0"),
        (_change("PAGES_UNREGISTERED", 12, slot=2), r"slot of \(7, 0, 3\) is never given back"),
        (_change("PAGES_UNREGISTERED", 12, unique=10), r"empties the slot of \(7, 12\), should be \(7, 10\)"),
        (_change("FIXED_IO", 12, slot=2), "is on the slot of None"),
        (_change("FIXED_IO", 12, unique=None), "FIXED_IO is of no request"),
        (_change("COMMITTED", 12, header="00000000feffffff"), "it ends with 0, but the server has answered -2"),
        (_change("COMMITTED", 4, queue=1), r"its events name several: queue \[0, 1\]"),
        (_change("ENDED", 4, ns=0), "its times go back"),
        (_change("ENDED", 4, opcode=LOOKUP), "its events name several: opcode"),
        (_change("QUEUED", 4, event="REFUSED"), "REFUSED should not happen"),
    ],
)
def test_what_is_not(change: Change, complaint: str) -> None:
    history = usual(DEFAULT)
    change(history)
    assert any(re.search(complaint, wrong) for wrong in history.check()), history.check()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_change(SEND, 4, entry=0xB), "its events name several: entry"),
        (_change(ADD_REQ, 8, tid=CLIENT), "fuse_uring_send_in_task"),
        (_change(ADD_REQ, 4, tid=SERVER), "no legal order"),
        (_change(REQ_END, 4, unique=6), "no legal order"),
    ],
)
def test_steps_that_are_not(change: Change, complaint: str) -> None:
    history = usual(KERNEL)
    change(history)
    assert any(complaint in wrong for wrong in history.check()), history.check()


def test_pages_that_are_released_late() -> None:
    history = usual(KERNEL)
    released = history.find("PAGES_RELEASED", 12)
    history.events.remove(released)
    history.events.append({**released, "ns": len(history.events) + 1})
    assert history.check() == []
    history.events.remove(history.find("FIXED_IO", 12))
    assert any("its pages are released too late" in wrong for wrong in history.check())


def test_a_request_without_a_structure_has_no_such_header() -> None:
    history = usual(KERNEL)
    for event in history.events:
        event["opcode"] = event["opcode"] and LOOKUP
    assert any("copy_header_to_ring OP{0}" in wrong for wrong in history.check())
    history.events = [event for event in history.events if event["header_part"] != "OP"]
    assert history.check() == []


def test_buffers_that_two_have_at_once_without_what_happens_to_them() -> None:
    history = usual(TRACEPOINT)
    history.find("DELIVERED", 6).update(buffer=0, offset=0)
    assert any("buffer 0 is with (7, 4)" in wrong for wrong in history.check())


@pytest.mark.parametrize("shown", [KERNEL, TRACEPOINT])
def test_a_kernel_that_numbers_requests_late(shown: Shown) -> None:
    history = usual(shown)
    late = replace(shown, late_numbers=True)
    queued = [event for event in history.events if event["event"] == "QUEUED" and event["unique"] != 6]
    for event in history.events:
        event["opcode"] = READ
    for event in queued:
        event["unique"] = None
    assert sequences.check(history.events, late) == []
    assert sequences.check(history.events, shown) != []
    history.events.append({**queued[0], "opcode": LOOKUP})
    assert any("QUEUED without a number" in wrong for wrong in sequences.check(history.events, late))


def test_there_only_requests_in_the_background_lack_it() -> None:
    history = usual(KERNEL)
    late = replace(KERNEL, late_numbers=True)
    history.events.remove(history.find("QUEUED", 6))
    assert sequences.check(history.events, late) == []
    history.events.remove(history.find("QUEUED", 8))
    assert any("QUEUED without a number" in wrong for wrong in sequences.check(history.events, late))


def test_the_last_header_may_be_copied_by_the_same_function() -> None:
    history = usual(KERNEL)
    later = Shown(KERNEL.events, KERNEL.steps, copied_at_last=True)
    assert sequences.check(history.events, later) != []
    for place, event in enumerate(history.events[:]):
        if event["event"] == "COPIED":
            history.events[place : place + 2] = history.events[place : place + 2][::-1]
    for place, event in enumerate(history.events):
        event["ns"] = place
    assert sequences.check(history.events, later) == []


def _summary(**facts: int) -> dict[str, Any]:
    return {"lost": 0, "refused": 0, "cqe_overflows": 0, **facts}


def test_the_summary() -> None:
    assert sequences.check_summary(_summary()) == []
    assert sequences.check_summary(_summary(lost=3)) == ["3 events were lost, so the trace is not whole"]
    assert sequences.check_summary(_summary(refused=1)) == ["the summary tells of 1 refused commands"]


def _set_up(*, queues: int = 2, pooled: bool = True) -> list[Event]:
    history = History(DEFAULT)
    history.add("INIT", 2, transport="dev", queue=None)
    for queue in range(queues):
        for name in [*(["ADD_QUEUE", "ADD_BUFPOOL"] if pooled else []), "REGISTER", "REGISTER"]:
            history.add(name, queue=queue)
    history.add("READY", queue=None)
    history.queue(4)
    return history.events


@pytest.mark.parametrize("pooled", [False, True])
def test_how_a_ring_is_set_up(pooled: bool) -> None:
    events = _set_up(pooled=pooled)
    check = sequences.check_setup
    assert check(events, DEFAULT, 2, 2, pooled=pooled) == []
    assert check(events, DEFAULT, 2, 2, pooled=not pooled) != []
    assert check(events, DEFAULT, 3, 2, pooled=pooled) != []
    assert check(events, DEFAULT, 2, 3, pooled=pooled) != []
    for place in range(len(events) - 1):
        assert check(events[:place] + events[place + 1 :], DEFAULT, 2, 2, pooled=pooled) != [], events[place]
        assert check(events[: place + 1] + events[place:], DEFAULT, 2, 2, pooled=pooled) != [], events[place]


def test_a_request_before_the_ring_is_ready() -> None:
    events = _set_up()
    delivered = {**events[-1], "event": "DELIVERED", "transport": "uring"}
    assert sequences.check_setup([*events, delivered], DEFAULT, 2, 2, pooled=True) == []
    assert sequences.check_setup([*events[:-2], delivered, *events[-2:]], DEFAULT, 2, 2, pooled=True) != []
