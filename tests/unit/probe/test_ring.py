"""The reader's side of a ring buffer, over a file that is laid out as the kernel lays out a ring."""

import gc
import mmap
import os
import struct
from collections.abc import Iterator

import pytest

from furtrace.probe.ring import SLOT_SIZE, Ring
from furtrace.trace.record import RECORD, Kind
from tests.unit.events import event, queued

PAGES = 2
SIZE = PAGES * mmap.PAGESIZE
ROOM = SIZE // SLOT_SIZE
_BUSY = 1 << 31


class FakeKernel:
    """The writer's side. What the kernel maps twice, stands here twice."""

    def __init__(self, start: int = 0) -> None:
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * mmap.PAGESIZE + 2 * SIZE)
        self._produced = start
        self._store(0, start)
        self._store(mmap.PAGESIZE, start)

    def _store(self, offset: int, position: int) -> None:
        os.pwrite(self.fd, struct.pack("<Q", position), offset)

    @property
    def consumed(self) -> int:
        """What the reader has given back."""
        return int(struct.unpack("<Q", os.pread(self.fd, 8, 0))[0])

    def _put(self, position: int, data: bytes) -> None:
        for n, byte in enumerate(data):
            at = 2 * mmap.PAGESIZE + (position + n) % SIZE
            for place in (at, at + SIZE):
                os.pwrite(self.fd, bytes([byte]), place)

    def write(self, ns: int, *, busy: bool = False) -> int:
        """Write a record and return its position."""
        position = self._produced
        assert position + SLOT_SIZE - self.consumed <= SIZE, "the test overfills the ring"
        record = queued(10, ns).tobytes()
        self._put(position, struct.pack("<II", RECORD.itemsize | (_BUSY if busy else 0), 0) + record)
        self._produced += SLOT_SIZE
        self._store(mmap.PAGESIZE, self._produced)
        return position

    def finish(self, position: int) -> None:
        """Complete a record that was busy."""
        self._put(position, struct.pack("<I", RECORD.itemsize))


@pytest.fixture
def kernel() -> Iterator[FakeKernel]:
    made = FakeKernel()
    yield made
    os.close(made.fd)


@pytest.fixture
def ring(kernel: FakeKernel) -> Ring:
    return Ring(kernel.fd, PAGES)


def _times(ring: Ring) -> list[int]:
    return [int(ns) for ns in ring.read()["ns"]]


def test_a_slot_is_a_header_and_a_record() -> None:
    assert RECORD.itemsize + 8 == SLOT_SIZE
    assert SLOT_SIZE % 8 == 0
    assert ROOM * SLOT_SIZE != SIZE  # else no record would ever cross the end


def test_empty(ring: Ring) -> None:
    assert ring.size == SIZE
    assert ring.fill() == 0
    batch = ring.read()
    assert len(batch) == 0
    assert batch.dtype == RECORD
    ring.release()
    assert ring.fill() == 0


def test_records_come_whole_and_in_order(kernel: FakeKernel, ring: Ring) -> None:
    for ns in (5, 3, 9):
        kernel.write(ns)
    batch = ring.read()
    assert batch.tobytes() == queued(10, 5).tobytes() + queued(10, 3).tobytes() + queued(10, 9).tobytes()
    assert batch["kind"].tolist() == [Kind.QUEUED] * 3


def test_room_is_given_back_by_release_alone(kernel: FakeKernel, ring: Ring) -> None:
    kernel.write(1)
    kernel.write(2)
    assert _times(ring) == [1, 2]
    assert kernel.consumed == 0
    assert _times(ring) == [1, 2]
    assert ring.fill() == 2 * SLOT_SIZE / SIZE
    kernel.write(3)
    ring.release()
    assert kernel.consumed == 2 * SLOT_SIZE
    assert ring.fill() == SLOT_SIZE / SIZE
    assert _times(ring) == [3]


