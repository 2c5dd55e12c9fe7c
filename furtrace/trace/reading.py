"""Recordings, read: batches of records out of pcapng, as far as it is whole.

What others wrote out of a recording (editcap, mergecap, Wireshark) is read as well.
"""

import io
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, Final, Self

import numpy as np
import zstandard

from furtrace.trace import pcapng
from furtrace.trace.blocks import Block, BlockReader, Readable, Run
from furtrace.trace.errors import RecordingError
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import EXTRA_SIZE, PART_SIZE, RECORD, Kind, Records, no_records, part
from furtrace.wire.dialect import Dialect
from furtrace.wire.text import printable

STDIN: Final = "-"
FOREIGN_CONNECTIONS: Final = 1_000_000
"""What is added to the connections of a second boot, so that they are no others'; twice that of a third, and so on."""

_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_STEP: Final = 2 << 10
"""Bytes that are decompressed at a time: what so many hold is lost before damage, and can be 30 000 times as much."""
_SMALL: Final = 4096
"""Records of a run below which several are put together: what follows works on batches."""


@dataclass(frozen=True)
class Origin:
    """A boot that records are of.

    ``info``: of its first recording; ``connections``, ``ns``: what was added to the numbers of its connections and to
    its times.
    """

    info: TraceInfo
    connections: int = 0
    ns: int = 0


class Boots:
    """The boots that recordings are of which are read together: the first one's clock and connections are kept."""

    def __init__(self) -> None:
        self._known: dict[str, Origin] = {}

    @property
    def origins(self) -> list[Origin]:
        """The boots, in the order of their connections: those of the second are :data:`FOREIGN_CONNECTIONS` and up."""
        return list(self._known.values())

    def of(self, info: TraceInfo) -> Origin:
        """The boot of a recording."""
        if info.boot not in self._known:
            first = next(iter(self._known.values()), None)
            ns = info.realtime_offset_ns - first.info.realtime_offset_ns if first else 0
            self._known[info.boot] = Origin(info, len(self._known) * FOREIGN_CONNECTIONS, ns)
        return self._known[info.boot]


@dataclass
class Noted:
    """What reading has come across. ``foreign``: packets that are no records, or of a kind that is not known here;
    ``short``: records that someone has cut; ``dropped``: events that the recorder lost, by its own count at the end.
    """  # noqa: D205 - one paragraph

    foreign: int = 0
    short: int = 0
    dropped: int = 0


