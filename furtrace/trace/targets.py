"""Where the bytes of a recording go: a file or a pipe, a disk past the page cache, frames of zstd."""

import contextlib
import errno
import mmap
import os
import time
from collections.abc import Iterable
from typing import Final, Protocol

import zstandard

_LEVEL: Final = 1  # the others cost more than the disk gains
_BLOCK: Final = 1 << 20
"""Bytes before compression that are held back at most: so many are lost if the recorder is killed."""
_ALIGNMENT: Final = 4096  # what disks and file systems want of O_DIRECT, or a multiple of it
_STAGING: Final = 2 << 20
_WORTH: Final = 128 << 10
"""Bytes from which on a write past the page cache is worth its waiting for the disk."""
_SLOW: Final = 50e6
"""Bytes a second below which a disk is left to the page cache, which can take a burst, ..."""
_PATIENCE: Final = 2.0
"""... for so many seconds."""


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
    """A file, or whatever else a descriptor stands for; the descriptor is this object's.

    ``written``: bytes that are in it already, and where it stands. ``ours``: it holds nothing else, so that it may be
    cut.
    """

    def __init__(self, descriptor: int, written: int = 0, *, ours: bool = True) -> None:
        self._descriptor = descriptor
        self._ours = ours
        self.written = written

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
            if count and self._ours:
                os.ftruncate(self._descriptor, self.written)
                os.lseek(self._descriptor, self.written, os.SEEK_SET)
        except OSError:
            self.written += count  # a pipe keeps what it has got

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)


class DiskTarget:
    """A file that is written past the page cache (O_DIRECT) where there is much to write.

    A recording is not read again soon; to copy it into the page cache costs several times what the disk does, and
    pushes out what others need. What does not fill a page goes the usual way, at once, so that nothing is held back.

    Args:
        descriptor: of a new regular file; it is this object's.
    """

    def __init__(self, descriptor: int) -> None:
        self._usual = descriptor
        self._past = _past_page_cache(descriptor)
        self._staging = mmap.mmap(-1, _STAGING)
        self._begin = 0  # where in the file the staging begins, a multiple of a page
        self._held = 0  # bytes in it
        self._stored = 0  # those of them that the file has
        self._slow_until = 0.0
        self._plain: PlainTarget | None = None
        self._written = 0

    @property
    def written(self) -> int:
        """Bytes that are in the file."""
        return self._plain.written if self._plain is not None else self._written

    def write(self, pieces: Iterable["bytes | memoryview"]) -> None:
        """Write bytes, all of them; of what does not fit nothing stays."""
        if self._plain is not None:
            self._plain.write(pieces)
            return
        size = 0
        try:
            for piece in pieces:
                self._stage(memoryview(piece))
                size += len(piece)
            self._store()
        except OSError:
            self._go_on_plainly()
            raise
        self._written += size

    def _stage(self, piece: memoryview) -> None:
        while piece:
            part = piece[: _STAGING - self._held]
            self._staging[self._held : self._held + len(part)] = part
            self._held += len(part)
            piece = piece[len(part) :]
            if self._held == _STAGING:
                self._store()

    def _store(self) -> None:
        """Have in the file what is staged; whole pages leave the staging."""
        whole = self._held // _ALIGNMENT * _ALIGNMENT
        view = memoryview(self._staging)
        if whole >= _WORTH:
            if self._past >= 0 and time.monotonic() >= self._slow_until:
                self._store_past(view[:whole])
            else:
                _write_all(self._usual, view[self._stored : whole], self._begin + self._stored)
            rest = bytes(view[whole : self._held])
            self._staging[: len(rest)] = rest
            self._begin, self._held, self._stored = self._begin + whole, len(rest), 0
        _write_all(self._usual, view[self._stored : self._held], self._begin + self._stored)
        self._stored = self._held

    def _store_past(self, pages: memoryview) -> None:
        began = time.monotonic()
        try:
            _write_all(self._past, pages, self._begin)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # The file system wants something else of it; the usual way is always right.
            os.close(self._past)
            self._past = -1
            _write_all(self._usual, pages, self._begin)
        ended = time.monotonic()
        if len(pages) < _SLOW * (ended - began):
            self._slow_until = ended + _PATIENCE

    def _go_on_plainly(self) -> None:
        """After a failure: the file ends with what was written whole, and nothing is staged any more."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._usual, self._written)
            os.lseek(self._usual, self._written, os.SEEK_SET)
        self._plain = PlainTarget(self._usual, self._written)

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        """Close it."""
        if self._past >= 0:
            os.close(self._past)
        os.close(self._usual)


def _past_page_cache(descriptor: int) -> int:
    """Another descriptor for the same file, of which writes go past the page cache; -1: there is no such thing."""
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        return -1


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(descriptor, data, offset)
        data, offset = data[count:], offset + count


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