def test_release_without_a_read_gives_nothing_back(kernel: FakeKernel, ring: Ring) -> None:
    kernel.write(1)
    ring.release()
    assert kernel.consumed == 0
    assert _times(ring) == [1]


def test_a_busy_record_ends_the_batch(kernel: FakeKernel, ring: Ring) -> None:
    kernel.write(1)
    busy = kernel.write(2, busy=True)
    kernel.write(3)
    assert _times(ring) == [1]
    ring.release()
    assert kernel.consumed == SLOT_SIZE
    assert _times(ring) == []
    kernel.finish(busy)
    assert _times(ring) == [2, 3]


def test_the_first_of_two_busy_records_counts(kernel: FakeKernel, ring: Ring) -> None:
    first = kernel.write(1, busy=True)
    kernel.write(2, busy=True)
    assert _times(ring) == []
    ring.release()
    assert kernel.consumed == 0
    kernel.finish(first)
    assert _times(ring) == [1]


def test_full(kernel: FakeKernel, ring: Ring) -> None:
    for ns in range(ROOM):
        kernel.write(ns)
    assert ring.fill() == pytest.approx(1, abs=SLOT_SIZE / SIZE)
    assert _times(ring) == list(range(ROOM))


def test_around_the_end_again_and_again(kernel: FakeKernel, ring: Ring) -> None:
    """Record after record, in batches of 1 to 5: every position within the ring is crossed."""
    written = 0
    for n in range(6 * ROOM):
        expected = []
        for _ in range(n % 5 + 1):
            kernel.write(written)
            expected.append(written)
            written += 1
        batch = ring.read()
        assert batch["ns"].tolist() == expected
        assert set(batch["unique"].tolist()) == {10}
        ring.release()
    assert kernel.consumed == written * SLOT_SIZE > 10 * SIZE


def test_positions_beyond_32_bits() -> None:
    kernel = FakeKernel(start=(1 << 40) * SLOT_SIZE)
    ring = Ring(kernel.fd, PAGES)
    kernel.write(7)
    assert _times(ring) == [7]
    ring.release()
    assert kernel.consumed == (1 << 40) * SLOT_SIZE + SLOT_SIZE
    ring.close()
    os.close(kernel.fd)


def test_a_reader_goes_on_where_the_last_one_ended(kernel: FakeKernel, ring: Ring) -> None:
    kernel.write(1)
    ring.read()
    ring.release()
    kernel.write(2)
    second = Ring(kernel.fd, PAGES)
    second.release()
    assert kernel.consumed == SLOT_SIZE
    assert _times(second) == [2]


def test_a_batch_is_a_view_that_cannot_be_written(kernel: FakeKernel, ring: Ring) -> None:
    kernel.write(1)
    batch = ring.read()
    with pytest.raises(ValueError, match="read-only"):
        batch["ns"] = 2


def test_a_batch_outlives_the_ring(kernel: FakeKernel, ring: Ring) -> None:
    """An error on the way may still hold the batch when the ring is closed."""
    kernel.write(1)
    batch = ring.read()
    ring.close()
    assert batch["ns"].tolist() == [1]
    assert _mappings() == 1
    del batch
    gc.collect()
    assert _mappings() == 0


def _mappings() -> int:
    with open("/proc/self/maps") as maps:  # noqa: PTH123
        return sum("memfd:ring" in line for line in maps)


def test_other_kinds_take_the_same_room(kernel: FakeKernel) -> None:
    assert event(Kind.LOST, 1).itemsize == queued(10, 1).itemsize == RECORD.itemsize


def test_a_piece_at_a_time(kernel: FakeKernel, ring: Ring) -> None:
    for ns in range(5):
        kernel.write(ns)
    end = ring.end
    kernel.write(5)
    pieces = []
    for _ in range(4):
        pieces.append([int(ns) for ns in ring.read(2, end)["ns"]])
        ring.release()
    assert pieces == [[0, 1], [2, 3], [4], []]
    assert _times(ring) == [5]