class Recording:
    """A recording that is read once, from its start to its end; a context manager.

    Args:
        path: its file; ``-``: standard input.
        boots: shared by recordings that are read together.

    Attributes:
        info: of its first interface; ``mounts`` grows as records are read.
        noted: what was come across so far.

    Raises:
        RecordingError: on entering, if it is none.
        OSError: it can't be read.
    """

    def __init__(self, path: str, boots: Boots | None = None) -> None:
        self.path = path
        self.info: TraceInfo
        self.noted = Noted()
        self._boots = boots or Boots()
        self._interfaces: list[Origin | None] = []  # None: one that is not furtrace's
        self._ended = False  # the section's statistics were there
        self._open = False  # they were not, nor their checksum, in what furtrace itself has written
        self._unended = False  # so it was in a section before
        self._begun: list[Run | Block] = []

    def __enter__(self) -> Self:
        self._file = _opened(self.path)
        try:
            self._reader = BlockReader(_content(self._file))
            self._chunks = self._reader.chunks()
            self._begin()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self._file.close()

    @property
    def damage(self) -> str | None:
        """Why there is nothing more although it is not the recording's end; None: it is, or there may be more."""
        if self._reader.damage is not None:
            return self._reader.damage
        if self._open:
            return "it has no end: whoever wrote it was ended, or still writes"
        if self._unended:
            return "one of the recordings in it has no end: whoever wrote that was ended"
        return None

    def _begin(self) -> None:
        """Read the first blocks, until the first interface is known."""
        self._begun = next(self._chunks, [])
        if not self._reader.start:
            raise RecordingError("it is empty")
        pcapng.check_start(self._reader.start)
        bodies = [one.body for one in self._begun if isinstance(one, Block) and one.kind == pcapng.INTERFACE]
        info = next((info for info in map(_interface_info, bodies) if info is not None), None)
        if info is None:
            why = "it is a pcapng file, but no recording of furtrace" if bodies else "it ends before it has begun"
            raise RecordingError(self._reader.damage or why)
        if info.dialect not in set(Dialect):
            dialect = printable(info.dialect.encode(errors="replace"))
            raise RecordingError(f"its dialect, {dialect}, is one that this version does not know")
        self.info = replace(info, mounts={})

    def batches(self) -> Iterator[Records]:
        """Yield the records in the file's order; a batch is good until the next one is asked for."""
        for pieces in self.pieces():
            yield from _together(pieces)

    def pieces(self) -> Iterator[list[Records]]:
        """Yield the same in pieces as they lie in the file, several megabytes of them at a time.

        To put them together costs as much as to read them.
        """
        yield self._pieces_of(self._begun)
        self._begun = []
        for chunk in self._chunks:
            yield self._pieces_of(chunk)

    def _pieces_of(self, chunk: list[Run | Block]) -> list[Records]:
        pieces: list[Records] = []
        for item in chunk:
            if isinstance(item, Block):
                self._note(item)
            else:
                pieces.append(self._records(item))
        return pieces

    def _note(self, block: Block) -> None:
        if block.kind == pcapng.SECTION:
            self._interfaces = []
            self._unended |= self._open
            self._ended = self._open = False
        elif block.kind == pcapng.CHECKSUM and pcapng.digest_of(block.body) is not None:
            self._open = not self._ended
        elif block.kind == pcapng.INTERFACE:
            info = _interface_info(block.body)
            self._interfaces.append(self._boots.of(info) if info else None)
        elif block.kind == pcapng.STATISTICS:
            self._ended = True
            told = dict(pcapng.options(block.body, 12)).get(pcapng.DROPPED, b"")
            self.noted.dropped += int.from_bytes(told[:8], "little")

    def _records(self, run: Run) -> Records:
        if run.captured < RECORD.itemsize:
            self.noted.short += len(run.heads)
            return no_records()
        records: Records = run.view(RECORD)
        numbers = np.ascontiguousarray(run.heads["interface"])
        shifts = np.array([(True, one.connections, one.ns) if one else _NONE for one in self._interfaces] or [_NONE])
        ours = numbers < len(self._interfaces)
        ours[ours] = shifts[numbers[ours], 0] != 0
        kinds = np.ascontiguousarray(records["kind"])
        ours &= (kinds > 0) & (kinds <= _NEWEST)
        ours &= (records["header_size"] <= PART_SIZE) & (records["extra_size"] <= EXTRA_SIZE)
        if not ours.all():
            self.noted.foreign += int((~ours).sum())
            records, numbers, kinds = records[ours], numbers[ours], kinds[ours]
        if shifts[:, 1:].any():
            records = _shifted(records, shifts[numbers])
        for mounted in records[kinds == Kind.MOUNTED]:
            self.info.mounts[int(mounted["connection"])] = part(mounted).decode(errors="surrogateescape")
        return records


_WHOLE: Final = np.dtype(f"V{RECORD.itemsize}")
_NONE: Final = (False, 0, 0)
_NEWEST: Final = max(Kind)


def _interface_info(body: bytes) -> TraceInfo | None:
    """What an Interface Description Block tells of a trace; None: it is not furtrace's."""
    if int.from_bytes(body[:2], "little") != pcapng.USER0:
        return None
    for code, value in pcapng.options(body, 8):
        if code == pcapng.COMMENT:
            try:
                return TraceInfo.from_json(value.decode(errors="replace"))
            except RecordingError:
                continue
    return None


