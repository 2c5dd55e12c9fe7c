"""What was read out of bytes, piece by piece, and what could not be."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias, TypeVar

from furtrace.wire import meaning
from furtrace.wire.layout import Layout, Member

T = TypeVar("T")

Value: TypeAlias = int | bytes | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One piece: a field, a structure with its fields, a name, data.

    Attributes:
        name: the kernel's name of a field or structure (``fuse_write_in``), or what else the bytes are (``data``).
        offset: bytes from the start of what was given.
        size: bytes.
        value: what stands there; None for a structure.
        meaning: what that says, in words; empty where the value says it all.
        items: the pieces of a structure.

    """

    name: str
    offset: int
    size: int
    value: Value | None = None
    meaning: str = ""
    items: tuple["Item", ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be read, or is not as it should be.

    Attributes:
        offset: where, bytes from the start of what was given.
        reason: one sentence without a full stop.

    """

    offset: int
    reason: str


PREVIEW: Final = 32
"""Bytes of data that a meaning shows."""


def preview(value: bytes, _: Any = None) -> str:
    """The start of data, quoted."""
    return meaning.text(value[:PREVIEW], None) + ("..." if len(value) > PREVIEW else "")


def size_only(value: bytes, _: Any = None) -> str:
    """How long something is that says nothing by itself."""
    return f"{len(value)} bytes"


class Reader:
    """Reads pieces one after the other from ``data[at:end]``, notes problems, and raises nothing.

    Attributes:
        at: where the next piece begins.
        end: where the last one has to end.
        items: what was read.
        problems: what could not be read; shared by the readers of one decoding.

    """

    def __init__(self, data: bytes, at: int, end: int, problems: list[Problem]) -> None:
        self._data = data
        self.at = min(at, len(data))
        self.end = min(max(end, self.at), len(data))
        self.items: list[Item] = []
        self.problems = problems

    @property
    def left(self) -> int:
        """Bytes that are not read yet."""
        return self.end - self.at

    def peek(self, size: int | None = None) -> bytes:
        """The bytes that are not read yet, or the first ``size`` of them."""
        return self._data[self.at : self.end if size is None else min(self.at + size, self.end)]

    def within(self, size: int) -> "Reader":
        """A reader of the next ``size`` bytes, or of as many as there are; this one goes on behind them."""
        inner = Reader(self._data, self.at, min(self.at + size, self.end), self.problems)
        self.at = inner.end
        return inner

    def problem(self, reason: str, at: int | None = None) -> None:
        """Note what is wrong, here or at a given offset."""
        self.problems.append(Problem(self.at if at is None else at, reason))

    def structure(self, layout: Layout[T], *, name: str = "", said: Mapping[str, str] | None = None) -> T | None:
        """Read a structure, or as many of its fields as there are.

        Args:
            layout: of the structure.
            name: what to call it; by default as in C.
            said: meanings of members that this place knows better than the layout.

        Returns:
            None if it was not there as a whole, which is noted.
        """
        whole = self.left >= layout.size
        if not whole:
            self.problem(layout.lack(self.left), self.end)
            if not self.left:
                return None
        given = self.peek(layout.size)
        value = layout.unpack(given.ljust(layout.size, b"\0"))
        items = tuple(_fields(layout.members, value, self.at, self.end, said or {}))
        if not whole:
            other = layout.unpack(given.ljust(layout.size, b"\xff"))
            items = tuple(map(_sure, items, _fields(layout.members, other, self.at, self.end, said or {})))
        size = len(given)
        self.items.append(Item(name or layout.name, self.at, size, items=items))
        self.at += size
        return value if whole else None

    def array(self, layout: Layout[Any], count: int) -> None:
        """Read ``count`` structures, or as many as there are."""
        for _ in range(count):
            if self.structure(layout) is None:
                return

    def numbers(self, name: str, size: int, count: int) -> None:
        """Read ``count`` numbers of ``size`` bytes each, or as many as there are."""
        room = min(count, self.left // size)
        if room < count:
            self.problem(f"{count} times {name} announced, {room} given", self.end)
        for _ in range(room):
            value = int.from_bytes(self._data[self.at : self.at + size], "little")
            self.items.append(Item(name, self.at, size, value))
            self.at += size

    def name(self, role: str) -> bytes | None:
        """Read characters ended by a NUL, which counts in the size and not in the value; None if it has no end."""
        end = self._data.find(b"\0", self.at, self.end)
        if end < 0:
            self.problem(f"{role} has no end in the {self.left} bytes left" if self.left else f"{role} is missing")
            self.bytes(role, self.left, meaning.text)
            return None
        value = self._data[self.at : end]
        self.items.append(Item(role, self.at, end + 1 - self.at, value, meaning.text(value, None)))
        self.at = end + 1
        return value

    def bytes(self, name: str, size: int, say: Callable[[bytes, Any], str] = preview) -> bytes:
        """Read ``size`` bytes, or as many as there are, as one piece; none is no piece."""
        if size > self.left:
            self.problem(f"{name}: {size} bytes announced, {self.left} given", self.end)
        value = self._data[self.at : self.at + min(size, self.left)]
        if value:
            self.items.append(Item(name, self.at, len(value), value, say(value, None)))
            self.at += len(value)
        return value

    def fill(self, alignment: int, start: int) -> None:
        """Skip what fills a piece that began at ``start`` up to a multiple of ``alignment``."""
        self.at = min(self.at + (start - self.at) % alignment, self.end)

    def group(self, name: str, start: int, first: int, words: str = "") -> None:
        """Put the pieces from index ``first`` on, which began at offset ``start``, into one of that name."""
        inner = tuple(self.items[first:])
        del self.items[first:]
        self.items.append(Item(name, start, self.at - start, None, words, inner))

    def rest(self, name: str, reason: str) -> None:
        """Whatever is left is too much: show it, and note why it should not be there."""
        if self.left:
            self.problem(f"{self.left} bytes {reason}")
            self.bytes(name, self.left)


def _sure(one: Item, other: Item) -> Item:
    """A piece of a structure that is cut off, read with this and with that in place of what is missing.

    Its meaning is what both say: it may depend on a field that is not there.
    """
    words = one.meaning if one.meaning == other.meaning else ""
    return replace(one, meaning=words, items=tuple(map(_sure, one.items, other.items)))


def _fields(members: tuple[Member, ...], value: Any, start: int, end: int, said: Mapping[str, str]) -> Iterator[Item]:
    """The members that end before ``end``."""
    for member in members:
        offset = start + member.offset
        if member.members:
            inner = tuple(_fields(member.members, getattr(value, member.attribute), offset, end, {}))
            if inner:
                yield Item(member.name, offset, min(member.size, end - offset), items=inner)
        elif offset + member.size <= end:
            content = getattr(value, member.attribute)
            words = said.get(member.name)
            if words is None:
                words = member.meaning(content, value) if member.meaning else ""
            yield Item(member.name, offset, member.size, content, words)
