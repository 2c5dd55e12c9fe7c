"""Payload buffers, and what is put into them."""

import numpy as np
import pytest

from furtrace.checks.buffers import best_classes, size_text
from furtrace.trace.record import Kind, Records
from furtrace.wire.opcodes import Opcode, UringCommand
from tests.unit.checks.judging import conversation, judged, repeated
from tests.unit.events import batch, event

KIB, MIB = 1 << 10, 1 << 20


def register(payload_size: int) -> Records:
    return event(Kind.REGISTER, 500, queue=3, length=288, payload_size=payload_size, command_op=UringCommand.REGISTER)


def reads(count: int, *, size: int, large: int = 0, larger: int = 0) -> Records:
    """READs one after another, answered with ``size`` bytes, before them ``larger`` that are with ``large``."""
    asked = bytes(128 + 16) + MIB.to_bytes(4, "little") + bytes(20)
    first = conversation(2, 1000, Opcode.READ, asked=asked, size=large)
    others = conversation(2 + 2 * larger, 1000 + 200 * larger, Opcode.READ, asked=asked, size=size)
    return batch(repeated(first, larger, 200), repeated(others, count - larger, 200))


def test_buffers_that_are_hardly_used() -> None:
    (finding,) = judged(register(MIB), reads(10_000, size=4096, large=MIB, larger=10))
    assert (finding.rule.id, finding.connection, finding.queue) == ("buffers-oversized", 7, None)
    assert "99% of 10000 requests put at most 4 KiB into payload buffers of 1 MiB; 1 of these take 1 MiB" in (
        finding.sentence
    )
    assert "Requests up to 4 KiB: 9990, 1 MiB: 10." in finding.sentence
    assert finding.sentence.endswith("would have taken 1 MiB with 1 MiB.")  # one at a time, and that one may be large


@pytest.mark.parametrize(
    ("buffer", "requests"),
    [
        (32 * KIB - 1, {"count": 10_000, "size": 4096}),  # more than an eighth is used
        (MIB, {"count": 9_999, "size": 4096}),  # too few to say
        (MIB, {"count": 10_000, "size": 4096, "large": MIB, "larger": 200}),  # two in a hundred are large
        (0, {"count": 10_000, "size": 4096}),  # the buffer's size is not known
    ],
)
def test_buffers_that_are_not_blamed(buffer: int, requests: dict[str, int]) -> None:
    assert judged(register(buffer), reads(**requests)) == []


def test_what_classes_of_sizes_would_take() -> None:
    """Four small ones at a time, and a large one beside another small one."""
    begins = np.array([0, 1, 2, 3, 10, 11])
    ends = np.array([5, 5, 5, 5, 20, 20])
    sizes = np.array([10, 20, 4096, 30, MIB, 100])
    assert best_classes(begins, ends, sizes, MIB) == [(4 * MIB, (MIB,)), (4 * 4096 + MIB, (4096, MIB))]
    sizes[1:3] = 60_000
    assert best_classes(begins, ends, sizes, MIB)[-1] == (2 * 4096 + 2 * 65536 + MIB, (4096, 65536, MIB))


def test_a_span_that_ends_makes_room_for_the_next() -> None:
    begins, ends, sizes = np.array([0, 5]), np.array([5, 9]), np.array([100, 100])
    assert best_classes(begins, ends, sizes, 8192)[0] == (8192, (8192,))


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (4096, "4 KiB"), (1 << 20, "1 MiB"), (1_572_864, "1.5 MiB")])
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text
