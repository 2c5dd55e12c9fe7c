"""Recordings, written: pcapng, one Enhanced Packet Block a record, plain or within zstd.

After each piece a block with its checksum follows, so that a reader can tell damage from data. What is written is
whole at any time but for its end: a recording that was cut off has lost its tail and nothing else.
"""

import os
from collections.abc import Iterable
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import xxhash
import zstandard

from furtrace.trace import pcapng
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import (
    ARGUMENT_OFFSET,
    ARGUMENT_SIZE,
    HEADER_SIZE,
    PART_SIZE,
    RECORD,
    Kind,
    Records,
    is_event,
    mounted_record,
)
from furtrace.wire.opcodes import Opcode

PIECE: Final = 1536
"""Records that are written at once: a MiB."""
_LEVEL: Final = 1  # the others cost more than the disk gains
_BLOCK: Final = 1 << 20
"""Bytes before compression that are held back at most: so many are lost if the recorder is killed."""


class Target(Protocol):
    """Where the bytes of a recording go."""

    @property
    def written(self) -> int:
        """Bytes that are in the file."""

    def write(self, pieces: Iterable["bytes | memoryview"]) -> None:
        """Write bytes, all of them.

        Raises:
            OSError: they can't be written; what was written before is whole.
        """

    def flush(self) -> None:
        """Write what is held back."""

    def close(self) -> None:
        """Write what is held back, and close the file."""


