"""Recordings, written: pcapng, one Enhanced Packet Block a record, plain or within zstd.

After each piece a block with its checksum follows, so that a reader can tell damage from data. What is written is
whole at any time but for its end: a recording that was cut off has lost its tail and nothing else.
"""

import os
from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt
import xxhash

from furtrace.trace import pcapng
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import (
    ARGUMENT_OFFSET,
    ARGUMENT_SIZE,
    EXTRA_SIZE,
    HEADER_SIZE,
    PART_SIZE,
    RECORD,
    Kind,
    Records,
    among,
    is_event,
    mounted_record,
)
from furtrace.trace.targets import Target
from furtrace.wire.opcodes import Opcode

PIECE: Final = 1536
"""Records that are written at once: a MiB."""


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
        self._tail_words = self._blocks.view(np.uint32).reshape(PIECE, -1)[:, _TAIL_BEGIN // 4 : _TAIL_END // 4]
        self._tails = _Tails()
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
        self._tails.clear(batch, self._tail_words[:count])
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


_IS_END: Final = among((Kind.ENDED, Kind.NAMED))
_IS_ASKING: Final = among((Opcode.RENAME, Opcode.RENAME2, Opcode.LINK))
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


class _Tails:
    """Clears ``header`` and ``extra`` past what is valid of them: there is whatever the ring buffer held before.

    By masks, one for each pair of sizes; there are few, for records of one kind and operation are alike.
    """

    def __init__(self) -> None:
        self._numbers = np.full((HEADER_SIZE + 1) * (EXTRA_SIZE + 1), -1, np.int32)
        self._masks: npt.NDArray[np.uint32] = np.empty((0, PART_SIZE // 4), np.uint32)
        self._chosen: npt.NDArray[np.uint32] = np.empty((PIECE, PART_SIZE // 4), np.uint32)

    def clear(self, records: Records, tails: npt.NDArray[np.uint32]) -> None:
        """Clear ``tails``, which are those of the records, a row a record."""
        pairs = _valid_sizes(records)
        numbers = self._numbers[pairs]
        if numbers.min(initial=0) < 0:
            self._add(np.unique(pairs[numbers < 0]).tolist())
            numbers = self._numbers[pairs]
        chosen = self._chosen[: len(records)]
        np.take(self._masks, numbers, axis=0, out=chosen)
        np.bitwise_and(tails, chosen, out=tails)

    def _add(self, pairs: list[int]) -> None:
        for pair in pairs:
            header, extra = divmod(pair, EXTRA_SIZE + 1)
            mask = np.zeros((1, PART_SIZE), np.uint8)
            mask[:, :header] = mask[:, HEADER_SIZE : HEADER_SIZE + extra] = 0xFF
            self._numbers[pair] = len(self._masks)
            self._masks = np.concatenate([self._masks, mask.view(np.uint32)])


def _valid_sizes(records: Records) -> npt.NDArray[np.intp]:
    """A number for each record that stands for the valid bytes of ``header`` and of ``extra``.

    ENTRIES and the like have one array in both, of which header_size tells the size.
    """
    sizes, extras = records["header_size"].astype(np.intp), records["extra_size"].astype(np.intp)
    # What they asked for stands behind the reply's header, which is all that header_size tells of.
    asked = _IS_END[records["kind"]] & _IS_ASKING[np.minimum(records["opcode"], 0xFF)]
    np.maximum(sizes, asked * (ARGUMENT_OFFSET + ARGUMENT_SIZE), out=sizes)
    extras = np.clip(np.maximum(extras, sizes - HEADER_SIZE), 0, EXTRA_SIZE)
    pairs: npt.NDArray[np.intp] = np.minimum(sizes, HEADER_SIZE) * (EXTRA_SIZE + 1) + extras
    return pairs


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
