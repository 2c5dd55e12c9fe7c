"""What holds for whatever the decoder makes of any bytes."""

from collections.abc import Iterator

from furtrace.wire.decode import Decoded
from furtrace.wire.items import Item, Problem

PARTS_OF_SLOT = ("in_out", "op_in")
"""Behind what counts in them lies what earlier requests have left."""
ALIGNMENT = 8


def check(decoded: Decoded, given: bytes) -> None:
    """Assert what has to hold for what ``given`` was read as."""
    assert decoded.title
    assert decoded.size == len(given)
    for problem in decoded.problems:
        assert 0 <= problem.offset <= len(given), problem
    _check_items(decoded.items, 0, len(given))
    leaves = [item for top in decoded.items for item in _leaves(top)]
    for leaf in leaves:
        _check_value(leaf, given)
    hidden = [*_stale(decoded.items), *_fillers(decoded.items)]
    for start, end in _uncovered(leaves, hidden, len(given)):
        assert _explained(start, end, decoded.problems), f"bytes {start} to {end} are passed over in silence"


def _check_items(items: tuple[Item, ...], start: int, end: int) -> None:
    """Pieces lie one after the other between ``start`` and ``end``."""
    at = start
    for item in items:
        if not item.meaning.startswith("if REGISTER"):  # the union of a command that is not known: twice the same bytes
            assert at <= item.offset, item
            at = item.offset + item.size
        assert start <= item.offset <= item.offset + item.size <= end, item
        if item.items:
            assert item.value is None, item
            _check_items(item.items, item.offset, item.offset + item.size)


def _leaves(item: Item) -> Iterator[Item]:
    if item.value is not None:
        yield item
    for inner in item.items:
        yield from _leaves(inner)


def _check_value(leaf: Item, given: bytes) -> None:
    """What an item says is what stands there."""
    there = given[leaf.offset : leaf.offset + leaf.size]
    value = leaf.value
    if isinstance(value, bytes):
        assert there in (value, value + b"\0"), leaf
    elif isinstance(value, int):
        assert value.to_bytes(leaf.size, "little", signed=value < 0) == there, leaf
    else:
        assert value, leaf
        width = leaf.size // len(value)
        assert b"".join(one.to_bytes(width, "little") for one in value) == there, leaf


def _stale(items: tuple[Item, ...]) -> Iterator[tuple[int, int]]:
    for item in items:
        if item.name in PARTS_OF_SLOT:
            last = item.items[-1] if item.items else None
            yield last.offset + last.size if last else item.offset, item.offset + item.size


def _fillers(items: tuple[Item, ...]) -> Iterator[tuple[int, int]]:
    """Yield what fills up security contexts, entries and extensions, which are not filled up themselves."""
    start = None
    for item in items:
        stop = item.offset + item.size
        if item.name == "fuse_secctx":
            start = item.offset
        elif item.name in ("name", "context") and start is not None:
            yield stop, stop + (start - stop) % ALIGNMENT
        elif item.name in ("entry", "extension") and item.items:
            inside = item.items[-1].offset + item.items[-1].size
            yield inside, min(stop, inside + ALIGNMENT - 1)
            yield stop, stop + (item.offset - stop) % ALIGNMENT
        yield from _fillers(item.items)


def _uncovered(leaves: list[Item], hidden: list[tuple[int, int]], end: int) -> Iterator[tuple[int, int]]:
    at = 0
    shown = [(leaf.offset, leaf.offset + leaf.size) for leaf in leaves]
    for start, stop in sorted(shown + hidden):
        if start > at:
            yield at, start
        at = max(at, stop)
    if at < end:
        yield at, end


def _explained(start: int, end: int, problems: tuple[Problem, ...]) -> bool:
    return any(start <= problem.offset <= end for problem in problems)
