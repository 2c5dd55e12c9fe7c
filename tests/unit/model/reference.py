"""Requests put together the slow and plain way: one event at a time, a dict a request. What the model is held to."""

import struct
from typing import Any

import numpy as np

from furtrace.model.requests import REQUEST
from furtrace.trace.record import NO_BUFFER, NO_QUEUE, Flag, Kind, Records, Step, Transport
from furtrace.wire.opcodes import Opcode

Row = dict[str, Any]
_UNKNOWN = {"queue": NO_QUEUE, "expected_queue": NO_QUEUE, "entry_index": -1, "reply_size": -1, "moved": -1}
_UNKNOWN |= {"buffer_id": -1, "slot": -1, "page_bytes": -1, "fixed_bytes": -1}
_IN_SLOT = Flag.ZERO_COPIED | Flag.HAS_SLOT
_ZERO_COPY = _IN_SLOT | Flag.QUEUE_ZERO_COPY | Flag.FILE_ZERO_COPY | Flag.HAS_PAGES
_GIVEN_UP = (-4, -103, -107)
_READS = (Opcode.READ, Opcode.READDIR, Opcode.READDIRPLUS, Opcode.READLINK)
_WRITES = (Opcode.WRITE, Opcode.COPY_FILE_RANGE)
_NO_REPLY = (Opcode.FORGET, Opcode.INTERRUPT, Opcode.BATCH_FORGET)


def row_of(request: np.void) -> Row:
    """A row of the model."""
    return dict(zip(REQUEST.names or (), request.tolist(), strict=True))


def _new() -> Row:
    return row_of(np.zeros(1, REQUEST)[0]) | _UNKNOWN


