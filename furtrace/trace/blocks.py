"""The blocks of a pcapng file, read a buffer at a time and checked before they are given out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import xxhash

from furtrace.trace import pcapng
from furtrace.trace.errors import RecordingError

BUFFER: Final = 8 << 20
"""Bytes that are looked at at a time."""
_ROOM: Final = BUFFER + pcapng.MOST  # the largest block fits behind whatever else there is
_GALLOP: Final = 2048
_START: Final = 14


class Readable(Protocol):
    """What bytes come from."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Read some bytes into a buffer, and return how many; 0: there are no more."""


@dataclass(frozen=True)
class Run:
    """Packets that are alike in size, one behind the other: views of the buffer.

    ``heads``: of :data:`~furtrace.trace.pcapng.PACKET_HEAD`. ``data``: where the first one's data begins in ``buffer``;
    the next is ``stride`` bytes further. ``captured``: bytes of data of each.
    """

    heads: npt.NDArray[np.void]
    buffer: npt.NDArray[np.uint8]
    data: int
    stride: int
    captured: int

    def view(self, dtype: "np.dtype[np.void]") -> npt.NDArray[np.void]:
        """The packets' data, as far as the type reaches, which must not be further than ``captured``."""
        return np.ndarray((len(self.heads),), dtype, self.buffer.data, self.data, (self.stride,))


@dataclass(frozen=True)
class Block:
    """Any other block."""

    kind: int
    body: bytes


@dataclass(frozen=True)
class _Found:
    """What a buffer has: items with the place behind each of them, and whether it is a checksum that is right."""

    item: Run | Block
    end: int
    vouched: bool = False


