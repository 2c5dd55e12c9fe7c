"""Recordings, written: pcapng, one Enhanced Packet Block a record, plain or within zstd.

After each piece a block with its checksum follows, so that a reader can tell damage from data. What is written is
whole at any time but for its end: a recording that was cut off has lost its tail and nothing else.
"""

import contextlib
import os
from collections.abc import Iterable

import xxhash

from furtrace.trace import pcapng
from furtrace.trace.info import TraceInfo
from furtrace.trace.packets import PIECE, Packets
from furtrace.trace.record import Records, is_event, mounted_record
from furtrace.trace.targets import Quietly, Target


class RecordingWriter:
    """Writes one recording.

    Args:
        target: where it goes; it is closed by :meth:`close`.
        info: what is true of the whole trace.
        quietly: where to prepare what is then written.

    Raises:
        OSError: by all methods, if it can't be written; what was written before is whole.
    """

    def __init__(self, target: Target, info: TraceInfo, quietly: Quietly = contextlib.nullcontext) -> None:
        self._target, self._quietly = target, quietly
        self._packets = Packets(info.realtime_offset_ns)
        self._mounts: dict[int, str] = {}
        self.events = 0
        """Events that were written."""
        self._records = 0
        target.write(_summed([pcapng.section(_section_options(info)), pcapng.interface(_interface_options(info))]))

    @property
    def written(self) -> int:
        """Bytes that are in the file."""
        return self._target.written

    def note_mounts(self, mounts: dict[int, str], ns: int) -> None:
        """Write where connections are mounted, as far as that is not in the file yet."""
        for connection, path in mounts.items():
            if self._mounts.get(connection) != path:
                self.write(mounted_record(ns, connection, os.fsencode(path)))
                self._mounts[connection] = path

    def write(self, batch: Records) -> None:
        """Write records, in their order."""
        for start in range(0, len(batch), PIECE):
            self._write_piece(batch[start : start + PIECE])

    def _write_piece(self, batch: Records) -> None:
        with self._quietly():
            blocks = self._packets.of(batch)
            pieces, events = _summed([blocks]), int(is_event(batch).sum())
        self._target.write(pieces)
        self._records += len(batch)
        self.events += events

    def flush(self) -> None:
        """Let a reader have all that was written so far."""
        self._target.flush()

    def close(self, lost: int) -> None:
        """Write how many events there are and how many were lost, and close the file."""
        began, ended = self._packets.began, self._packets.ended
        told = [(pcapng.RECEIVED, self._records + lost), (pcapng.DROPPED, lost)]
        times = [(pcapng.STARTED, began), (pcapng.ENDED, ended)] if began else []
        options = [(code, pcapng.timestamp(ns)) for code, ns in times]
        options += [(code, number.to_bytes(8, "little")) for code, number in told]
        try:
            self._target.write(_summed([pcapng.statistics(0, ended, options)]))
        finally:
            self._target.close()


def _summed(pieces: list["bytes | memoryview"]) -> list["bytes | memoryview"]:
    """The pieces, and after them the block with their checksum."""
    sum_of_all = xxhash.xxh3_64()
    for piece in pieces:
        sum_of_all.update(piece)
    return [*pieces, pcapng.checksum(sum_of_all.intdigest())]


def _section_options(info: TraceInfo) -> Iterable[tuple[int, bytes]]:
    yield pcapng.HARDWARE, _text(f"{info.machine}, {info.cpus} CPUs")
    yield pcapng.OS, _text(f"Linux {info.kernel}")
    yield pcapng.APPLICATION, _text(f"furtrace {info.version}")
    yield pcapng.COMMENT, _text(f"{info.command_line} on {info.host}")


def _interface_options(info: TraceInfo) -> Iterable[tuple[int, bytes]]:
    yield pcapng.NAME, b"fuse"
    yield pcapng.DESCRIPTION, _text(f"FUSE, {info.dialect} dialect, by {info.vantage}, --steps {info.steps}")
    yield pcapng.RESOLUTION, pcapng.NANOSECONDS
    yield pcapng.INTERFACE_OS, _text(f"Linux {info.kernel}")
    if info.filters:
        yield pcapng.FILTER, b"\0" + _text(info.filters)
    yield pcapng.COMMENT, _text(info.to_json())


def _text(text: str) -> bytes:
    return text.encode(errors="backslashreplace")[:0xFFFF]
