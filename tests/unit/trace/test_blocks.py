"""Blocks, read from whatever gives bytes as it likes: the same come out, or damage is told."""

import struct
from io import BytesIO

import numpy as np
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from furtrace.trace import pcapng
from furtrace.trace.blocks import Block, BlockReader, Run
from furtrace.trace.record import RECORD
from tests.unit.trace.pcapng_file import INFO, PACKET, block, interface, packet, random_records, section, walk

Flat = list[tuple[int, bytes]]
"""Type and body of each block; of a packet its data."""


class _Trickle(BytesIO):
    """Gives so many bytes at once, and at last those that are left."""

    def __init__(self, content: bytes, at_once: int) -> None:
        super().__init__(content)
        self._at_once = at_once

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        return super().readinto(buffer[: self._at_once])


def _flat(reader: BlockReader) -> Flat:
    found: Flat = []
    for chunk in reader.chunks():
        for item in chunk:
            if isinstance(item, Block):
                found.append((item.kind, item.body))
            else:
                found += _packets(item)
    return found


def _packets(run: Run) -> Flat:
    data = np.ndarray((len(run.heads), run.captured), np.uint8, run.buffer.data, run.data, (run.stride, 1))
    return [(PACKET, one.tobytes()) for one in data]


_DATA = st.binary(max_size=50)
_ANY = st.one_of(
    st.tuples(st.just(PACKET), _DATA),
    st.tuples(st.sampled_from([1, 5, 99, 0x0BAD]), _DATA.map(lambda body: body + bytes(-len(body) % 4))),
)


@given(st.lists(_ANY, max_size=30), st.integers(1, 300), st.data())
@settings(max_examples=60, deadline=None)
def test_what_was_written_is_read(blocks: Flat, at_once: int, data: st.DataObject) -> None:
    made = [packet(body) if kind == PACKET else block(kind, body) for kind, body in blocks]
    content = section() + b"".join(made)
    reader = BlockReader(_Trickle(content, at_once))
    assert _flat(reader)[1:] == blocks
    assert reader.damage is None
    assert reader.start == content[:14]
    cut = data.draw(st.integers(0, len(content)))
    reader = BlockReader(_Trickle(content[:cut], at_once))
    whole = list(walk(content[:cut]))
    assert len(_flat(reader)) == len(whole)
    end = whole[-1][2] if whole else 0
    assert (reader.damage is None) == (end == cut)


def test_packets_of_several_sizes() -> None:
    sizes = [10, 10, 10, 648, 648, 9, 12, 11, 648]
    bodies = [bytes([number]) * size for number, size in enumerate(sizes)]
    reader = BlockReader(BytesIO(section() + b"".join(map(packet, bodies))))
    assert [body for kind, body in _flat(reader) if kind == PACKET] == bodies


def test_a_run_has_the_members_of_records() -> None:
    records = random_records(20, seed=1)
    content = section() + interface(INFO.to_json()) + b"".join(packet(record.tobytes()) for record in records)
    (chunk,) = (list(chunk) for chunk in BlockReader(BytesIO(content)).chunks() if chunk)
    (run,) = (item for item in chunk if isinstance(item, Run))
    assert run.view(RECORD)["unique"].tolist() == records["unique"].tolist()


def _damage(content: bytes) -> tuple[int, str | None]:
    reader = BlockReader(BytesIO(content))
    return len(_flat(reader)), reader.damage


def test_blocks_that_contradict_themselves() -> None:
    start = section()
    for body, why in (
        (block(99, b"")[:-4] + struct.pack("<I", 16), "a block has two lengths"),
        (packet(b"")[:-4] + struct.pack("<I", 16), "a block has two lengths"),
        (block(PACKET, bytes(16)), "a packet has no room for itself"),
        (block(PACKET, struct.pack("<IIIII", 0, 0, 0, 1, 1)), "a packet is longer than its block"),
    ):
        assert _damage(start + body) == (1, f"it is damaged at byte {len(start)}: {why}")


def test_checksums_vouch_for_what_is_before_them() -> None:

    first, second = section() + packet(b"one"), packet(b"two") + packet(b"three")
    sums = [pcapng.checksum(xxhash.xxh3_64_intdigest(part)) for part in (first, second)]
    content = first + sums[0] + second + sums[1]
    assert _damage(content) == (6, None)
    changed = content.replace(b"two", b"2wo")
    count, damage = _damage(changed)
    assert count == 3
    at = len(first + sums[0])
    assert damage == (
        f"it is damaged at byte {at + len(second)}: its checksum is wrong, so that nothing from byte {at} on is sure"
    )
    # Cut before the second checksum, so that nobody can tell; with damage behind it, it is not given out.
    cut = changed[: at + len(second)]
    assert _damage(cut) == (5, None)
    assert _damage(cut + bytes(40))[0] == 3
