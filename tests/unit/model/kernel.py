"""A queue's pool and slots as the kernel keeps them, at random, and the events that it would write."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from furtrace.trace.record import NO_BUFFER, Flag, Kind, Records
from furtrace.wire.opcodes import Opcode
from tests.unit import events

QUEUE, BUFFERS, SIZE = 3, 3, 8192
_ENTRIES = (0xE0, 0xE1, 0xE2, 0xE3)


@dataclass
class Entry:
    """An entry of the ring: ``unique`` of the request that it has, its buffer and its slot."""

    address: int
    slot: int
    unique: int = 0
    opcode: int = 0
    last: int = 0
    buffer: int | None = None
    zero_copied: bool = False


@dataclass
class Kernel:
    """What ``fs/fuse/dev_uring.c`` does with buffers.

    ``events``: what the probes would see of it. ``held``, ``slots``: after each event, which entry has which buffer and
    which request which slot.
    """

    events: list[Records] = field(default_factory=list)
    held: list[dict[int, int]] = field(default_factory=list)
    slots: list[dict[int, int]] = field(default_factory=list)
    waiting: list[tuple[int, int]] = field(default_factory=list)
    free: set[int] = field(default_factory=lambda: set(range(BUFFERS)))
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("selected", "recycled", "dry"), 0))

    def __post_init__(self) -> None:
        self.entries = [Entry(address, number) for number, address in enumerate(_ENTRIES)]
        self._ns = 1000
        self._unique = 2

    def ask(self, opcode: int) -> None:
        """``fuse_uring_queue_fuse_req()``."""
        self._unique += 2
        request = self._unique, opcode
        self._tell(events.queued, *request, flags=int(Flag.HAS_PAGES) if _has_pages(opcode) else 0)
        entry = next((entry for entry in self.entries if not entry.unique), None)
        if entry is None or not self._prepare(entry, request):
            self.waiting.append(request)
            return
        self._send(entry, request)

    def answer(self, number: int) -> None:
        """``fuse_uring_commit_fetch()``."""
        busy = [entry for entry in self.entries if entry.unique]
        if not busy:
            return
        entry = busy[number % len(busy)]
        self._tell(events.committed, entry.unique, entry.opcode, payload_size=number, **self._place(entry))
        if entry.zero_copied:
            about = {"unique": entry.unique, "entry": entry.address, "queue": QUEUE, "slot": entry.slot}
            entry.zero_copied = False
            self._tell(events.event, Kind.PAGES_UNREGISTERED, **about, flags=int(Flag.HAS_SLOT))
        self._tell(events.ended, entry.unique, entry.opcode)
        entry.unique, entry.last = 0, entry.unique
        if not self.waiting or not self._next_buffer(entry, self.waiting[0]):
            self._recycle(entry)
            return
        self._send(entry, self.waiting.pop(0))

    def _prepare(self, entry: Entry, request: tuple[int, int]) -> bool:
        return not _has_payload(request[1]) or self._select(entry, request)

    def _next_buffer(self, entry: Entry, request: tuple[int, int]) -> bool:
        if _has_payload(request[1]):
            return entry.buffer is not None or self._select(entry, request)
        self._recycle(entry)
        return True

    def _select(self, entry: Entry, request: tuple[int, int]) -> bool:
        about = {"unique": request[0], "opcode": request[1], "entry": entry.address, "queue": QUEUE, "buffers": BUFFERS}
        if not self.free:
            self.counts["dry"] += 1
            self._tell(events.event, Kind.SELECTED, **about, error=-105, flags=int(Flag.HAS_ERROR))
            return False
        entry.buffer = min(self.free)
        self.free.remove(entry.buffer)
        self.counts["selected"] += 1
        self._tell(events.event, Kind.SELECTED, **about, **self._buffer(entry), buffers_free=len(self.free))
        return True

    def _recycle(self, entry: Entry) -> None:
        if entry.buffer is None:
            return
        self.free.add(entry.buffer)
        about = {"unique": entry.last, "entry": entry.address, "queue": QUEUE, "buffers": BUFFERS}
        about |= self._buffer(entry)
        entry.buffer = None
        self.counts["recycled"] += 1
        self._tell(events.event, Kind.RECYCLED, **about, buffers_free=len(self.free))

    def _send(self, entry: Entry, request: tuple[int, int]) -> None:
        entry.unique, entry.opcode = request
        if entry.opcode in (Opcode.READ, Opcode.WRITE):
            about = {"unique": entry.unique, "entry": entry.address, "queue": QUEUE, "slot": entry.slot}
            entry.zero_copied = True
            self._tell(events.event, Kind.PAGES_REGISTERED, **about, length=4096, flags=int(Flag.HAS_SLOT))
        self._tell(events.delivered, *request, **self._place(entry))

    def _place(self, entry: Entry) -> dict[str, Any]:
        flags = Flag.POOL | Flag.QUEUE_ZERO_COPY
        place: dict[str, Any] = {"entry": entry.address, "queue": QUEUE, "buffer_id": NO_BUFFER}
        if entry.buffer is not None:
            place |= self._buffer(entry)
            flags |= Flag.HAS_BUFFER
        if entry.zero_copied:
            flags |= Flag.ZERO_COPIED | Flag.HAS_SLOT | Flag.FILE_ZERO_COPY
            place["slot"] = entry.slot
        if _has_pages(entry.opcode):
            flags |= Flag.HAS_PAGES
        return place | {"flags": int(flags)}

    def _buffer(self, entry: Entry) -> dict[str, Any]:
        assert entry.buffer is not None
        return {"buffer_id": entry.buffer, "pool_offset": entry.buffer * SIZE, "flags": int(Flag.HAS_BUFFER)}

    def _tell(self, make: Any, *about: Any, **members: Any) -> None:
        self._ns += 1
        first, *rest = about
        self.events.append(make(first, self._ns, *rest, **members))
        self.held.append({each.buffer: each.address for each in self.entries if each.buffer is not None})
        self.slots.append({each.slot: each.unique for each in self.entries if each.zero_copied})


def _has_pages(opcode: int) -> bool:
    return opcode in (Opcode.READ, Opcode.WRITE, Opcode.READDIR)


def _has_payload(opcode: int) -> bool:
    """``fuse_uring_req_has_copyable_payload()``: of a zero-copied WRITE the reply."""
    return opcode in (Opcode.WRITE, Opcode.READDIR, Opcode.GETATTR)


_OPCODES = (Opcode.READ, Opcode.WRITE, Opcode.READDIR, Opcode.GETATTR, Opcode.FLUSH)


@st.composite
def kernels(draw: st.DrawFn) -> Kernel:
    """A queue that has seen some requests."""
    kernel = Kernel()
    for what, number in draw(st.lists(st.tuples(st.sampled_from("qqa"), st.integers(0, 100)), max_size=60)):
        if what == "q":
            kernel.ask(_OPCODES[number % 5])
        else:
            kernel.answer(number)
    return kernel
