"""The bytes of one regular file, in a file of its own that io_uring can read and write: a memfd.

It can do the same as ``furtrace.demo.content.Content``, where the kernel's tmpfs does the work. ``OSError`` of a system
call becomes ``TreeError`` with the same number.
"""

import ctypes
import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

from furtrace.demo.content import PAGE, SEEK_DATA, SEEK_HOLE, Content, Space
from furtrace.demo.errors import TreeError
from furtrace.demo.wire import Buffer

_KEEP_SIZE = 0x01
_PUNCH_HOLE = 0x02
_BLOCKS_A_PAGE = PAGE // 512

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]


COPIED_SUFFIX = b".copy"
"""Files made with a name that ends so stay in the server's memory; what they are renamed to changes nothing."""


def unless_copied(name: bytes, space: Space) -> "Content | Backing":
    """Return what the bytes of a new file with this name are kept in."""
    return Content(space) if name.endswith(COPIED_SUFFIX) else Backing(space)


def allow_many() -> None:
    """Let this process have as many open files as it may: each file with something in it takes one."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Backing:
    """A file's bytes in a memfd, which is there from the first change on."""

    __slots__ = ("_counted", "_fd", "_space")

    def __init__(self, space: Space) -> None:
        self._space = space
        self._fd = -1
        self._counted = 0

    @property
    def fd(self) -> int:
        """The memfd's descriptor; it stays the same until ``release``."""
        if self._fd < 0:
            with _refusals():
                self._fd = os.memfd_create("furtrace-demo", os.MFD_CLOEXEC)
        return self._fd

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return 0 if self._fd < 0 else os.fstat(self._fd).st_size

    @property
    def pages(self) -> int:
        """How many pages hold something, or were reserved with ``allocate``."""
        return 0 if self._fd < 0 else os.fstat(self._fd).st_blocks // _BLOCKS_A_PAGE

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``offset`` on; fewer at the end of the file, none past it."""
        return b"" if self._fd < 0 else os.pread(self._fd, length, offset)

    def write(self, offset: int, data: Buffer) -> None:
        """Put ``data`` at ``offset``; the file grows where need be. ``TreeError(ENOSPC)`` changes nothing."""
        if not data:
            return
        self.reserve(offset, len(data))
        with _refusals():
            os.pwrite(self.fd, data, offset)

    def reserve(self, offset: int, length: int) -> None:
        """Take the pages for a write that is to come, so that it can't fail for want of room."""
        if length:
            self.allocate(offset, length, keep_size=True)

    def resize(self, size: int) -> None:
        """Cut the file off at ``size``, or let it grow by a hole."""
        with self._counting():
            os.ftruncate(self.fd, size)

    def allocate(self, offset: int, length: int, *, keep_size: bool) -> None:
        """Reserve pages for the range (``fallocate`` mode 0)."""
        self._check_room(offset, offset + length)
        self._fallocate(_KEEP_SIZE if keep_size else 0, offset, length)

    def punch(self, offset: int, length: int) -> None:
        """Turn the range into a hole; pages that it covers only in part are zeroed there."""
        self._fallocate(_PUNCH_HOLE | _KEEP_SIZE, offset, length)

    def zero(self, offset: int, length: int, *, keep_size: bool) -> None:
        """Let the range read as zeros and keep its pages reserved. A tmpfs has no call that does it in one step."""
        self._check_room(offset, offset + length)
        self.punch(offset, length)
        self.allocate(offset, length, keep_size=keep_size)

    def seek(self, offset: int, whence: int) -> int:
        """Return where the next data (``SEEK_DATA``) or hole (``SEEK_HOLE``) starts, at ``offset`` or after it.

        ``TreeError(ENXIO)`` past the end of the file, or when only a hole is left; ``TreeError(EINVAL)`` for any other
        ``whence``. Pages that are reserved and were never written are a hole here.
        """
        if whence not in (SEEK_DATA, SEEK_HOLE):
            raise TreeError(errno.EINVAL)
        with _refusals():
            return os.lseek(self.fd, offset, whence)

    def release(self) -> None:
        """Give every page back; the file is empty after that."""
        self._space.give(self._counted)
        self._counted = 0
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _check_room(self, start: int, end: int) -> None:
        """Refuse what takes more pages than are left, counting as taken anew what is a hole now."""
        if -(-end // PAGE) - start // PAGE > self._space.pages - self._space.used and (
            self._missing(start, end) > self._space.pages - self._space.used
        ):
            raise TreeError(errno.ENOSPC)

    def _missing(self, start: int, end: int) -> int:
        """Count the pages from ``start`` to ``end`` that hold no data."""
        first, last = start // PAGE, -(-end // PAGE)
        held, at = 0, first
        try:
            while at < last:
                data = self.seek(at * PAGE, SEEK_DATA) // PAGE
                hole = -(-self.seek(data * PAGE, SEEK_HOLE) // PAGE)
                held += max(0, min(hole, last) - min(data, last))
                at = hole
        except TreeError:
            # ENXIO: no data any more.
            pass
        return last - first - held

    def _fallocate(self, mode: int, offset: int, length: int) -> None:
        with self._counting():
            if _libc.fallocate(self.fd, mode, offset, length) < 0:
                raise OSError(ctypes.get_errno(), "fallocate")

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Tell the space afterwards how many pages the file has more or fewer."""
        try:
            with _refusals():
                yield
        finally:
            pages = self.pages
            self._space.used += pages - self._counted
            self._counted = pages


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except OSError as refusal:
        raise TreeError(refusal.errno or errno.EIO) from refusal
