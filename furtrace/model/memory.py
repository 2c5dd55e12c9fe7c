"""The memory that a server shares with the kernel for its queues: header slots of entries, and payload buffers.

Where it lies is told by REGISTER and ADD_BUFPOOL, by DELIVERED, which alone of these says which entry it is, and by the
state in which a trace found the kernel as it began.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from furtrace.model.pools import Place, Pool
from furtrace.model.requests import Requests, Requests_
from furtrace.model.snapshot import Snapshot
from furtrace.trace.record import NO_QUEUE, Kind, Records, among
from furtrace.wire.commands import CmdReqAddBufpool, parse_cmd_req
from furtrace.wire.dialect import Dialect
from furtrace.wire.errors import DecodeError


@dataclass(frozen=True)
class HeaderSlot:
    """The header of an entry in the server's memory.

    ``address``: where. ``entry``: the entry's number within its queue, in the order of first use; None: none was seen
    with a request. ``payload``: the address of its own payload buffer; 0: its queue has a pool, or that is not known.
    ``holder``: the request that the entry has, a row of :data:`~furtrace.model.requests.REQUEST`; None: none.
    """

    address: int
    entry: int | None = None
    payload: int = 0
    holder: np.void | None = None


@dataclass(frozen=True)
class QueueMemory:
    """The memory of a queue.

    ``slots``: by address. ``pool``: its buffer pool; None: it has none, as far as is known. ``pool_address``,
    ``pool_size``: in bytes; 0: not known.
    """

    place: Place
    slots: list[HeaderSlot]
    pool: Pool | None = None
    pool_address: int = 0
    pool_size: int = 0

    @property
    def busy(self) -> int:
        """How many entries have a request."""
        return sum(slot.holder is not None for slot in self.slots)


@dataclass
class _Known:
    """What is known of a queue: by address of a header, the entry (0: not known) and the payload's address."""

    headers: dict[int, tuple[int, int]] = field(default_factory=dict)
    pool: tuple[int, int] = (0, 0)


_IS_SETUP: Final = among((Kind.INIT, Kind.REGISTER, Kind.ADD_BUFPOOL))


class Memory:
    """Learns where queues have their memory; :meth:`feed` moves it on."""

    def __init__(self) -> None:
        self._known: dict[Place, _Known] = {}

    def add_found(self, snapshot: Snapshot) -> None:
        """Take in where a connection's queues have their memory as the trace begins, before any event is."""
        for number, queue in snapshot.queues.items():
            known = self._known.setdefault((snapshot.number, number), _Known())
            pool = queue.pool
            if pool is not None:
                known.pool = pool.base, pool.buffers * pool.buffer_size
            for entry in queue.entries:
                known.headers[entry.headers] = entry.address, 0 if pool is not None else entry.payload

    def feed(self, batch: Records) -> None:
        """Take in a batch."""
        kinds = np.ascontiguousarray(batch["kind"])
        for event in batch[_IS_SETUP[kinds]]:
            self._set_up(event)
        at = np.flatnonzero(kinds == Kind.DELIVERED)
        _, last = np.unique(batch["entry"][at][::-1], return_index=True)
        for event in batch[at[::-1][last]]:
            if event["headers"] and event["queue"] != NO_QUEUE:
                known = self._of(event).headers
                _, payload = known.get(int(event["headers"]), (0, 0))
                known[int(event["headers"])] = int(event["entry"]), payload

    def _of(self, event: np.void) -> _Known:
        return self._known.setdefault((int(event["connection"]), int(event["queue"])), _Known())

    def _set_up(self, event: np.void) -> None:
        kind = event["kind"]
        if kind == Kind.INIT:  # the number of a connection that begins anew
            for place in [place for place in self._known if place[0] == event["connection"]]:
                del self._known[place]
        elif kind == Kind.REGISTER and event["headers"]:
            self._of(event).headers.setdefault(int(event["headers"]), (0, int(event["payload"])))
        elif kind == Kind.ADD_BUFPOOL:
            area = event["extra"].tobytes()[: int(event["extra_size"])]
            try:
                command = parse_cmd_req(area, Dialect.BUFPOOL, int(event["command_op"]))
            except DecodeError:
                return
            if isinstance(command, CmdReqAddBufpool):
                self._of(event).pool = command.bufpool.uaddr, command.bufpool.len

    def queues(self, requests: Requests, pools: list[Pool]) -> list[QueueMemory]:
        """What is known of each queue, and who holds what.

        Args:
            requests: of the same events.
            pools: likewise.
        """
        by_place = {(pool.connection, pool.queue): pool for pool in pools if pool.pooled}
        holders = _holders(requests.under_way)
        return [
            QueueMemory(place, _slots(place, known, requests, holders), by_place.get(place), *known.pool)
            for place, known in sorted(self._known.items())
        ]


def _holders(under_way: Requests_) -> dict[int, np.void]:
    """Requests that an entry has, by its address."""
    return {int(row["entry"]): row for row in under_way if row["entry"]}


def _slots(place: Place, known: _Known, requests: Requests, holders: dict[int, np.void]) -> list[HeaderSlot]:
    return [
        HeaderSlot(address, requests.entry_index(*place, entry) if entry else None, payload, holders.get(entry))
        for address, (entry, payload) in sorted(known.headers.items())
    ]
