"""Payload buffers that are far larger than what is put into them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt

from furtrace.checks.findings import Finding, Rule, Severity
from furtrace.checks.seen import Check, Seen
from furtrace.checks.sizes import Sizes, payload_sizes
from furtrace.model.requests import Requests_
from furtrace.trace.record import Kind, Transport

OVERSIZED: Final = Rule(
    "buffers-oversized",
    Severity.NOTE,
    "payload buffers are far larger than what is put into them",
    "Each payload buffer has room for the largest request, max_write or max_pages pages as agreed in INIT, and an "
    "entry or pool has it all the time (fuse_uring_create() in fs/fuse/dev_uring.c). Nearly all requests here fill a "
    "small part of it. What smaller buffers would take is computed from how many requests of each size were in the "
    "server's hands at a time; the kernel itself has one size of buffers on a connection.",
    "If the memory matters, agree on a smaller max_write and max_pages in INIT, or register fewer entries a queue; for "
    "buffers that are pinned the memory counts against RLIMIT_MEMLOCK.",
)

_ENOUGH: Final = 10_000
"""Requests that are judged together."""
_SHARE: Final = 0.99
"""How many of them have to be small."""
_SMALL: Final = 8
"""Small is what fills one part of so many of its buffer."""
_LEAST: Final = 4096
"""Bytes of the smallest class."""
_MOST_CLASSES: Final = 3
Spans = npt.NDArray[np.int64]


@dataclass
class _Use:
    """Requests of a connection. ``buffer``: bytes of each payload buffer.

    ``parts``: of each part of the trace, when its requests were delivered and committed, and their payload's bytes.
    """

    buffer: int = 0
    count: int = 0
    parts: list[tuple[Spans, Spans, Sizes]] = field(default_factory=list)
    told: bool = False

    def add(self, rows: Requests_) -> None:
        """Take in requests that ended."""
        begins, ends = rows["delivered_ns"].astype(np.int64), rows["committed_ns"].astype(np.int64)
        self.parts.append((begins, ends, payload_sizes(rows)))
        self.count += len(rows)

    def spans(self) -> tuple[Spans, Spans, Sizes]:
        """All of them."""
        begins, ends, sizes = (np.concatenate(column) for column in zip(*self.parts, strict=True))
        return begins, ends, sizes


class Buffers(Check):
    """Compares payload buffers with the payload."""

    rules = (OVERSIZED,)

    def __init__(self) -> None:
        self._uses: dict[int, _Use] = {}

    def begun(self, connection: int) -> None:
        """Forget its buffers and what was put into them."""
        self._uses.pop(connection, None)

    def feed(self, seen: Seen) -> Iterable[Finding]:
        """Take in the requests that ended."""
        self._note_size(seen)
        rows = seen.finished
        known = (rows["transport"] == Transport.URING) & (rows["delivered_ns"] != 0) & (rows["committed_ns"] != 0)
        for number, use in self._uses.items():
            if not use.told and use.count < _ENOUGH:
                use.add(rows[known & (rows["connection"] == number)])
        return ()

    def _note_size(self, seen: Seen) -> None:
        """How large a buffer is: REGISTER tells it of an entry's own, any DELIVERED of a pool's."""
        at = np.flatnonzero(seen.kinds == Kind.REGISTER)
        delivered = np.flatnonzero(seen.kinds == Kind.DELIVERED)
        for event in seen.batch[np.concatenate([at, delivered[-1:]])]:
            number, size = int(event["connection"]), int(event["payload_size"])
            if size:
                use = self._uses.setdefault(number, _Use())
                use.buffer = max(use.buffer, size)

    def tick(self, now_ns: int, seen: Seen) -> Iterator[Finding]:
        """Judge what was taken in, where it is enough."""
        for number, use in self._uses.items():
            if use.count < _ENOUGH or use.told:
                continue
            finding = _judged(number, use, _buffers(number, seen), now_ns)
            use.told, use.count, use.parts = finding is not None, 0, []
            if finding is not None:
                yield finding


def _buffers(number: int, seen: Seen) -> int:
    """How many buffers the connection has: as many as its pools have, or a buffer an entry."""
    pools = {pool.queue: pool.buffers for pool in seen.conversation.pools.table() if pool.connection == number}
    entries = seen.conversation.requests.entries()
    places = {queue: count for (connection, queue), count in entries.items() if connection == number}
    return sum(pools.get(queue) or count for queue, count in places.items())


def _judged(number: int, use: _Use, buffers: int, now_ns: int) -> Finding | None:
    begins, ends, sizes = use.spans()
    small = int(np.sort(sizes)[int(len(sizes) * _SHARE)])
    if small * _SMALL > use.buffer:
        return None
    classes = best_classes(begins, ends, sizes, use.buffer)
    taken = size_text(buffers * use.buffer)
    sentence = (
        f"{_SHARE:.0%} of {len(sizes)} requests put at most {size_text(small)} into payload buffers of "
        f"{size_text(use.buffer)}; {buffers} of these take {taken}. {_histogram(sizes)}. As many buffers as were in "
        f"use at a time would have taken {'; '.join(map(_class_text, classes))}."
    )
    return Finding(OVERSIZED, sentence, now_ns, number)


def best_classes(begins: Spans, ends: Spans, sizes: Sizes, buffer: int) -> list[tuple[int, tuple[int, ...]]]:
    """What buffers of one, two and three sizes would take: bytes, and the sizes, smallest first; as far as more save.

    Of each class there are as many as requests that need it were in the server's hands at a time; the largest is the
    buffer as it is. The smaller ones are powers of two, those that take the least.
    """
    steps = [1 << bit for bit in range(_LEAST.bit_length() - 1, (buffer - 1).bit_length())]
    found: list[tuple[int, tuple[int, ...]]] = []
    for count in range(_MOST_CLASSES):
        tried = [(*chosen, buffer) for chosen in combinations(steps, count)]
        best = min(((_bytes(begins, ends, sizes, classes), classes) for classes in tried), default=None)
        if best is None or (found and best[0] >= found[-1][0]):
            break
        found.append(best)
    return found


def _bytes(begins: Spans, ends: Spans, sizes: Sizes, classes: tuple[int, ...]) -> int:
    total, least = 0, -1
    for size in classes:
        mine = (sizes > least) & ((sizes <= size) | (size == classes[-1]))
        total += _at_a_time(begins[mine], ends[mine]) * size
        least = size
    return total


def _at_a_time(begins: Spans, ends: Spans) -> int:
    """How many spans there are at a time, at most; one that ends as another begins has made room for it."""
    times = np.concatenate([ends, begins])
    changes = np.repeat([-1, 1], len(begins))
    return int(np.cumsum(changes[np.argsort(times, kind="stable")]).max(initial=0))


def _histogram(sizes: Sizes) -> str:
    """``Up to 4 KiB 9000, 128 KiB 1000``: powers of two, those that there are."""
    bins = np.maximum(np.ceil(np.log2(np.maximum(sizes, 1))).astype(int), _LEAST.bit_length() - 1)
    numbers, counts = np.unique(bins, return_counts=True)
    pairs = zip(numbers.tolist(), counts.tolist(), strict=True)
    return "Requests up to " + ", ".join(f"{size_text(1 << number)}: {count}" for number, count in pairs)


def _class_text(found: tuple[int, tuple[int, ...]]) -> str:
    taken, classes = found
    return f"{size_text(taken)} with {' + '.join(map(size_text, classes))}"


def size_text(size: int) -> str:
    """``4 KiB``, ``1.5 MiB``: in the largest unit of which there is one."""
    units = ("B", "KiB", "MiB", "GiB")
    step = min((max(size, 1).bit_length() - 1) // 10, len(units) - 1)
    return f"{size / (1 << 10 * step):.3g} {units[step]}"
