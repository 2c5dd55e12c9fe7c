"""The way of one request through kernel and server: its events, and what they tell of the way that it took.

A request is given by the row that :class:`~furtrace.model.requests.Requests` has made of it; its events are gathered
from the records that this was made from.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from furtrace.model.requests import REQUEST, Requests_, begin_of
from furtrace.trace.record import (
    HEADER_SIZE,
    HINTS,
    PAYLOAD_SIZE_OFFSET,
    RECORD,
    Flag,
    Kind,
    Records,
    Step,
    Transport,
    among,
)
from furtrace.wire.dialect import Dialect
from furtrace.wire.errnos import Errno
from furtrace.wire.opcodes import HeaderPart, Opcode, UringCommand

AFTER_NS: Final = 1_000_000_000
"""How long after a request's end events may follow that belong to it: its buffer goes back, its pages are let go."""


class Ending(StrEnum):
    """How far a request came.

    Attributes:
        ANSWERED: the server answered, and the kernel ended it.
        UNQUEUED: no queue took it.
        DROPPED: it waited for an entry, or to be read, as the connection ended.
        CANCELLED: an entry had it, and the server's thread was gone that should have been brought it.
        UNSENT: the kernel failed to bring it to the server.
        ABORTED: the server had it, and the kernel ended it without an answer.
        UNFINISHED: it has not ended.

    """

    ANSWERED = "answered"
    UNQUEUED = "unqueued"
    DROPPED = "dropped"
    CANCELLED = "cancelled"
    UNSENT = "unsent"
    ABORTED = "aborted"
    UNFINISHED = "unfinished"


@dataclass(frozen=True)
class Traits:
    """What decides which steps a request goes through.

    ``device``: it goes by ``/dev/fuse``. ``init``: it is FUSE_INIT. ``buffer``: it had a payload buffer of its queue's
    pool, or buffer ring; ``selected``: which was taken for it, and not left by the request before. ``argument``: its
    operation has a structure of its own; ``sends``, ``answers``: the request, the reply has payload that is copied.
    ``zero_copy``: its pages are put into a slot; ``fixed``: how often the server's I/O used them; ``lingers``: they
    were let go only after they had left it. ``recycled``: its buffer went back to the pool.

    ``dry``: how often no buffer was free as it was queued, ``dry_later``: as the entry asked that got it in the end.
    ``waits``: no entry took it at once; ``fetched``: its entry took it at the commit of another request. ``assigned``:
    an entry took it; ``delivered``: the server has had it. ``refused_slot``: its pages could not be put into the slot.
    ``failed``: it ended with an error. ``header_calls``: the kernel has a function that copies headers (on the plain
    dialect Linux 7.2 has it, 6.18 has not).
    """

    dialect: Dialect = Dialect.PLAIN
    ending: Ending = Ending.ANSWERED
    device: bool = False
    background: bool = False
    buffer: bool = False
    selected: bool = False
    argument: bool = False
    sends: bool = False
    answers: bool = False
    zero_copy: bool = False
    fixed: int = 0
    dry: int = 0
    dry_later: int = 0
    waits: bool = False
    fetched: bool = False
    assigned: bool = True
    delivered: bool = True
    recycled: bool = False
    refused_slot: bool = False
    lingers: bool = False
    failed: bool = False
    header_calls: bool = False
    init: bool = False


@dataclass
class Flow:
    """A request and its events.

    ``row``: of :data:`~furtrace.model.requests.REQUEST`. ``events``: in the order of their times, others' among them
    that it depended on: COMMITTED of the request before on its entry, steps of its entry. ``doubtful``: events were
    lost meanwhile.
    """

    row: np.void
    events: Records
    doubtful: bool = False

    @property
    def unique(self) -> int:
        """The request's number."""
        return int(self.row["unique"])

    @property
    def begin_ns(self) -> int:
        """When the first of its events was, or of those that led to it in the kernel."""
        return int(self.events["ns"].min()) if len(self.events) else begin_of(self.row)

    def is_own(self, event: np.void) -> bool:
        """Whether an event is of this request itself."""
        return bool(event["unique"] == self.row["unique"])

    def own(self, kind: Kind) -> Records:
        """Its events of a kind."""
        mine: Records = self.events[(self.events["kind"] == kind) & (self.events["unique"] == self.row["unique"])]
        return mine

    def prior_commit(self) -> np.void | None:
        """The commit of another request at which its entry took it; None: it was not taken so."""
        kinds = self.events["kind"]
        others = self.events[(kinds == Kind.COMMITTED) & (self.events["unique"] != self.row["unique"])]
        return others[-1] if len(others) else None


