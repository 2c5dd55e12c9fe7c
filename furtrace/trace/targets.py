"""Where the bytes of a recording go: a file or a pipe, frames of zstd.

Files are written through the page cache. Past it (O_DIRECT) there is less to copy, but the disk has to write at once
what it could write later, and the traced server, where it uses the same disk, was served a tenth less.
"""

import contextlib
import os
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import zstandard

_LEVEL: Final = 1  # the others cost more than the disk gains
_AT_ONCE: Final = 64 << 10
"""Bytes of a system call: most kernels of servers are built so that nothing else gets the CPU while one is copied."""
_BLOCK: Final = 1 << 20
"""Bytes before compression that are held back at most: so many are lost if the recorder is killed."""

Quietly = Callable[[], contextlib.AbstractContextManager[None]]
"""Gives a block in which to do what takes the CPU but waits for nothing."""


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
        done = 0
        try:
            for piece in pieces:
                left = memoryview(piece)
                while left:
                    count = os.write(self._descriptor, left[:_AT_ONCE])
                    done += count
                    left = left[count:]
        except OSError:
            self._take_back(done)
            raise
        self.written += done

    def _take_back(self, count: int) -> None:
        if count and not (self._ours and self._is_cut()):
            self.written += count

    def _is_cut(self) -> bool:
        """Whether the file has lost what came after what was written whole; a pipe keeps what it has got."""
        try:
            os.ftruncate(self._descriptor, self.written)
            os.lseek(self._descriptor, self.written, os.SEEK_SET)
        except OSError:
            return False
        return True

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)


class CompressedTarget:
    """One frame of zstd, in pieces that can be read before it has ended.

    Args:
        descriptor: of what it is written to; it is this object's.
        quietly: where to compress.
    """

    def __init__(self, descriptor: int, quietly: Quietly = contextlib.nullcontext) -> None:
        self._quietly = quietly
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
            with self._quietly():
                data, self._held, self._size = b"".join(self._held), [], 0
                compressed = self._compressor.compress(data)
                compressed += self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
            self._write(compressed)

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