class PlainTarget:
    """A file, or whatever else a descriptor stands for; the descriptor is this object's."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.written = 0

    def write(self, pieces: Iterable["bytes | memoryview"]) -> None:
        """Write bytes, all of them; of what does not fit nothing stays where the file can be cut."""
        left = [memoryview(piece) for piece in pieces]
        done = 0
        try:
            while left:
                count = os.writev(self._descriptor, left)
                done += count
                while left and count >= len(left[0]):
                    count -= len(left.pop(0))
                if left:
                    left[0] = left[0][count:]
        except OSError:
            self._take_back(done)
            raise
        self.written += done

    def _take_back(self, count: int) -> None:
        try:
            if count:
                os.ftruncate(self._descriptor, self.written)
                os.lseek(self._descriptor, self.written, os.SEEK_SET)
        except OSError:
            self.written += count  # a pipe keeps what it has got

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)


class CompressedTarget:
    """One frame of zstd, in pieces that can be read before it has ended."""

    def __init__(self, descriptor: int) -> None:
        self._file = PlainTarget(descriptor)
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL).compressobj()
        self._held: list[bytes] = []
        self._size = 0
        self._broken = False

    @property
    def written(self) -> int:
        """Bytes that are in the file."""
        return self._file.written

    def write(self, pieces: Iterable["bytes | memoryview"]) -> None:
        """Hold bytes until there are enough, then write them."""
        for piece in pieces:
            self._held.append(bytes(piece))
            self._size += len(piece)
        if self._size >= _BLOCK:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            data, self._held, self._size = b"".join(self._held), [], 0
            compressed = self._compressor.compress(data)
            self._write(compressed + self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))

    def _write(self, data: bytes) -> None:
        """After a piece that could not be written nothing can follow: it would build on that."""
        if self._broken:
            return
        self._broken = True
        self._file.write([data])
        self._broken = False

    def close(self) -> None:
        """Write what is held, end the frame, and close the file."""
        try:
            self.flush()
            self._write(self._compressor.flush())
        finally:
            self._file.close()


class RecordingWriter:
    """Writes one recording.

    Args:
        target: where it goes; it is closed by :meth:`close`.
        info: what is true of the whole trace.

    Raises:
        OSError: by all methods, if it can't be written; what was written before is whole.
    """

    def __init__(self, target: Target, info: TraceInfo) -> None:
        self._target = target
        self._offset = info.realtime_offset_ns
        self._blocks = _empty_blocks()
        self._bytes = self._blocks.view(np.uint8)
        self._tails = self._bytes.reshape(PIECE, -1)[:, _TAIL_BEGIN:_TAIL_END]
        self._mounts: dict[int, str] = {}
        self._began = self._ended = 0
        self.events = 0
        """Events that were written."""
        self._records = 0
        self._write([pcapng.section(_section_options(info)), pcapng.interface(_interface_options(info))])

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
        count = len(batch)
        blocks = self._blocks[:count]
        blocks["record"].view(_WHOLE)[:] = batch.view(_WHOLE)
        _clear_tails(batch, self._tails)
        times = batch["ns"] + np.uint64(self._offset)
        blocks["ts_high"], blocks["ts_low"] = times >> np.uint64(32), times & np.uint64(0xFFFFFFFF)
        self._began, self._ended = self._began or int(times[0]), int(times[-1])
        self._write([self._bytes[: count * pcapng.PACKET_BLOCK.itemsize].data])
        self._records += count
        self.events += int(is_event(batch).sum())

    def _write(self, pieces: list["bytes | memoryview"]) -> None:
        sum_of_all = xxhash.xxh3_64()
        for piece in pieces:
            sum_of_all.update(piece)
        self._target.write([*pieces, pcapng.checksum(sum_of_all.intdigest())])

    def flush(self) -> None:
        """Let a reader have all that was written so far."""
        self._target.flush()

    def close(self, lost: int) -> None:
        """Write how many events there are and how many were lost, and close the file."""
        told = [(pcapng.RECEIVED, self._records + lost), (pcapng.DROPPED, lost)]
        times = [(pcapng.STARTED, self._began), (pcapng.ENDED, self._ended)] if self._began else []
        options = [(code, pcapng.timestamp(ns)) for code, ns in times]
        options += [(code, number.to_bytes(8, "little")) for code, number in told]
        try:
            self._write([pcapng.statistics(0, self._ended, options)])
        finally:
            self._target.close()


_ASKING: Final = (Opcode.RENAME, Opcode.RENAME2, Opcode.LINK)
_WHOLE: Final = np.dtype(f"V{RECORD.itemsize}")
_TAIL_END: Final = pcapng.PACKET_HEAD.itemsize + RECORD.itemsize
_TAIL_BEGIN: Final = _TAIL_END - PART_SIZE
"""Where ``header`` and ``extra`` are in a block."""


def _empty_blocks() -> Records:
    """Blocks for a piece, with all in them that is the same in each."""
    blocks = np.zeros(PIECE, pcapng.PACKET_BLOCK)
    blocks["type"] = pcapng.PACKET
    blocks["size"] = blocks["size_again"] = pcapng.PACKET_BLOCK.itemsize
    blocks["captured"] = blocks["original"] = RECORD.itemsize
    return blocks


def _clear_tails(records: Records, tails: "npt.NDArray[np.uint8]") -> None:
    """Clear ``header`` and ``extra`` past what is valid of them: there is whatever the ring buffer held before.

    Records of one kind and operation are alike, so there are few pairs of sizes. ENTRIES and the like have one array in
    both, of which header_size tells the size.
    """
    sizes, more = records["header_size"].astype(np.uint32), records["extra_size"].astype(np.uint32)
    # What they asked for stands behind the reply's header, which is all that header_size tells of.
    asked = np.isin(records["kind"], (Kind.ENDED, Kind.NAMED)) & np.isin(records["opcode"], _ASKING)
    sizes[asked] = np.maximum(sizes[asked], ARGUMENT_OFFSET + ARGUMENT_SIZE)
    more = np.maximum(more, np.maximum(sizes, HEADER_SIZE) - HEADER_SIZE)
    pairs = sizes | more << np.uint32(16)
    for pair in np.unique(pairs).tolist():
        mine = np.flatnonzero(pairs == pair)
        tails[mine, pair & 0xFFFF : HEADER_SIZE] = 0
        tails[mine, HEADER_SIZE + (pair >> 16) :] = 0


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
