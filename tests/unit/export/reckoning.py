"""Requests reckoned from events one by one, in plain Python: what tables and traces are held against.

Nothing of the model is used. Only what a recording without losses needs is here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import furtrace.demo
from furtrace.trace.merging import Recordings
from furtrace.trace.record import RECORD, Flag, Kind, Records

SHIPPED = Path(furtrace.demo.__file__).parent / "recordings"
"""Recordings of real kernels."""
NAMES = ("plain", "pool", "zero-copy")

_READ, _WRITE, _READDIR, _READDIRPLUS, _READLINK = 15, 16, 28, 44, 5
_WRITTEN_BYTES = {_WRITE: 4, 47: 4, 53: 8}
"""Operations whose reply begins with how much was written, in so many bytes."""
_TOLD_BY = {
    Kind.QUEUED: "queued",
    Kind.DELIVERED: "delivered",
    Kind.COMMITTED: "committed",
    Kind.ENDED: "ended",
}


@dataclass
class Request:
    """What the events of one request tell; times are 0 where there was none."""

    opcode: int = 0
    times: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_TOLD_BY.values(), 0))
    error: int = 0
    zero_copied: bool = False
    replied: int | None = None
    written: int | None = None

    def lasted(self, begin: str, end: str) -> int | None:
        """Nanoseconds from one event to another; None if one is missing."""
        return self.times[end] - self.times[begin] if self.times[begin] and self.times[end] else None

    @property
    def moved(self) -> int | None:
        """Bytes that its data has."""
        if self.opcode in _WRITTEN_BYTES:
            return self.written
        brings = self.opcode in (_READ, _READDIR, _READDIRPLUS, _READLINK)
        return self.replied if brings and self.times["ended"] and not self.error else None


def recorded(path: Path) -> Records:
    """All records of a recording."""
    with Recordings([str(path)]) as recordings:
        return np.concatenate([np.empty(0, RECORD), *(batch.copy() for batch in recordings.batches())])


def reckoned(records: Iterable[np.void]) -> dict[tuple[int, int], Request]:
    """The requests, by connection and unique."""
    requests: dict[tuple[int, int], Request] = {}
    for record in records:
        kind = Kind(record["kind"])
        if kind not in _TOLD_BY or not record["unique"]:
            continue
        request = requests.setdefault((int(record["connection"]), int(record["unique"])), Request())
        request.times[_TOLD_BY[kind]] = int(record["ns"])
        request.opcode = int(record["opcode"]) or request.opcode
        if kind in (Kind.DELIVERED, Kind.COMMITTED):
            request.zero_copied |= bool(record["flags"] & Flag.ZERO_COPIED)
        header = record["header"].tobytes()
        if kind is Kind.COMMITTED and record["flags"] & Flag.HEADER_FROM_SERVER:
            request.replied = int.from_bytes(header[272:276], "little")
        if kind is Kind.ENDED:
            request.error = int(record["error"])
            if not request.error and record["header_size"] > 128:
                size = _WRITTEN_BYTES.get(request.opcode, 0)
                request.written = int.from_bytes(header[128 : 128 + size], "little")
    return requests