class Gathering:
    """Gathers the events of requests out of the records that they are in, batch by batch.

    Args:
        rows: the requests.
    """

    def __init__(self, rows: Requests_) -> None:
        self._rows = rows
        self._begins = [begin_of(row) for row in rows]
        self._parts: list[list[Records]] = [[] for _ in rows]
        self._doubtful = [bool(row["uncertain"]) for row in rows]
        self._last_ns = max((int(row["ended_ns"]) + AFTER_NS for row in rows), default=0)
        self._open = any(not row["ended_ns"] for row in rows)

    def is_past(self, batch: Records) -> bool:
        """Whether nothing more can come: all ended long before this batch."""
        return bool(len(batch)) and not self._open and int(batch["ns"].min()) > self._last_ns

    def feed(self, batch: Records) -> None:
        """Take in a batch."""
        for at, (row, begin) in enumerate(zip(self._rows, self._begins, strict=True)):
            mine = _about(batch, row, begin)
            if mine.any():
                self._parts[at].append(batch[mine].copy())

    def flows(self) -> list[Flow]:
        """What was gathered, in the order of the rows."""
        return [
            _flow(row, parts, doubtful=doubtful)
            for row, parts, doubtful in zip(self._rows, self._parts, self._doubtful, strict=True)
        ]


def _about(batch: Records, row: np.void, begin: int) -> npt.NDArray[np.bool_]:
    """Which events may tell of a request: its own, and of its entry, its server's and its client's thread meanwhile."""
    times, kinds, steps, threads = batch["ns"], batch["kind"], batch["step"], batch["tid"]
    end = int(row["ended_ns"])
    meanwhile = times >= begin - _EARLIER_NS
    if end:
        meanwhile &= times <= end + AFTER_NS
    own = (batch["unique"] == row["unique"]) & ~_IS_NO_STEP[kinds]
    entry = (batch["entry"] == row["entry"]) & (row["entry"] != 0)
    near = entry & ((batch["unique"] == 0) | (kinds == Kind.COMMITTED))
    server = (threads == row["server_tid"]) & (row["server_tid"] != 0)
    near |= server & ((kinds == Kind.ENDED) | ((kinds == Kind.STEP) & (steps == Step.CMD)))
    client = (threads == row["client_tid"]) & (times <= row["queued_ns"])
    near |= client & ((kinds == Kind.QUEUED) | ((kinds == Kind.STEP) & (steps == Step.QUEUE_FUSE_REQ)))
    mine: npt.NDArray[np.bool_] = (own | near) & (batch["connection"] == row["connection"]) & meanwhile
    return mine


_EARLIER_NS: Final = 100_000_000
"""How long before its first event those may be that led to it."""
_IS_NO_STEP: Final = among((*HINTS, Kind.LOST))


def _flow(row: np.void, parts: Sequence[Records], *, doubtful: bool) -> Flow:
    events = np.concatenate([np.empty(0, RECORD), *parts])
    events = events[np.argsort(events["ns"], kind="stable")]
    own = events["unique"] == row["unique"]
    prior = _prior(row, events, own)
    led = [prior, _queueing(row, events, own), *_turns(row, events, fetched=prior is not None)]
    led += [_returned(row, events), _torn_down(row, events)]
    chosen = sorted({*np.flatnonzero(own).tolist(), *(at for at in led if at is not None)})
    return Flow(row, events[chosen], doubtful)


def _last(found: npt.NDArray[np.bool_]) -> int | None:
    at = np.flatnonzero(found)
    return int(at[-1]) if len(at) else None