def _shifted(records: Records, shifts: "np.ndarray[tuple[int, int], np.dtype[np.int64]]") -> Records:
    """Records of several boots on the first one's clock, each boot's connections with numbers of their own."""
    records = records.copy()
    records["connection"] += shifts[:, 1].astype(np.uint32)
    times = shifts[:, 2].astype(np.uint64)  # wraps round where it is negative
    records["ns"] += times
    records["user_data"] += np.where(records["kind"] == Kind.LOST, times, 0)  # until when
    return records


def _together(pieces: list[Records]) -> Iterator[Records]:
    """Large pieces as they are, small ones put together."""
    small: list[Records] = []
    for piece in pieces:
        if len(piece) < _SMALL:
            small.append(piece)
        else:
            yield from _joined(small)
            small = []
            yield piece
    yield from _joined(small)


def _joined(pieces: list[Records]) -> Iterator[Records]:
    if len(pieces) == 1:
        yield pieces[0]
    elif pieces:
        # As one array of bytes each: numpy copies a record of so many members member by member.
        yield np.concatenate([piece.view(_WHOLE) for piece in pieces]).view(RECORD)


def _opened(path: str) -> BinaryIO:
    if path == STDIN:
        if sys.stdin is None:
            raise RecordingError("standard input is closed")
        return sys.stdin.buffer
    return open(path, "rb", buffering=0)  # noqa: PTH123 - the caller closes it; a Path would turn "" into "."


def _left(file: BinaryIO) -> int | None:
    """How many more bytes the file has now; None: nobody knows, as it is no regular file.

    A file that is still written may grow faster than it is read, and would have no end.
    """
    try:
        status = os.fstat(file.fileno())
        return max(0, status.st_size - file.tell()) if stat.S_ISREG(status.st_mode) else None
    except OSError:
        return None  # as of a standard input that is no file at all


def _content(file: BinaryIO) -> Readable:
    """The bytes that the file has now; those within zstd, where it is compressed, whatever its name is."""
    start = b""
    while len(start) < len(_ZSTD_MAGIC):
        more = file.read(len(_ZSTD_MAGIC) - len(start))
        if not more:
            break
        start += more
    whole = _Joined(start, file, _left(file))
    if start != _ZSTD_MAGIC:
        return whole
    return _Decompressed(whole)


class _Joined(io.RawIOBase):
    """Bytes that were read already, and as many more of the file that they are of; ``left`` None: all."""

    def __init__(self, start: bytes, file: BinaryIO, left: int | None) -> None:
        self._start = start
        self._file = file
        self._left = left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        if self._start:
            count = min(len(self._start), len(buffer))
            buffer[:count] = self._start[:count]
            self._start = self._start[count:]
            return count
        count = self._file.readinto(memoryview(buffer)[: self._left]) or 0  # type: ignore[attr-defined]
        if self._left is not None:
            self._left -= count
        return count


class _Decompressed:
    """The content of frames of zstd, one after the other, up to the last byte that there is of a frame without an end.

    (:meth:`zstandard.ZstdDecompressor.stream_reader` keeps some of it back where a file was cut off.)
    """

    def __init__(self, file: io.RawIOBase) -> None:
        self._file = io.BufferedReader(file)
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._compressed = b""
        self._content = memoryview(b"")

    def readinto(self, buffer: memoryview) -> int:
        while not len(self._content):
            data = self._compressed or self._file.read1(_STEP)
            if not data:
                return 0
            self._content = memoryview(self._decompress(data))
        count = min(len(self._content), len(buffer))
        buffer[:count] = self._content[:count]
        self._content = self._content[count:]
        return count

    def _decompress(self, data: bytes) -> bytes:
        try:
            content = self._frame.decompress(data)
        except zstandard.ZstdError:
            raise RecordingError("what follows can't be decompressed") from None
        self._compressed = b""
        if self._frame.eof:
            self._compressed = self._frame.unused_data
            self._frame = zstandard.ZstdDecompressor().decompressobj()
        return content