class BlockReader:
    """Reads blocks up to the end, or to what is damaged.

    Where checksums are (:func:`furtrace.trace.pcapng.checksum`), what they are wrong for is not given out, nor what
    lies between the last one and damage. Where the file was cut off, what follows the last one is given out unchecked.

    Args:
        file: the bytes.

    Attributes:
        start: the file's first bytes, 14 if there are so many; known once the first chunk was asked for.
        damage: why reading ended before the file's end; None: it did not, so far.
    """

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._buffer = np.empty(_ROOM, np.uint8)
        self._view = self._buffer.data
        self._filled = 0
        self._passed = 0  # bytes of the file before the buffer
        self._ended = False
        self._hash = xxhash.xxh3_64()
        self._hashed = 0
        self._piece = 0  # where in the file the bytes begin that the next checksum is of
        self._vouched = False  # there were checksums in this section
        self._stride = pcapng.PACKET_BLOCK.itemsize  # of the last packets
        self._distrusted = False
        self.start = b""
        self.damage: str | None = None

    def chunks(self) -> Iterator[list[Run | Block]]:
        """Yield blocks in the file's order; they are good until the next are asked for."""
        used = 0
        while not self._ended:
            self._fill(used)
            self.start = self.start or bytes(self._view[: min(_START, self._filled)])
            found = list(self._scan())
            used = self._usable(found)
            yield [one.item for one in found if one.end <= used]
        if self.damage is None and used < self._filled:
            self.damage = f"it is cut off in the middle of a block, at byte {self._passed + used}"

    def _fill(self, used: int) -> None:
        """Drop what was used, and read on until there is a buffer full."""
        rest = self._filled - used
        self._buffer[:rest] = self._buffer[used : self._filled].copy()
        self._passed += used
        self._hashed -= used
        self._filled = rest
        try:
            while self._filled < BUFFER and not self._ended:
                count = self._file.readinto(self._view[self._filled : BUFFER])
                self._filled += count or 0
                self._ended = not count
            if BUFFER <= self._filled < self._first_size() <= pcapng.MOST:
                self._read_whole(self._first_size())
        except RecordingError as problem:
            self._fail(self._filled, str(problem))

    def _first_size(self) -> int:
        return int.from_bytes(self._view[4:8], "little")

    def _read_whole(self, size: int) -> None:
        """A block that is larger than the buffer."""
        while self._filled < size and not self._ended:
            count = self._file.readinto(self._view[self._filled : size])
            self._filled += count or 0
            self._ended = not count

    def _fail(self, at: int, why: str) -> None:
        self._ended = True
        self._distrusted = self._vouched  # who knows what else was changed since the last checksum
        if self.damage is None:
            self.damage = f"it is damaged at byte {self._passed + at}: {why}"

    def _scan(self) -> Iterator[_Found]:
        """Yield what is whole in the buffer, up to what is damaged."""
        at = 0
        while self._filled - at >= pcapng.SMALLEST:
            try:
                kind, size = pcapng.head(self._view, at)
                if size > self._filled - at:
                    self._check_cut(kind, size)
                    return
                found = self._run(at, size) if kind == pcapng.PACKET else self._block(at, kind, size)
            except RecordingError as problem:
                self._fail(at, str(problem))
                return
            yield found
            at = found.end

    def _check_cut(self, kind: int, size: int) -> None:
        """Raise if a block that reaches beyond the end has such a length by damage, not since the file was cut off."""
        if self._ended and self._vouched and size != (self._stride if kind == pcapng.PACKET else pcapng.CHECKSUM_SIZE):
            raise RecordingError("a block is longer than what there is")

    def _block(self, at: int, kind: int, size: int) -> _Found:
        if int.from_bytes(self._view[at + size - 4 : at + size], "little") != size:
            raise RecordingError("a block has two lengths")
        body = bytes(self._view[at + pcapng.BLOCK_HEAD : at + size - 4])
        if kind == pcapng.SECTION:
            self._begin_section(at, size)
        digest = pcapng.digest_of(body) if kind == pcapng.CHECKSUM else None
        if digest is not None:
            self._check(digest, at, at + size)
        return _Found(Block(kind, body), at + size, vouched=digest is not None)

    def _begin_section(self, at: int, size: int) -> None:
        """What the section before has had no checksum for stays without."""
        pcapng.check_start(bytes(self._view[at : at + min(size, _START)]))
        self._sum_from(at)
        self._vouched = False

    def _check(self, digest: int, at: int, end: int) -> None:
        self._update_hash(at)
        self._vouched = True
        if self._hash.intdigest() != digest:
            raise RecordingError(f"its checksum is wrong, so that nothing from byte {self._piece} on is sure")
        self._sum_from(end)

    def _sum_from(self, at: int) -> None:
        self._hash.reset()
        self._hashed, self._piece = at, self._passed + at

    def _run(self, at: int, size: int) -> _Found:
        head = pcapng.PACKET_HEAD.itemsize
        if size < head + 4:
            raise RecordingError("a packet has no room for itself")
        captured = int(self._heads(at, size, 1)["captured"][0])
        if captured > size - head - 4:
            raise RecordingError("a packet is longer than its block")
        count, most = 0, (self._filled - at) // size
        while count < most:
            part = min(_GALLOP, most - count)
            alike = self._alike(at + count * size, size, part, captured)
            count += alike
            if alike < part:
                break
        if not count:
            raise RecordingError("a block has two lengths")
        self._stride = size
        run = Run(self._heads(at, size, count), self._buffer, at + head, size, captured)
        return _Found(run, at + count * size)

    def _alike(self, at: int, size: int, count: int, captured: int) -> int:
        """How many packets from here on are of this size."""
        heads = self._heads(at, size, count)
        ends: npt.NDArray[np.uint32] = np.ndarray((count,), "<u4", self._view, at + size - 4, (size,))
        fine = (heads["type"] == pcapng.PACKET) & (heads["size"] == size) & (ends == size)
        fine &= heads["captured"] == captured
        return count if fine.all() else int(np.argmin(fine))

    def _heads(self, at: int, stride: int, count: int) -> npt.NDArray[np.void]:
        return np.ndarray((count,), pcapng.PACKET_HEAD, self._view, at, (stride,))

    def _update_hash(self, until: int) -> None:
        if until > self._hashed:
            self._hash.update(self._view[self._hashed : until])
        self._hashed = max(self._hashed, until)

    def _usable(self, found: list[_Found]) -> int:
        """Where what is given out now ends: behind the last checksum, or at the end of all that is there."""
        end = found[-1].end if found else 0
        vouched = [one.end for one in found if one.vouched]
        if self._distrusted:
            return vouched[-1] if vouched else 0
        if self._ended or not vouched:
            self._update_hash(end)
            return end
        return vouched[-1]