def _first(found: npt.NDArray[np.bool_]) -> int | None:
    at = np.flatnonzero(found)
    return int(at[0]) if len(at) else None


def _is(events: Records, step: Step) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = (events["kind"] == Kind.STEP) & (events["step"] == step)
    return found


def _prior(row: np.void, events: Records, own: npt.NDArray[np.bool_]) -> int | None:
    """The commit at which the request's entry took it: the entry was not free yet as the request was queued."""
    if (own & _is(events, Step.SEND_IN_TASK)).any():
        return None
    at = _last((events["kind"] == Kind.COMMITTED) & ~own & (events["ns"] <= row["delivered_ns"]))
    if at is None:
        return None
    dry = own & (events["kind"] == Kind.SELECTED) & (events["error"] != 0)
    freed = (events["kind"] == Kind.ENDED) & (events["unique"] == events["unique"][at])
    waited = (freed & (events["ns"] >= row["queued_ns"])).any() or dry.any() or events["ns"][at] >= row["queued_ns"]
    return at if row["queued_ns"] and waited else None


def _queueing(row: np.void, events: Records, own: npt.NDArray[np.bool_]) -> int | None:
    """The call in which the request got its number: of its client's thread, and no other request's."""
    if row["flags"] & Flag.BACKGROUND or not row["queued_ns"] or row["transport"] == Transport.DEV:
        return None
    at = _last(_is(events, Step.QUEUE_FUSE_REQ) & (events["ns"] <= row["queued_ns"]))
    others = (events["kind"] == Kind.QUEUED) & ~own
    if at is None or (others & (events["ns"] >= events["ns"][at])).any():
        return None
    return at


def _turns(row: np.void, events: Records, *, fetched: bool) -> list[int | None]:
    """When its entry looked for a request: as it found this one, and after this one's commit."""
    turns, times = _is(events, Step.GET_NEXT_FUSE_REQ), events["ns"]
    found = None
    if fetched:
        found = _last(turns & (times >= row["queued_ns"]) & (times <= (row["assigned_ns"] or row["delivered_ns"])))
    after = _first(turns & (times >= row["committed_ns"])) if row["committed_ns"] else None
    return [found, after]


def _returned(row: np.void, events: Records) -> int | None:
    """The return of the command that committed the answer."""
    if not row["committed_ns"]:
        return None
    commits = _is(events, Step.CMD) & (events["command_op"] == UringCommand.COMMIT_AND_FETCH)
    return _first(commits & (events["ns"] >= row["committed_ns"]))


def _torn_down(row: np.void, events: Records) -> int | None:
    """The end of the entry that had it."""
    return _last(_is(events, Step.ENTRY_TEARDOWN) & (events["ns"] <= (row["ended_ns"] or _NEVER)))


_NEVER: Final = np.uint64(np.iinfo(np.uint64).max)


def traits_of(flow: Flow, dialect: Dialect) -> Traits:
    """What a request's events tell of the way that it took."""
    row, prior, ending = flow.row, flow.prior_commit(), ending_of(flow.row)
    selected, registered = flow.own(Kind.SELECTED), flow.own(Kind.PAGES_REGISTERED)
    took = bool((selected["error"] == 0).any())
    buffer = took or int(row["buffer_id"]) >= 0
    headers = flow.events[_is(flow.events, Step.COPY_HEADER_TO_RING)]
    at_once, elsewhere, later = (len(found) for found in dry_selections(flow))
    return Traits(
        dialect=dialect,
        ending=ending,
        device=row["transport"] == Transport.DEV,
        init=bool(row["opcode"] == Opcode.INIT),
        background=bool(row["flags"] & Flag.BACKGROUND),
        buffer=buffer,
        selected=took,
        argument=int(row["operation_size"]) > 0 or bool((headers["command_op"] == HeaderPart.OP).any()),
        sends=_copied_in(flow) > 0 and (buffer or not row["pooled"]),
        answers=int(row["reply_size"]) > 0 and not len(registered),
        zero_copy=bool(len(registered)) or int(row["slot"]) >= 0,
        fixed=len(flow.own(Kind.FIXED_IO)),
        lingers=_lingers(flow),
        recycled=bool(len(flow.own(Kind.RECYCLED))),
        dry=at_once,
        dry_later=later,
        waits=bool(at_once + elsewhere + later) or prior is not None,
        fetched=prior is not None,
        assigned=bool(row["entry"]),
        delivered=bool(row["delivered_ns"]) or ending is Ending.ANSWERED,
        refused_slot=bool((registered["error"] != 0).any()),
        failed=bool(row["error"]),
        header_calls=bool(len(headers)),
    )


