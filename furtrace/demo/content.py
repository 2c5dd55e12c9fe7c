"""The bytes of one regular file: sparse, in pages of 4 KiB, out of an allowance that all files of a tree share."""

import errno
from collections.abc import Callable, Iterable

from furtrace.demo.errors import TreeError
from furtrace.demo.wire import Buffer

PAGE = 4096
SEEK_DATA = 3
SEEK_HOLE = 4
_ZEROS = bytes(PAGE)


class Space:
    """How many pages all files of a tree may hold together, and how many they do.

    ``take`` raises ``TreeError(ENOSPC)`` and takes none when there are too few left.
    """

    __slots__ = ("pages", "used")

    def __init__(self, pages: int) -> None:
        self.pages = pages
        self.used = 0

    def take(self, count: int) -> None:
        """Take ``count`` pages out of the allowance."""
        if self.used + count > self.pages:
            raise TreeError(errno.ENOSPC)
        self.used += count

    def give(self, count: int) -> None:
        """Put ``count`` pages back."""
        self.used -= count


class Content:
    """A file's bytes. What no page holds is a hole and reads as zeros; what lies past ``size`` is always zeros."""

    __slots__ = ("_pages", "_space", "size")

    def __init__(self, space: Space) -> None:
        self.size = 0
        self._space = space
        self._pages: dict[int, bytes | bytearray] = {}

    @property
    def pages(self) -> int:
        """How many pages hold something, or were reserved with ``allocate``."""
        return len(self._pages)

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``offset`` on; fewer at the end of the file, none past it."""
        end = min(offset + length, self.size)
        if offset >= end:
            return b""
        first, last = offset // PAGE, (end - 1) // PAGE
        get = self._pages.get
        whole = b"".join([get(page, _ZEROS) for page in range(first, last + 1)])
        base = first * PAGE
        return whole if end - offset == len(whole) else whole[offset - base : end - base]

    def write(self, offset: int, data: Buffer) -> None:
        """Put ``data`` at ``offset``; the file grows where need be. ``TreeError(ENOSPC)`` changes nothing."""
        end = offset + len(data)
        if not data:
            return
        self._take_missing(range(offset // PAGE, (end - 1) // PAGE + 1))
        at = offset
        with memoryview(data) as view:
            while at < end:
                stop = min(end, (at // PAGE + 1) * PAGE)
                self._put(at // PAGE, at % PAGE, view[at - offset : stop - offset])
                at = stop
        self.size = max(self.size, end)

    def resize(self, size: int) -> None:
        """Cut the file off at ``size``, or let it grow by a hole."""
        if size < self.size:
            # Only the page that stays needs zeros behind the new end.
            self._blank(size, -(-size // PAGE) * PAGE)
            self._drop(lambda page: page * PAGE >= size)
        self.size = size

    def allocate(self, offset: int, length: int, *, keep_size: bool) -> None:
        """Reserve pages for the range (``fallocate`` mode 0); they count as data that is zeros."""
        missing = self._take_missing(range(offset // PAGE, (offset + length - 1) // PAGE + 1))
        self._pages.update(dict.fromkeys(missing, _ZEROS))
        self._grow(offset + length, keep_size=keep_size)

    def punch(self, offset: int, length: int) -> None:
        """Turn the range into a hole; pages that it covers only in part keep their place and are zeroed there."""
        self._blank(offset, offset + length)
        whole = range(-(-offset // PAGE), (offset + length) // PAGE)
        self._drop(lambda page: page in whole)

    def zero(self, offset: int, length: int, *, keep_size: bool) -> None:
        """Let the range read as zeros and keep its pages reserved (``FALLOC_FL_ZERO_RANGE``)."""
        self.allocate(offset, length, keep_size=keep_size)
        self._blank(offset, offset + length)

    def seek(self, offset: int, whence: int) -> int:
        """Return where the next data (``SEEK_DATA``) or hole (``SEEK_HOLE``) starts, at ``offset`` or after it.

        ``TreeError(ENXIO)`` past the end of the file, or when only a hole is left; ``TreeError(EINVAL)`` for any other
        ``whence``.
        """
        if whence not in (SEEK_DATA, SEEK_HOLE):
            raise TreeError(errno.EINVAL)
        if offset >= self.size:
            raise TreeError(errno.ENXIO)
        if whence == SEEK_DATA:
            return self._next_data(offset)
        page = offset // PAGE
        while page in self._pages:
            page += 1
        return min(max(offset, page * PAGE), self.size)

    def release(self) -> None:
        """Give every page back; the file is empty after that."""
        self.resize(0)
        self._drop(lambda _page: True)

    def _next_data(self, offset: int) -> int:
        page = offset // PAGE
        if page not in self._pages:
            page = min((held for held in self._pages if held > page), default=self.size)
        if page * PAGE >= self.size:
            raise TreeError(errno.ENXIO)
        return max(offset, page * PAGE)

    def _grow(self, end: int, *, keep_size: bool) -> None:
        if not keep_size:
            self.size = max(self.size, end)

    def _take_missing(self, wanted: range) -> list[int]:
        if len(wanted) > self._space.pages:
            raise TreeError(errno.ENOSPC)
        missing = [page for page in wanted if page not in self._pages]
        self._space.take(len(missing))
        return missing

    def _put(self, page: int, start: int, piece: memoryview) -> None:
        if len(piece) == PAGE:
            self._pages[page] = bytes(piece)
            return
        held = self._pages.get(page, _ZEROS)
        if not isinstance(held, bytearray):
            held = self._pages[page] = bytearray(held)
        held[start : start + len(piece)] = piece

    def _blank(self, start: int, end: int) -> None:
        """Zero what the pages that are there hold of ``start`` to ``end``."""
        zeros = memoryview(_ZEROS)
        for page in self._held(range(start // PAGE, -(-end // PAGE))):
            low, high = max(start - page * PAGE, 0), min(end - page * PAGE, PAGE)
            self._put(page, low, zeros[low:high])

    def _held(self, wanted: range) -> Iterable[int]:
        if len(wanted) < len(self._pages):
            return [page for page in wanted if page in self._pages]
        return [page for page in self._pages if page in wanted]

    def _drop(self, unwanted: Callable[[int], bool]) -> None:
        gone = [page for page in self._pages if unwanted(page)]
        for page in gone:
            del self._pages[page]
        self._space.give(len(gone))