class Reference:
    """One event after another."""

    def __init__(self) -> None:
        self.under_way: dict[tuple[int, int], Row] = {}
        self._entries: dict[tuple[int, int], list[int]] = {}
        self._free: dict[tuple[int, int], int] = {}

    def feed(self, batch: Records) -> list[Row]:
        """Return the requests that ended."""
        finished = []
        for record in batch:
            event = dict(zip(batch.dtype.names or (), record.tolist(), strict=True))
            row = self._take(event)
            if row is not None:
                finished.append(row)
        return finished

    def _take(self, event: Row) -> Row | None:
        if event["kind"] == Kind.INIT:
            self._begin(event["connection"])
            return None
        step = {
            Kind.QUEUED: self._queued,
            Kind.DELIVERED: self._delivered,
            Kind.COMMITTED: self._committed,
            Kind.ENDED: self._ended,
            Kind.SELECTED: self._selected,
            Kind.PAGES_REGISTERED: self._registered,
            Kind.PAGES_UNREGISTERED: self._unregistered,
            Kind.FIXED_IO: self._fixed,
            Kind.STEP: self._assigned if event["step"] == Step.ADD_REQ_TO_RING_ENT else None,
        }.get(event["kind"])
        if step is None or not event["unique"]:
            return None
        key = event["connection"], event["unique"]
        if event["kind"] == Kind.FIXED_IO and key not in self.under_way:
            return None
        row = self.under_way.setdefault(key, _new())
        row["unique"], row["connection"] = event["unique"], event["connection"]
        if event["opcode"]:
            row["opcode"], row["node_id"] = event["opcode"], event["node_id"]
        step(row, event)
        return self.under_way.pop(key) if row["ended_ns"] else None

    def _begin(self, connection: int) -> None:
        for key, row in list(self.under_way.items()):
            if key[0] == connection and row["opcode"] != Opcode.INIT:
                del self.under_way[key]
        self._entries = {place: known for place, known in self._entries.items() if place[0] != connection}
        self._free = {entry: ns for entry, ns in self._free.items() if entry[0] != connection}

    def _queued(self, row: Row, event: Row) -> None:
        client = bool(event["flags"] & Flag.CURRENT_IS_CLIENT)
        row["queued_ns"], row["expected_queue"] = event["ns"], event["cpu"]
        row["flags"] |= event["flags"]
        row["client_tid"] = event["tid"] if client else event["client_tid"]
        row["client_pid"] = event["pid"] if client else 0
        if client:
            row["client_comm"] = event["comm"]
        if event["extra_size"]:
            row["name"], row["name_size"], row["second"] = event["extra"], event["extra_size"], event["second"]
        if event["header_size"] > 128:
            row["operation"], row["operation_size"] = event["header"][128:256], event["header_size"] - 128

    def _place(self, row: Row, event: Row) -> None:
        if not event["entry"]:
            return
        for column in ("entry", "payload", "queue", "commit_id", "pool_offset"):
            row[column] = event[column]
        if event["flags"] & Flag.HAS_BUFFER:
            row["buffer_id"] = event["buffer_id"]
        row["pooled"] = row["pooled"] or bool(event["flags"] & (Flag.HAS_BUFFER | Flag.POOL))
        row["pooled"] = row["pooled"] or event["buffer_id"] == NO_BUFFER
        if event["flags"] & _IN_SLOT == _IN_SLOT:
            row["slot"] = event["slot"]
        self._number(row, event)

    def _number(self, row: Row, event: Row) -> None:
        known = self._entries.setdefault((event["connection"], event["queue"]), [])
        if event["entry"] not in known:
            known.append(event["entry"])
        if row["entry_index"] < 0:
            row["entry_index"] = known.index(event["entry"])

    def _entry(self, row: Row, event: Row) -> None:
        row["entry"], row["queue"] = event["entry"], event["queue"]
        self._number(row, event)

    def _selected(self, row: Row, event: Row) -> None:
        row["pooled"], row["flags"] = True, row["flags"] | Flag.POOL
        if event["error"]:
            row["buffer_waits"] += 1
            row["dry_ns"] = row["dry_ns"] or event["ns"]
            return
        row["selected_ns"] = event["ns"]
        for column in ("buffer_id", "pool_offset", "payload"):
            row[column] = event[column]
        self._entry(row, event)

    def _assigned(self, row: Row, event: Row) -> None:
        row["assigned_ns"] = event["ns"]
        self._entry(row, event)

    def _registered(self, row: Row, event: Row) -> None:
        self._entry(row, event)
        if not event["error"]:
            row["registered_ns"], row["slot"], row["flags"] = event["ns"], event["slot"], row["flags"] | _ZERO_COPY
            row["page_bytes"], row["segments"] = event["length"], event["segments"]

    def _unregistered(self, row: Row, event: Row) -> None:
        row["unregistered_ns"] = row["unregistered_ns"] if event["error"] else event["ns"]

    def _fixed(self, row: Row, event: Row) -> None:
        row["fixed_bytes"] = max(row["fixed_bytes"], 0) + (0 if event["error"] else event["length"])
        row["fixed_ios"] += 1

    def _server(self, row: Row, event: Row) -> None:
        row["server_pid"], row["server_tid"], row["server_comm"] = event["pid"], event["tid"], event["comm"]

    def _delivered(self, row: Row, event: Row) -> None:
        row["delivered_ns"], row["transport"] = event["ns"], event["transport"]
        row["flags"] |= event["flags"] & ~Flag.CURRENT_IS_CLIENT
        self._server(row, event)
        self._place(row, event)
        row["client_tid"] = row["client_tid"] or event["client_tid"]
        if not row["queued_ns"] and event["flags"] & Flag.HEADER_FROM_SERVER:
            row["operation"], row["operation_size"] = event["header"][128:256], 128
        if event["opcode"] in _NO_REPLY:
            row["ended_ns"] = event["ns"]
            row["operation"], row["operation_size"] = event["header"][128:256], max(0, event["header_size"] - 128)

    def _committed(self, row: Row, event: Row) -> None:
        row["committed_ns"], row["transport"] = event["ns"], event["transport"]
        row["flags"] |= event["flags"] & (_ZERO_COPY | Flag.POOL)
        self._server(row, event)
        self._place(row, event)
        if event["flags"] & Flag.HEADER_FROM_SERVER:
            (row["reply_size"],) = struct.unpack_from("<I", event["header"], 272)

    def _ended(self, row: Row, event: Row) -> None:
        row["ended_ns"], row["error"], row["transport"] = event["ns"], event["error"], event["transport"]
        if event["queue"] != NO_QUEUE:
            row["queue"] = event["queue"]
        row["client_tid"] = row["client_tid"] or event["client_tid"]
        if event["transport"] == Transport.DEV and event["error"] not in _GIVEN_UP:
            self._server(row, event)
            if not event["error"] and event["length"] >= 16:
                row["reply_size"] = event["length"] - 16
        self._answered(row, event)
        if row["entry"]:
            place = row["connection"], row["entry"]
            free, certain = self._free.get(place, 0), not row["flags"] & Flag.BACKGROUND and not row["pooled"]
            assigned = max(free, row["queued_ns"])
            if free and row["queued_ns"] and not row["assigned_ns"] and certain and assigned <= row["delivered_ns"]:
                row["assigned_ns"] = assigned
            self._free[place] = event["ns"]

    def _answered(self, row: Row, event: Row) -> None:
        if event["header_size"] > 128:
            size = min(event["header_size"] - 128, 16)
            row["answer"], row["answer_size"] = event["header"][128:144], size
        if not event["error"]:
            if event["opcode"] in _READS:
                row["moved"] = row["reply_size"]
            if event["opcode"] in _WRITES and event["header_size"] >= 132:
                (row["moved"],) = struct.unpack_from("<I", event["header"], 128)
            if event["opcode"] == Opcode.COPY_FILE_RANGE_64 and event["header_size"] >= 136:
                (row["moved"],) = struct.unpack_from("<q", event["header"], 128)