def dry_selections(flow: Flow) -> tuple[Records, Records, Records]:
    """When no buffer was free: as it was queued, as other entries asked, as its own did."""
    selected, queued, prior = flow.own(Kind.SELECTED), flow.own(Kind.QUEUED), flow.prior_commit()
    dry = selected[selected["error"] != 0]
    turns = flow.events[_is(flow.events, Step.GET_NEXT_FUSE_REQ) & (flow.events["ns"] < flow.row["delivered_ns"])]
    own_turn = turns["ns"][-1] if len(turns) else prior["ns"] if prior is not None else _NEVER
    later = (dry["ns"] >= own_turn) & (dry["tid"] == flow.row["server_tid"])
    at_once = ~later & np.isin(dry["tid"], queued["tid"])
    return dry[at_once], dry[~later & ~at_once], dry[later]


def _lingers(flow: Flow) -> bool:
    released, unregistered = flow.own(Kind.PAGES_RELEASED), flow.own(Kind.PAGES_UNREGISTERED)
    return bool(len(released) and len(unregistered) and released["ns"][-1] > unregistered["ns"][-1])


def _copied_in(flow: Flow) -> int:
    """Bytes of payload that came with the request, as the server was told."""
    delivered = flow.own(Kind.DELIVERED)
    size = told_size(delivered[-1]) if len(delivered) else None
    if size is None:
        return 0
    registered = flow.own(Kind.PAGES_REGISTERED)
    zero_copied = int(registered["length"][-1]) if len(registered) and registered["flags"][-1] & _READABLE else 0
    return size - zero_copied


_READABLE: Final = np.uint16(Flag.PAGES_READABLE)


def told_size(event: np.void) -> int | None:
    """``payload_sz`` in the header of a DELIVERED or COMMITTED, in bytes; None: the header could not be read."""
    if event["header_size"] < HEADER_SIZE:
        return None
    return int.from_bytes(event["header"].tobytes()[PAYLOAD_SIZE_OFFSET : PAYLOAD_SIZE_OFFSET + 4], "little")


def ending_of(row: np.void) -> Ending:
    """How far a request came."""
    if not row["ended_ns"]:
        return Ending.UNFINISHED
    if row["committed_ns"] or (row["transport"] == Transport.DEV and not _given_up(row)):
        return Ending.ANSWERED
    if row["delivered_ns"]:
        return Ending.ABORTED
    if row["error"] == -Errno.ECANCELED:
        return Ending.CANCELLED
    if row["entry"]:
        return Ending.UNSENT
    return _WITHOUT_ENTRY.get(int(row["error"]), Ending.UNSENT)


def _given_up(row: np.void) -> bool:
    """Whether the kernel ended a request of /dev/fuse by itself, as its error tells."""
    return int(row["error"]) in (_ABORTED, _NOT_CONNECTED) and int(row["reply_size"]) < 0


_ABORTED, _NOT_CONNECTED = -Errno.ECONNABORTED, -Errno.ENOTCONN
# fuse_uring_queue_fuse_req(), fuse_dev_end_requests() of Linux 6.18 and 7.3
_WITHOUT_ENTRY: Final = {
    _ABORTED: Ending.DROPPED,
    _NOT_CONNECTED: Ending.UNQUEUED,
    -Errno.EINVAL: Ending.UNQUEUED,
}
"""What an error means of a request that no entry was seen to have. One that an entry did have, which tracepoints do not
tell before it is delivered, has others.
"""


def together(rows: Iterable[np.void]) -> Requests_:
    """Rows as one array."""
    return np.array(list(rows), REQUEST)
